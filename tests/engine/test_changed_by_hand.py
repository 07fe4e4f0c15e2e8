"""What people and machines do to a database behind the program's back; `up` mends it and no row is lost."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.clone import Clone, free_port, make, remove, temporary

pytestmark = pytest.mark.engine


@pytest.fixture
def up(clone: Clone, port: int) -> Clone:
    """A clone whose local stack is up and has one user."""
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    add_user(clone)
    return clone


def add_user(clone: Clone) -> None:
    execute(clone, "INSERT INTO auth.users (username, email) VALUES ('ada', 'ada@example.org')")


def execute(clone: Clone, statement: str, database: str = "gaia") -> None:
    url = clone.gaia("url").stdout.strip().removesuffix("gaia") + database
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def users(clone: Clone) -> int:
    with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
        row = connection.execute("SELECT count(*) FROM auth.users").fetchone()
    assert row
    return row[0]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER ROLE gaia_app PASSWORD 'something else'",
        "REVOKE SELECT ON auth.users FROM gaia_backend",
        "GRANT ALL ON SCHEMA game TO PUBLIC",
        "ALTER ROLE gaia PASSWORD 'something else'",
    ],
)
def test_roles_grants_and_passwords_changed_by_hand_are_drift_that_up_mends(up: Clone, statement: str) -> None:
    execute(up, statement)
    assert up.json("preview", "--refresh")["drift"]
    up.gaia("up")
    assert up.json("verify")["ok"]
    assert users(up) == 1


def test_a_dropped_database_is_made_anew(up: Clone) -> None:
    execute(up, "DROP DATABASE gaia WITH (FORCE)", database="postgres")
    up.gaia("up")
    assert up.json("verify")["ok"]
    assert users(up) == 0


def test_a_process_number_that_another_process_has_now_is_no_hindrance(up: Clone) -> None:
    file = up.home() / "data" / "postmaster.pid"
    os.kill(int(file.read_text().split()[0]), signal.SIGKILL)
    text = f"{os.getpid()}\n{up.home() / 'data'}\n0\n1\n\n127.0.0.1\n0 0\nready\n"
    file.write_text(text)
    up.gaia("up", env={"POSTGRES_PASSWORD": "another password altogether"})
    assert users(up) == 1


def test_a_server_that_does_not_shut_down_is_ended(up: Clone) -> None:
    pid = int((up.home() / "data" / "postmaster.pid").read_text().split()[0])
    server = psutil.Process(pid)
    server.suspend()
    try:
        up.gaia("destroy")
    finally:
        if server.is_running():
            server.resume()
    # One that nobody has taken note of yet has ended too.
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    up.gaia("up", "--stack", "local")
    assert users(up) == 1


def test_a_removed_passphrase_names_the_way_back(up: Clone) -> None:
    kept = up.checkout.passphrase.read_text()
    up.checkout.passphrase.unlink()
    assert "put it back" in up.gaia("up", code=2).stderr
    up.checkout.passphrase.write_text(kept)
    up.gaia("up")
    assert users(up) == 1


def test_without_state_and_passphrase_up_takes_the_data_over(up: Clone) -> None:
    up.checkout.passphrase.unlink()
    shutil.rmtree(up.checkout.state)
    port = int(up.checkout.working_copy("local").read_text().split("port: ")[1].split()[0])
    up.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    assert users(up) == 1
    assert up.json("verify")["ok"]


def test_another_backend_in_between_does_no_harm(clone: Clone, port: int, tmp_path: Path) -> None:
    other = {"PULUMI_BACKEND_URL": tmp_path.as_uri(), "PULUMI_CONFIG_PASSPHRASE": "theirs"}
    arguments = ("up", "--stack", "local", "--set", f"database.port={port}")
    clone.gaia(*arguments, env=other)
    clone.gaia("destroy", "--stack", "local", env=other)
    clone.gaia(*arguments)
    assert clone.json("verify")["ok"]


def test_an_env_file_keeps_what_somebody_else_wrote_there(up: Clone) -> None:
    file = up.root / ".env"
    file.write_text("MY=own\nDATABASE_ECHO=true\n")
    up.gaia("env", "--file", ".env")
    lines = file.read_text().splitlines()
    assert "MY=own" in lines
    assert "DATABASE_ECHO=false" in lines
    assert "DATABASE_ECHO=true" not in lines


@pytest.fixture
def closed_clone() -> Iterator[Clone]:
    """A clone in a folder that only its owner may enter, as home folders are."""
    folder = temporary()
    (folder / "gaia").mkdir()
    made = make(folder / "gaia")
    folder.chmod(0o700)
    yield made
    remove(made)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server is another user, who can't enter closed folders")
def test_root_works_in_a_closed_home_and_the_data_stays_where_it_is(closed_clone: Clone) -> None:
    closed_clone.gaia("up", "--stack", "local", "--set", f"database.port={free_port()}")
    assert not closed_clone.home().is_relative_to(closed_clone.root)
    add_user(closed_clone)

    closed_clone.root.parent.chmod(0o755)
    closed_clone.gaia("up")
    assert users(closed_clone) == 1

    moved = Clone(root=closed_clone.root.with_name("moved"))
    closed_clone.root.rename(moved.root)
    try:
        moved.gaia("up")
        assert users(moved) == 1
        home = moved.home()
        moved.gaia("destroy", "--purge", "--yes")
        assert not home.exists()
        assert moved.processes() == []
    finally:
        moved.root.rename(closed_clone.root)
