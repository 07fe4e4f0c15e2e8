"""Killed at whichever moment, the runner leaves the last good revision, and the next run goes on from there."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from infra.local import postgres
from migrations import lock, roles, runner
from migrations.errors import Busy, LockLost, MigrationFailed
from ops import throwaway
from tests.postgres import PASSWORDS, Database
from tests.revision_tree import add

pytestmark = pytest.mark.postgres

ROOT = Path(runner.__file__).parent.parent
MOMENTS = {
    "before its first statement": "print('here', flush=True); time.sleep(60)",
    "between two statements": "op.execute('CREATE TABLE game.half ()'); print('here', flush=True); time.sleep(60)",
    "in a statement": "op.execute('CREATE TABLE game.half ()'); print('here', flush=True);"
    " op.execute('SELECT pg_sleep(60)')",
    "in a wait for a lock": "print('here', flush=True); op.execute('LOCK TABLE game.campaigns')",
    "after an autocommit block": "\n    with op.get_context().autocommit_block():\n"
    "        op.execute('CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_half ON game.campaigns (name)')\n"
    "    print('here', flush=True); time.sleep(60)",
}
"""Where a revision is when it is killed → its upgrade."""


def correct(tree: Path, number: str) -> None:
    """Make the revision one that does nothing."""
    (tree / "versions" / f"{number}_added.py").unlink()
    add(tree, "op.execute('SELECT 1')")


def start(url: str, tree: Path) -> "subprocess.Popen[str]":
    code = (
        "import os, pathlib; from migrations import runner;"
        f"runner.upgrade(os.environ['GAIA_MIGRATIONS_URL'], directory=pathlib.Path({str(tree)!r}))"
    )
    environment = {**os.environ, "GAIA_MIGRATIONS_URL": url}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def reach(process: "subprocess.Popen[str]") -> None:
    """Wait until the revision has come to the moment at which it is killed."""
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    time.sleep(0.1)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_leaves_the_last_good_revision(database: Database, tree: Path, moment: str) -> None:
    good = add(tree, "op.execute('CREATE TABLE game.good ()')")
    bad = add(tree, MOMENTS[moment])
    with database.connect() as blocker:
        blocker.execute("BEGIN")
        if moment == "in a wait for a lock":
            blocker.execute("LOCK TABLE game.campaigns IN ACCESS SHARE MODE")
        process = start(database.url, tree)
        reach(process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
    assert runner.current(database.url) == good
    with database.connect() as connection:
        assert connection.execute("SELECT to_regclass('game.good'), to_regclass('game.half')").fetchone() == (
            "game.good",
            None,
        )
    correct(tree, bad)
    # The dead one's statement, which takes longer than that, is ended, not waited for.
    assert runner.upgrade(database.url, directory=tree, wait_s=40).applied == (bad,)


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_ended_session_is_a_failed_revision(database: Database, tree: Path, moment: str) -> None:
    good = add(tree, "op.execute('CREATE TABLE game.good ()')")
    add(tree, MOMENTS[moment].replace("time.sleep(60)", "input()"))
    with database.connect() as admin:
        admin.execute("BEGIN")
        if moment == "in a wait for a lock":
            admin.execute("LOCK TABLE game.campaigns IN ACCESS SHARE MODE")
        process = start(database.url, tree)
        reach(process)
        ended = admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s",
            (lock.WORK_KEY[1],),
        ).fetchone()
        _, said = process.communicate("go on\n", timeout=60)
    assert ended == (1,) and process.returncode == 1
    assert "MigrationFailed" in said and f"the database stays at {good}" in said
    assert runner.current(database.url) == good


def test_ctrl_c_ends_with_a_sentence_and_leaves_the_last_good_revision(database: Database, tree: Path) -> None:
    add(tree, MOMENTS["in a statement"])
    code = (
        "import pathlib, sys; from migrations import runner, __main__ as m; runner.upgrade.__kwdefaults__.update("
        f"directory=pathlib.Path({str(tree)!r})); sys.exit(m.main(['upgrade']))"
    )
    environment, pipe = {**os.environ, "GAIA_MIGRATIONS_URL": database.url}, subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline() != "here\n":
        pass
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == "interrupted: the database is at the last revision that worked; run it again to go on\n"
    assert runner.current(database.url) == runner.head()


def test_a_runner_whose_lock_is_taken_away_stops_before_the_next_revision(database: Database, tree: Path) -> None:
    good = add(tree, "op.execute('SELECT 1')")
    add(tree, "op.execute('CREATE TABLE game.half ()')")

    def tell(event: runner.Event) -> None:
        if event.kind == "done" and event.revision == good:
            with database.connect() as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s",
                    (lock.KEY[1],),
                )

    with pytest.raises(LockLost, match=f"the database is at {good}: run it again"):
        runner.upgrade(database.url, directory=tree, on_event=tell)
    assert runner.current(database.url) == good


def test_nobody_migrates_while_the_statement_of_a_dead_runner_still_runs(database: Database, tree: Path) -> None:
    add(tree, "op.execute('SELECT 1')")
    with database.connect() as orphan:  # holds what a killed runner's server process holds
        orphan.execute("SELECT pg_advisory_lock(%s, %s)", lock.WORK_KEY)
        with pytest.raises(Busy, match=rf"pid {orphan.info.backend_pid}"):
            runner.upgrade(database.url, directory=tree, wait_s=0.3)
    assert runner.upgrade(database.url, directory=tree, wait_s=5).after == runner.head(tree)


def test_a_server_that_restarts_in_the_middle_leaves_the_last_good_revision(tree: Path) -> None:
    with throwaway.running() as server:
        roles.apply(server.url(), PASSWORDS)
        url = server.url("gaia_migrator", PASSWORDS["gaia_migrator"])
        first = runner.history(tree)[0].id
        runner.upgrade(url, first, directory=tree)
        second = runner.history(tree)[1]
        second.path.write_text(
            second.path.read_text().replace(
                "def upgrade() -> None:\n", "def upgrade() -> None:\n    op.execute('SELECT pg_sleep(30)')\n"
            )
        )
        failures: list[MigrationFailed] = []
        thread = threading.Thread(target=lambda: failures.append(_failure(url, tree)), daemon=True)
        thread.start()
        _until(lambda: _sleeps(server.url()))
        running = postgres.locate(server.home)
        postgres.stop(running)
        thread.join(timeout=20)
        postgres.start(running, port=server.port, timeout_s=30)
        assert f"revision {second.id} failed" in str(failures[0])
        assert runner.current(url) == first
        assert runner.upgrade(url).after == runner.head()


def test_statements_are_bounded_by_the_environment_or_an_argument(
    database: Database, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tree, "op.execute('SELECT pg_sleep(20)')")
    with pytest.raises(MigrationFailed, match="statement timeout"):
        runner.upgrade(database.url, directory=tree, statement_timeout_s=0.2)
    monkeypatch.setenv("GAIA_MIGRATIONS_STATEMENT_TIMEOUT_S", "0.2")
    with pytest.raises(MigrationFailed, match="statement timeout"):
        runner.upgrade(database.url, directory=tree)
    assert runner.current(database.url) == runner.head()


def test_each_line_of_the_log_says_when_what_and_for_how_long(database: Database) -> None:
    runner.downgrade(database.url, "-2")
    done = subprocess.run(
        [sys.executable, "-m", "migrations", "upgrade", "--json"],
        env={**os.environ, "GAIA_MIGRATIONS_URL": database.url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *lines, result = map(json.loads, done.stdout.splitlines())
    assert {tuple(line) for line in lines} == {("time", "event", "revision", "seconds", "message")}
    steps = [line for line in lines if line["event"] == "done"]
    assert [line["revision"] for line in steps] == [r.id for r in runner.history()][-2:]
    assert all(line["seconds"] > 0 and line["time"].endswith("+00:00") for line in steps)
    assert result["ok"] is True


def _failure(url: str, tree: Path) -> MigrationFailed:
    with pytest.raises(MigrationFailed) as caught:
        runner.upgrade(url, directory=tree)
    return caught.value


def _sleeps(url: str) -> bool:
    with psycopg.connect(url) as connection:
        query = "SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
        return connection.execute(query).fetchone() is not None


def _until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
