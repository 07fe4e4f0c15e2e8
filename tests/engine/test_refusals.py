"""Bad input: one clear sentence each, the documented exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import socket

import psycopg
import pytest

from tests.clone import Clone

pytestmark = pytest.mark.engine


def up(clone: Clone, port: int, **keywords: object) -> None:
    clone.json("up", "--stack", "local", "--set", f"database.port={port}", **keywords)  # type: ignore[arg-type]


def sentence(clone: Clone, *arguments: str, code: int, **keywords: object) -> str:
    """What the refused command said; a traceback is never part of it."""
    done = clone.gaia(*arguments, code=code, **keywords)  # type: ignore[arg-type]
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_taken_port_names_its_holder_and_a_free_one(clone: Clone, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        said = sentence(clone, "up", "--stack", "local", "--set", f"database.port={port}", code=1)
    assert f"port {port}" in said
    assert f"pid {os.getpid()}" in said
    assert "--set database.port=" in said
    up(clone, port)
    assert clone.json("verify")["ok"]


def test_unknown_keys_and_wrong_types_come_in_one_error(clone: Clone) -> None:
    said = sentence(
        clone,
        "up",
        "--stack",
        "local",
        "--set",
        "database.prot=1",
        "--set",
        "database.tuning.max_connections=many",
        code=2,
    )
    assert "database.prot: unknown key; known: " in said
    assert "database.tuning.max_connections" in said
    assert clone.gaia("preview", "--stack", "local").returncode == 0, "what was refused is not kept"


def test_an_unknown_stack_names_those_there_are(clone: Clone) -> None:
    assert "dev, local, prod" in sentence(clone, "up", "--stack", "nowhere", code=2)


def test_commands_before_up_say_what_to_run(clone: Clone) -> None:
    assert "./gaia up" in sentence(clone, "url", code=3)
    assert "./gaia up" in sentence(clone, "verify", "--stack", "local", code=3)
    failed = json.loads(clone.gaia("verify", "--json", code=3).stdout)
    assert failed["ok"] is False


def test_production_needs_a_backend_of_its_own(clone: Clone) -> None:
    assert "PULUMI_BACKEND_URL" in sentence(clone, "up", "--stack", "prod", code=2)


def test_a_wrong_passphrase_changes_nothing(clone: Clone, port: int) -> None:
    up(clone, port)
    said = sentence(clone, "up", code=2, env={"PULUMI_CONFIG_PASSPHRASE": "wrong"})
    assert "passphrase" in said
    assert clone.json("verify")["ok"]


def test_a_damaged_state_is_restored_only_on_request(clone: Clone, port: int) -> None:
    up(clone, port)
    with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
        connection.execute("INSERT INTO auth.users (username, email) VALUES ('ada', 'ada@example.org')")
    state = clone.checkout.state / ".pulumi" / "stacks" / "gaia-db" / "local.json"
    whole = state.read_text()
    state.write_text(whole[: len(whole) // 2])

    for command in (["up"], ["preview"], ["url"]):
        assert "--restore-state" in sentence(clone, *command, code=5)
    assert state.read_text() == whole[: len(whole) // 2]

    clone.gaia("up", "--restore-state")
    assert clone.json("verify")["ok"]
    with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
        assert connection.execute("SELECT count(*) FROM auth.users").fetchone() == (1,)
    assert len(list(state.parent.glob("local.json.damaged-*"))) == 1


def test_a_state_that_does_not_hold_together_is_repaired_by_the_command_that_is_named(clone: Clone, port: int) -> None:
    up(clone, port)
    state = clone.checkout.state / ".pulumi" / "stacks" / "gaia-db" / "local.json"
    document = json.loads(state.read_text())
    latest = document["checkpoint"]["latest"]
    latest["resources"] = [each for each in latest["resources"] if not each["urn"].endswith("::superuser-password")]
    state.write_text(json.dumps(document))

    assert "./gaia pulumi state repair --stack local" in sentence(clone, "up", code=5)
    clone.gaia("pulumi", "state", "repair", "--stack", "local", "--yes")
    clone.gaia("up")
    assert clone.json("verify")["ok"]


def test_a_data_directory_of_another_version_is_left_alone(clone: Clone, port: int) -> None:
    up(clone, port)
    clone.gaia("destroy")
    version = clone.home() / "data" / "PG_VERSION"
    version.write_text("15\n")

    said = sentence(clone, "up", "--stack", "local", code=5)
    assert "PostgreSQL 15" in said
    version.write_text("16\n")
    clone.gaia("up", "--stack", "local")
    assert clone.json("verify")["ok"]


def test_a_folder_that_is_no_data_directory_is_left_alone(clone: Clone, port: int) -> None:
    folder = clone.home() / "data"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    said = sentence(clone, "up", "--stack", "local", "--set", f"database.port={port}", code=5)
    assert str(folder) in said
    assert (folder / "thesis.txt").read_text() == "mine"


def test_an_edited_stack_file_with_a_fault_names_file_and_key(clone: Clone) -> None:
    file = clone.root / "Pulumi.local.yaml"
    file.write_text(file.read_text().replace("max_connections: 200", "max_conections: 200"))
    said = sentence(clone, "up", "--stack", "local", code=2)
    assert "Pulumi.local.yaml: database.tuning.max_conections: unknown key" in said
    file.write_text("config: [")
    assert "not valid YAML" in sentence(clone, "up", "--stack", "local", code=2)


def test_a_downgrade_that_deletes_rows_needs_a_yes(clone: Clone, port: int) -> None:
    up(clone, port)
    clone.gaia("psql", "-c", "INSERT INTO auth.users (username, email) VALUES ('ada', 'ada@example.org')")
    assert "auth.users" in sentence(clone, "migrate", "downgrade", "base", code=5)
    assert clone.json("verify")["ok"]
    clone.gaia("migrate", "downgrade", "base", "--yes")
    clone.gaia("migrate", "upgrade")
    assert clone.json("verify")["ok"]


def test_a_taken_port_leaves_the_server_up_on_its_old_one(clone: Clone, port: int) -> None:
    up(clone, port)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        assert f"port {taken}" in sentence(clone, "up", "--set", f"database.port={taken}", code=1)
    assert clone.json("verify")["ok"], "the server was not stopped"
    assert set(clone.json("up")["changes"].values()) == {0}, "and the port was not kept"


@pytest.mark.parametrize("change", ["database.name=other", "database.user=other", "target=docker"])
def test_a_stack_with_data_does_not_become_another_one(clone: Clone, port: int, change: str) -> None:
    up(clone, port)
    assert "has its data under" in sentence(clone, "up", "--set", change, code=5)
    assert set(clone.json("up")["changes"].values()) == {0}


def test_an_env_file_that_cannot_be_written_says_so_and_leaves_nothing(clone: Clone, port: int) -> None:
    up(clone, port)
    assert "can't be written" in sentence(clone, "env", "--file", "/nonexistent/x", code=2)
    assert "no ordinary file" in sentence(clone, "env", "--file", ".", code=2)
    assert clone.dirty() == ""


def test_an_unknown_revision_is_a_usage_fault(clone: Clone, port: int) -> None:
    up(clone, port)
    assert "0099" in sentence(clone, "migrate", "upgrade", "0099", code=2)
