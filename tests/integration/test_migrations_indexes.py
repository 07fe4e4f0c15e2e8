"""Indexes made while others write: what a killed one leaves is cleared away, and nothing else is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from migrations import indexes, runner
from migrations.errors import LockTimeout
from tests.postgres import Database

pytestmark = pytest.mark.postgres

ROOT = Path(runner.__file__).parent.parent
BY_HELPER = "indexes.create_concurrently(op, 'ix_late', 'campaigns', ['name'], schema='game')"
BY_HAND = (
    "with op.get_context().autocommit_block():\n"
    "        op.execute('CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_late ON game.campaigns (name)')"
)


def add(tree: Path, body: str) -> str:
    number = runner.revisions.next_id(tree)
    (tree / "versions" / f"{number}_late.py").write_text(
        f'"""An index, later."""\n\nfrom alembic import op\n\nfrom migrations import indexes\n\nrevision = "{number}"\n'
        f'down_revision = "{runner.head(tree)}"\n\n\ndef upgrade() -> None:\n    {body}\n\n\n'
        "def downgrade() -> None:\n    indexes.drop_concurrently(op, 'ix_late', 'campaigns', schema='game')\n"
    )
    return number


def states(database: Database) -> dict[str, bool]:
    """The indexes of game.campaigns that these tests make → whether they can be used."""
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid"
            " WHERE indrelid = 'game.campaigns'::regclass AND relname ~ '_(late|other)$'"
        ).fetchall()
    return {str(name): bool(valid) for name, valid in rows}


def leave_dead(database: Database, name: str) -> None:
    """What a CREATE INDEX CONCURRENTLY leaves that is cut off."""
    with database.connect() as blocker, database.connect() as maker:
        blocker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        blocker.execute("SELECT FROM game.campaigns")
        maker.execute("SET lock_timeout = '200ms'")
        with pytest.raises(Exception, match="lock timeout"):
            maker.execute(f"CREATE INDEX CONCURRENTLY {name} ON game.campaigns (name)".encode())
    assert states(database)[name] is False


def start(database: Database, tree: Path) -> "subprocess.Popen[str]":
    code = (
        "import os, pathlib; from migrations import runner;"
        f"runner.upgrade(os.environ['GAIA_MIGRATIONS_URL'], directory=pathlib.Path({str(tree)!r}))"
    )
    environment = {**os.environ, "GAIA_MIGRATIONS_URL": database.url}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("body", [BY_HELPER, BY_HAND])
def test_a_revision_works_again_whose_index_was_cut_off_by_a_kill(database: Database, tree: Path, body: str) -> None:
    before = runner.head()
    added = add(tree, body)
    with database.connect() as blocker:
        blocker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        blocker.execute("SELECT FROM game.campaigns")
        process = start(database, tree)
        _until(lambda: states(database) == {"ix_late": False})
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        blocker.execute("COMMIT")
    assert runner.current(database.url) == before
    events: list[runner.Event] = []
    assert runner.upgrade(database.url, directory=tree, on_event=events.append, wait_s=20).applied == (added,)
    assert states(database) == {"ix_late": True}
    runner.downgrade(database.url, "-1", directory=tree)
    assert states(database) == {}


def test_a_dead_index_of_a_pending_revision_is_dropped_and_told_of(database: Database, tree: Path) -> None:
    add(tree, BY_HELPER)
    leave_dead(database, "ix_late")
    events: list[runner.Event] = []
    runner.upgrade(database.url, directory=tree, on_event=events.append)
    assert [event.message for event in events if event.kind == "healed"] == [
        "dropped game.ix_late: a CREATE INDEX CONCURRENTLY had left it unusable"
    ]
    assert states(database) == {"ix_late": True}


def test_a_dead_index_that_no_pending_revision_makes_is_left_alone(database: Database, tree: Path) -> None:
    add(tree, BY_HELPER)
    leave_dead(database, "ix_other")
    runner.upgrade(database.url, directory=tree)
    assert states(database) == {"ix_other": False, "ix_late": True}
    with database.connect() as connection:
        assert [str(index) for index in indexes.dead(connection)] == ["game.ix_other"]


def test_an_index_that_is_already_there_is_no_error(database: Database, tree: Path) -> None:
    with database.connect() as connection:
        connection.execute("CREATE INDEX ix_late ON game.campaigns (name)")
    added = add(tree, BY_HELPER)
    assert runner.upgrade(database.url, directory=tree).applied == (added,)


def test_an_index_whose_wait_timed_out_is_cleared_away_before_each_new_try(
    database: Database, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOCK_ATTEMPTS", 2)
    monkeypatch.setattr(indexes, "HEAL_WAIT_MS", 300)
    add(tree, BY_HAND)
    with database.connect() as blocker:
        blocker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        blocker.execute("SELECT FROM game.campaigns")
        with pytest.raises(LockTimeout):
            runner.upgrade(database.url, directory=tree)
        assert states(database) == {"ix_late": False}
    # Not taken for done, although the revision says IF NOT EXISTS.
    assert runner.upgrade(database.url, directory=tree).after == runner.head(tree)
    assert states(database) == {"ix_late": True}


def test_readers_and_writers_go_on_while_an_index_is_made(database: Database, tree: Path) -> None:
    add(tree, BY_HELPER)
    with database.connect() as blocker, database.connect() as other:
        blocker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        blocker.execute("SELECT FROM game.campaigns")
        process = start(database, tree)
        _until(lambda: states(database) == {"ix_late": False})
        other.execute("SET lock_timeout = '500ms'")
        other.execute("UPDATE game.campaigns SET name = name")
        time.sleep(1.2)  # longer than the lock time-out of other statements: an index may wait for long
        blocker.execute("COMMIT")
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "")
    assert states(database) == {"ix_late": True}


def _until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
