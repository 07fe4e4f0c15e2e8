"""The runner on a real server: what it leaves when something goes wrong, and that only one runs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import alembic.config
import pytest

from migrations import __main__ as command_line
from migrations import lock, roles, runner
from migrations.errors import Busy, ConnectionFailed, LockTimeout, MigrationFailed, UnknownRevision
from tests.postgres import PASSWORDS, Database
from tests.revision_tree import add

pytestmark = pytest.mark.postgres

ROOT = Path(runner.__file__).parent.parent


def test_an_empty_database_goes_to_head_and_says_what_it_did(empty_database: Database) -> None:
    events: list[runner.Event] = []
    applied = runner.apply(empty_database.url, passwords=PASSWORDS, on_event=events.append)
    everything = tuple(revision.id for revision in runner.history())
    assert (applied.result.before, applied.result.after, applied.result.applied) == (None, runner.head(), everything)
    assert [event.revision for event in events if event.kind == "done"] == list(everything)
    assert runner.current(empty_database.url) == runner.head()


def test_a_failing_revision_names_itself_and_its_statement_and_leaves_the_one_before(
    database: Database, tree: Path
) -> None:
    good = add(tree, "op.execute('CREATE TABLE game.good ()')")
    bad = add(tree, "op.execute('CREATE TABLE game.half ()'); op.execute('ALTER TABLE game.nowhere ADD x int')")
    with pytest.raises(MigrationFailed) as caught:
        runner.upgrade(database.url, directory=tree)
    error = caught.value
    assert (error.revision, error.statement, error.at) == (bad, "ALTER TABLE game.nowhere ADD x int", good)
    assert 'relation "game.nowhere" does not exist' in str(error) and "\n" not in str(error)
    assert runner.current(database.url) == good
    with database.connect() as connection:
        assert connection.execute("SELECT to_regclass('game.good'), to_regclass('game.half')").fetchone() == (
            "game.good",
            None,
        )


def test_python_that_fails_in_a_revision_is_named_too(database: Database, tree: Path) -> None:
    bad = add(tree, "raise ValueError('no such thing')")
    with pytest.raises(MigrationFailed, match=f"revision {bad} failed: ValueError: no such thing"):
        runner.upgrade(database.url, directory=tree)


def test_a_revision_that_this_checkout_lacks_is_an_error_of_its_own(database: Database, tree: Path) -> None:
    add(tree, "op.execute('SELECT 1')")
    runner.upgrade(database.url, directory=tree)
    for run in (lambda: runner.upgrade(database.url), lambda: runner.downgrade(database.url, "base")):
        with pytest.raises(UnknownRevision, match="which this checkout doesn't have: update the checkout"):
            run()
    with pytest.raises(UnknownRevision, match="no revision 0099"):
        runner.upgrade(database.url, "0099", directory=tree)
    with pytest.raises(UnknownRevision, match="leads beyond"):
        runner.upgrade(database.url, "+9", directory=tree)


def test_steps_are_counted_from_where_the_database_is(database: Database) -> None:
    first, second, third = [revision.id for revision in runner.history()][-3:]
    assert runner.downgrade(database.url, "-2").applied == (third, second)
    result = runner.upgrade(database.url, "+1")
    assert (result.before, result.after, result.applied) == (first, second, (second,))


def test_a_second_runner_waits_and_then_finds_nothing_to_do(database: Database) -> None:
    runner.downgrade(database.url, "base")
    events: list[runner.Event] = []
    results: list[runner.Result] = []
    with lock.exclusive(database.url):
        second = threading.Thread(
            target=lambda: results.append(runner.upgrade(database.url, on_event=events.append)), daemon=True
        )
        second.start()
        _until(lambda: bool(events))
        assert events[0].kind == "waiting" and "gaia-migrations" in events[0].message
        assert runner.current(database.url) is None
    second.join(timeout=20)
    assert results[0].after == runner.head()


def test_a_second_runner_gives_up_and_says_who_holds_the_lock(database: Database) -> None:
    runner.downgrade(database.url, "-1")
    with lock.exclusive(database.url) as held:
        with pytest.raises(Busy) as caught:
            runner.upgrade(database.url, wait_s=0.3)
        assert f"pid {held.info.backend_pid}" in str(caught.value) and "'gaia-migrations'" in str(caught.value)


def test_a_revision_that_waits_for_a_lock_is_tried_again(database: Database, tree: Path) -> None:
    added = add(tree, "op.execute('ALTER TABLE game.campaigns ADD note text')")
    retried = threading.Event()
    with database.connect() as blocker:
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE game.campaigns IN ACCESS SHARE MODE")
        results: list[runner.Result] = []

        def tell(event: runner.Event) -> None:
            if event.kind == "retrying":
                retried.set()

        thread = threading.Thread(
            target=lambda: results.append(runner.upgrade(database.url, directory=tree, on_event=tell)), daemon=True
        )
        thread.start()
        assert retried.wait(timeout=10)
        blocker.execute("COMMIT")
        thread.join(timeout=20)
    assert results[0].applied == (added,)


def test_a_lock_that_is_never_had_ends_the_upgrade(
    database: Database, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tree, "op.execute('ALTER TABLE game.campaigns ADD note text')")
    monkeypatch.setattr(runner, "LOCK_ATTEMPTS", 1)
    with database.connect() as blocker:
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE game.campaigns IN ACCESS SHARE MODE")
        with pytest.raises(LockTimeout, match=r"ALTER TABLE game\.campaigns ADD note text"):
            runner.upgrade(database.url, directory=tree)
    assert runner.current(database.url) == runner.head()


def test_killed_in_the_middle_it_leaves_the_last_good_revision(database: Database, tree: Path) -> None:
    add(tree, "op.execute('CREATE TABLE game.half ()'); print('half', flush=True); time.sleep(60)")
    code = (
        "import os, pathlib; from migrations import runner;"
        f"runner.upgrade(os.environ['GAIA_MIGRATIONS_URL'], directory=pathlib.Path({str(tree)!r}))"
    )
    environment = {**os.environ, "GAIA_MIGRATIONS_URL": database.url}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()
    assert runner.current(database.url) == runner.head()
    runner.downgrade(database.url, "-1", wait_s=10)  # the dead one's lock is gone
    assert runner.upgrade(database.url).after == runner.head()


def test_two_processes_at_once_end_at_head(empty_database: Database) -> None:
    roles.apply(empty_database.url, PASSWORDS)
    both = [_cli("upgrade", "--json", url=empty_database.url) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert runner.current(empty_database.url) == runner.head()


def test_unchanged_it_takes_no_lock_and_imports_no_alembic(database: Database) -> None:
    code = (
        "import os, sys; from migrations import runner;"
        "runner.upgrade(os.environ['GAIA_MIGRATIONS_URL']);"
        "print(*({'alembic', 'sqlalchemy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "GAIA_MIGRATIONS_URL": database.url}
    with lock.exclusive(database.url):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=30
        )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_the_command_line_has_the_documented_exit_codes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(*arguments: str, url: str = database.url) -> int:
        monkeypatch.setenv("GAIA_MIGRATIONS_URL", url)
        return command_line.main(arguments)

    assert code("current") == 0
    assert code("upgrade", "0099") == 2
    assert code("current", url="postgresql://gaia:x@127.0.0.1:1/gaia") == 3
    assert code("current", url=database.url_as("gaia_app", "wrong")) == 3
    assert code("check") == 0
    with database.connect() as connection:
        connection.execute("ALTER TABLE game.campaigns ADD note text")
    assert code("check") == 1
    assert code("downgrade", "-1") == 0
    monkeypatch.setattr(lock, "WAIT_S", 0.0)
    with lock.exclusive(database.url):
        assert code("upgrade") == 4


def test_alembic_by_hand_does_the_same(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    before = database.dump()
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("GAIA_MIGRATIONS_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL", database.url_as("gaia_migrator").replace("postgresql", "postgresql+psycopg"))
    for command in ("downgrade -1", "upgrade head", "check", "history", "current"):
        alembic.config.main(argv=command.split())  # exits if it fails
    assert database.dump() == before


def test_a_new_revision_gets_the_next_number_and_what_the_models_have(database: Database, tree: Path) -> None:
    assert runner.new(database.url, "nothing", directory=tree) is None
    with database.connect() as connection:
        connection.execute("DROP INDEX game.ix_campaigns_owner_id")
    written = runner.new(database.url, "Find campaigns by owner", directory=tree)
    number, last = runner.revisions.next_id(), runner.head()
    assert written is not None and written.name == f"{number}_find_campaigns_by_owner.py"
    assert f'revision = "{number}"\ndown_revision = "{last}"' in written.read_text()
    assert runner.upgrade(database.url, directory=tree).applied == (number,)
    assert runner.check(database.url) == ()


def test_errors_of_a_connection_name_the_place_but_never_the_password() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        runner.current("postgresql://gaia:canary-secret@127.0.0.1:1/gaia")
    assert "127.0.0.1:1 as gaia" in str(caught.value) and "canary-secret" not in str(caught.value)


def test_a_server_that_ends_meanwhile_is_a_failed_revision_not_a_traceback(database: Database, tree: Path) -> None:
    add(tree, "op.execute('RESET ROLE'); op.execute('SELECT pg_terminate_backend(pg_backend_pid())')")
    with pytest.raises(MigrationFailed, match="terminating connection"):
        runner.upgrade(database.url, directory=tree)
    assert runner.current(database.url) == runner.head()


def _cli(*arguments: str, url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "migrations", *arguments],
        env={**os.environ, "GAIA_MIGRATIONS_URL": url},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
