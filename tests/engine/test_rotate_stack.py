"""A rotation under load: not one connection fails, and who has the old password is locked out at the very end only."""

from __future__ import annotations

import psycopg
import pytest

from db.identity import key_id
from tests.backend import Backend
from tests.clone import Clone

pytestmark = pytest.mark.engine


def shared(clone: Clone, name: str = "DATABASE_URL") -> str:
    """What a process that reads `.env` is given."""
    lines = (clone.root / ".env").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))


def believed(url: str, key: str) -> bool:
    """Whether the database believes what is signed with this key."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT auth.knows_key(%s)", (key_id(key),)).fetchone() == (True,)


def logs_in(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
    return True


def test_running_pools_keep_working_and_no_connection_fails(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    clone.gaia("env", "--file", ".env")
    old = shared(clone)
    running = Backend(old, workers=8).start()

    handed = clone.json("rotate", "--wait", "2")
    assert (handed["turn"], handed["app_user"], handed["retired"]) == (2, "gaia_app_b", False)
    assert handed["files"] == [str(clone.root / ".env")]
    assert handed["sessions"]["gaia-backend"] >= 1
    new = clone.gaia("url", "--as", "app").stdout.strip()
    assert new == shared(clone) == clone.json("url", "--as", "app")["url"]
    assert clone.json("outputs")["outputs"]["app_user"] == "gaia_app_b"
    assert clone.json("verify")["ok"]

    refused = clone.json("rotate", "--retire", "--wait", "0", code=1)
    assert (refused["ok"], refused["turn"], refused["retired"]) == (False, 2, False)
    assert logs_in(old)

    restarted = Backend(new, workers=8).start()
    running.stop()
    done = clone.json("rotate")
    restarted.stop()
    assert (done["turn"], done["retired"]) == (2, True), "a rotation that isn't over is finished, and no other begun"
    assert (running.failures, restarted.failures) == ([], [])
    assert min(running.worked, restarted.worked) > 20
    assert (logs_in(old), logs_in(new)) == (False, True)
    assert clone.json("preview", "--refresh")["ok"]
    assert clone.dirty() == ""


def test_a_password_that_got_out_is_retired_at_once_and_its_sessions_end(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    stolen = clone.gaia("url", "--as", "app").stdout.strip()
    with psycopg.connect(stolen) as session:
        done = clone.json("rotate", "--now")
        assert (done["retired"], done["app_user"]) == (True, "gaia_app_b")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not logs_in(stolen)
    assert "is on turn 2" in clone.gaia("up", "--set", "embedded.rotation.turn=1", code=5).stderr


def test_the_identity_key_counts_until_it_is_said_that_nobody_signs_with_it(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    clone.gaia("env", "--file", ".env")
    url, first = shared(clone), shared(clone, "GAIA_IDENTITY_KEY")
    assert clone.json("rotate", "--identity")["retired"] is False
    second = shared(clone, "GAIA_IDENTITY_KEY")
    assert first != second
    assert (believed(url, first), believed(url, second)) == (True, True)
    assert clone.json("verify")["ok"]
    clone.gaia("migrate", "upgrade")
    assert believed(url, first), "another command leaves it alone"
    again = clone.json("rotate", "--identity")
    assert (again["turn"], again["retired"], shared(clone, "GAIA_IDENTITY_KEY")) == (2, False, second)
    assert clone.json("rotate", "--identity", "--retire")["retired"] is True
    assert (believed(url, first), believed(url, second)) == (False, True)
    assert shared(clone) == url, "the password is another matter"
