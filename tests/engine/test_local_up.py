"""The embedded stack, brought up and used as a stranger would: every command is run as a process."""

from __future__ import annotations

import json
import os
import stat

import jsonschema
import psycopg
import pytest

from tests.clone import ROOT, Clone

pytestmark = pytest.mark.engine

CANARY = "canary-1f9c4be2a7d04e6f"


def up(clone: Clone, port: int, *flags: str, **keywords: object) -> dict[str, object]:
    return clone.json("up", "--stack", "local", "--set", f"database.port={port}", *flags, **keywords)  # type: ignore[arg-type]


def rows(clone: Clone) -> int:
    with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
        found = connection.execute("SELECT count(*) FROM auth.users").fetchone()
    assert found
    return found[0]


def add_user(clone: Clone, name: str = "ada") -> None:
    with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
        connection.execute("INSERT INTO auth.users (username, email) VALUES (%s, %s)", (name, f"{name}@example.org"))


def test_a_fresh_clone_comes_up_healthy_stays_clean_and_leaves_nothing(clone: Clone, port: int) -> None:
    first = up(clone, port)
    assert first["ok"] is True
    assert (first["stack"], first["target"]) == ("local", "embedded")
    assert first["changes"]["create"] == 5  # type: ignore[index]

    checks = clone.json("verify")
    assert checks["ok"], [check for check in checks["checks"] if not check["ok"]]
    assert all(set(check) == {"name", "ok", "hint"} for check in checks["checks"])
    assert "1 row" in clone.gaia("psql", "-c", "select 1").stdout

    again = clone.json("up")
    assert set(again["changes"].values()) == {0}
    assert "nothing to change" in clone.gaia("up").stdout

    contract = json.loads(clone.gaia("outputs", "--format", "json").stdout)
    jsonschema.validate(contract, json.loads((ROOT / "docs" / "outputs.schema.json").read_text()))
    assert contract["database_url"] == "[secret]"

    add_user(clone)
    clone.gaia("destroy")
    assert clone.home().exists()
    up(clone, port)
    assert rows(clone) == 1

    clone.gaia("destroy", "--purge", "--yes")
    assert not clone.home().exists()
    assert clone.processes() == []
    assert clone.dirty() == ""


def test_what_loses_data_is_refused_without_yes(clone: Clone, port: int) -> None:
    up(clone, port)
    refused = clone.gaia("destroy", "--purge", code=5)
    assert "--yes" in refused.stderr
    assert rows(clone) == 0


def test_a_killed_server_is_drift_that_up_mends_with_every_row(clone: Clone, port: int) -> None:
    up(clone, port)
    add_user(clone)
    pid = int((clone.home() / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, 9)

    seen = clone.json("preview", "--refresh")
    assert any("EmbeddedServer" in line and "stopped" in line for line in seen["drift"])
    mended = clone.json("up")
    assert mended["changes"]["update"] == 2
    assert rows(clone) == 1
    assert clone.json("preview", "--refresh")["drift"] == []


def test_a_removed_data_directory_is_drift_and_made_anew(clone: Clone, port: int) -> None:
    up(clone, port)
    clone.run(["rm", "-rf", str(clone.home() / "data")])

    seen = clone.json("preview", "--refresh")
    assert any("EmbeddedServer" in line and "gone" in line for line in seen["drift"])
    clone.json("up")
    assert clone.json("verify")["ok"]


def test_after_a_downgrade_up_goes_to_head_and_says_so(clone: Clone, port: int) -> None:
    head = up(clone, port)["revision"]
    down = clone.json("migrate", "downgrade", "-1")
    assert down["revision"] != head

    said = clone.gaia("up")
    assert "going to head again" in said.stderr
    assert clone.json("migrate", "current")["revision"] == head


def test_a_failing_migration_fails_up_names_revision_and_statement_and_stays_at_the_last_good_one(
    clone: Clone, port: int
) -> None:
    head = str(up(clone, port)["revision"])
    number = f"{int(head) + 1:04d}"
    bad = clone.root / "migrations" / "versions" / f"{number}_bad.py"
    bad.write_text(
        f'"""bad"""\nfrom alembic import op\nrevision = "{number}"\ndown_revision = "{head}"\nbranch_labels = None\n'
        'depends_on = None\ndef upgrade():\n    op.execute("CREATE TABLE game.fine (id int)")\n'
        '    op.execute("ALTER TABLE game.nowhere ADD x int")\ndef downgrade():\n    pass\n'
    )

    failed = clone.gaia("up", code=1)
    assert number in failed.stderr
    assert "ALTER TABLE game.nowhere" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert clone.json("migrate", "current")["revision"] == head
    with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
        assert connection.execute("SELECT to_regclass('game.fine')").fetchone() == (None,)

    bad.unlink()
    clone.json("up")
    assert clone.json("verify")["ok"]


def test_a_given_password_is_used_kept_and_changed_in_the_database(clone: Clone, port: int) -> None:
    up(clone, port, env={"POSTGRES_PASSWORD": f"first-{CANARY}"})
    assert f"first-{CANARY}" in clone.gaia("url").stdout
    add_user(clone)

    assert set(clone.json("up")["changes"].values()) == {0}, "without the variable the password stays"
    clone.json("up", env={"POSTGRES_PASSWORD": f"second/{CANARY}@:%"})
    assert rows(clone) == 1
    assert clone.json("verify")["ok"]


def test_a_password_of_eight_characters_is_refused_before_anything_happens(clone: Clone) -> None:
    refused = clone.gaia("up", "--stack", "local", env={"POSTGRES_PASSWORD": "eight888"}, code=2)
    assert "at least 16" in refused.stderr
    assert "eight888" not in refused.stderr
    assert not clone.home().exists()


def test_changed_tuning_is_in_effect_after_up(clone: Clone, port: int) -> None:
    up(clone, port)
    clone.json("up", "--set", "database.tuning.random_page_cost=1.5")
    clone.json("up", "--set", "database.tuning.max_connections=150")
    with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
        assert connection.execute("SHOW random_page_cost").fetchone() == ("1.5",)
        assert connection.execute("SHOW max_connections").fetchone() == ("150",)
    assert clone.json("verify")["ok"]


def test_the_env_file_is_for_its_owner_alone_and_has_the_documented_variables(clone: Clone, port: int) -> None:
    up(clone, port)
    clone.gaia("env", "--file", ".env")
    file = clone.root / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    variables = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert set(variables) == {
        "DATABASE_URL",
        "GAIA_IDENTITY_KEY",
        "DATABASE_ECHO",
        "POSTGRES_DB",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
    }
    assert variables["DATABASE_URL"].startswith("postgresql://gaia_app:")
    psycopg.connect(variables["DATABASE_URL"]).close()
    assert clone.dirty() == ""
    assert "outside Docker" in clone.gaia("env", "--file", ".env", "--for", "docker", code=2).stderr


def test_logs_show_the_server(clone: Clone, port: int) -> None:
    up(clone, port)
    assert "ready to accept connections" in clone.gaia("logs", "-n", "50").stdout


def test_outputs_for_cloud_run_are_refused_on_a_local_stack(clone: Clone, port: int) -> None:
    up(clone, port)
    assert "gcp" in clone.gaia("outputs", "--format", "cloudrun", code=2).stderr
    assert f"port={port}" in clone.gaia("outputs", "--format", "github").stdout
    assert f"GAIA_DB_PORT={port}" in clone.gaia("outputs", "--format", "env").stdout
