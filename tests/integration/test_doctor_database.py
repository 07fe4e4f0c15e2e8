"""Each fault of a database that runs is named by the doctor, with what mends it; the safe mends are carried out."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import psutil
import psycopg
import pytest

from engine.checkout import Checkout
from migrations import runner
from ops.doctor import access, clock, mends, sessions, upkeep
from ops.doctor.finding import Finding, Mend
from ops.doctor.scene import Scene
from tests.postgres import Database, running

pytestmark = pytest.mark.postgres
KEPT: MappingProxyType[str, int | None] = MappingProxyType({})


def kept(database: Database) -> dict[str, Finding]:
    with access.connected(database.url) as connection:
        return wrong(upkeep.look(connection, dict(KEPT)))


def held(database: Database) -> dict[str, Finding]:
    with access.connected(database.url) as connection:
        return wrong(sessions.look(connection))


def wrong(findings: Iterator[Finding]) -> dict[str, Finding]:
    # The servers of the tests have no autovacuum, and many databases side by side.
    passed_over = ("autovacuum",)
    return {one.name: one for one in findings if one.found and one.name not in passed_over}


@pytest.fixture
def at(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A scene whose stack's superuser is the test's."""
    monkeypatch.setattr(mends, "_url", lambda _scene: database.url)
    checkout = Checkout(root=tmp_path)
    checkout.run_file("local", "lock").parent.mkdir(parents=True)
    return Scene(checkout=checkout, stack="local", chosen=True, environ={})


def do(mend: Mend | None, at: Scene) -> str:
    assert mend is not None
    return mends.do(mend, at, lambda _line: None)


def test_a_database_at_head_has_nothing_wrong(shared_database: Database) -> None:
    assert kept(shared_database) == {} == held(shared_database)
    with access.connected(shared_database.url) as connection:
        assert wrong(clock.look(connection, None)) == {}


def test_an_invalid_index_is_named_and_dropped(database: Database, at: Scene) -> None:
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO auth.users (username, email) SELECT 'u' || i, i || '@x.y' FROM generate_series(1, 2) i"
        )
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_half ON auth.users (is_admin)")
    found = kept(database)["indexes are valid"]
    assert "auth.ix_half" in found.found
    assert "dropped" in do(found.mend, at)
    assert "indexes are valid" not in kept(database)


def test_a_missing_month_is_named_and_made(database: Database, at: Scene) -> None:
    with database.connect() as connection:
        row = connection.execute(
            "SELECT 'game.chat_history_' || to_char(now() + INTERVAL '1 month', 'YYYY_MM')"
        ).fetchone()
        assert row is not None
        connection.execute(f"DROP TABLE {row[0]}".encode())
    found = kept(database)[f"partitions for the next {upkeep.MONTHS_AHEAD_MIN} months"]
    assert "game.chat_history has no partition" in found.found
    assert do(found.mend, at) == f"made 1 partitions, {row[0]} to {row[0]}"
    assert kept(database) == {}


def test_rows_in_a_default_partition_are_named(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE public.part (at date) PARTITION BY RANGE (at)")
        connection.execute("CREATE TABLE public.rest PARTITION OF public.part DEFAULT")
        assert "default partitions are empty" not in kept(database)
        connection.execute("INSERT INTO public.part VALUES (now())")
    assert (
        "public.rest" in kept(database)["default partitions are empty"].found
        or "rest" in kept(database)["default partitions are empty"].found
    )


def test_a_lost_event_trigger_is_named(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("DROP EVENT TRIGGER gaia_ddl")
    found = kept(database)["DDL goes into the audit log"]
    assert "gaia_ddl" in found.found and "./gaia up" in found.way


def test_a_revision_that_is_behind_or_unknown_is_named(database: Database) -> None:
    with database.connect() as connection:
        for at, words in (("0001", f"head is {runner.head()}"), ("9999", "doesn't have")):
            connection.execute("UPDATE public.alembic_version SET version_num = %s", (at,))
            assert words in kept(database)["revision is head"].found


def test_what_a_restore_left_is_named(database: Database) -> None:
    server = database.server
    server.create("gaia_restore_20261123_120000")
    try:
        found = kept(database)["database gaia_restore_20261123_120000"]
        assert "cut off" in found.found and "DROP DATABASE gaia_restore_20261123_120000" in found.way
    finally:
        server.drop("gaia_restore_20261123_120000")


def test_a_read_only_server_is_named(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on".encode())
    assert "read-only" in kept(database)["server takes writes"].found


def test_a_slot_that_nobody_reads_is_named(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SLOT_MAX_BYTES", 0)
    with database.connect() as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('left_behind', true)")
        try:
            connection.execute("CREATE TABLE public.written AS SELECT generate_series(1, 1000)")
            found = kept(database)["slot left_behind"]
        finally:
            connection.execute("SELECT pg_drop_replication_slot('left_behind')")
    assert "pg_drop_replication_slot('left_behind')" in found.way


def test_an_open_transaction_is_named_and_ended(database: Database, at: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "IDLE_TRANSACTION_S", 0)
    with psycopg.connect(database.url_as("gaia_app"), application_name="api") as left_open:
        left_open.execute("SELECT 1")
        found = held(database)["no idle transaction"]
        assert f"pid {left_open.info.backend_pid} (gaia_app, api)" in found.found
        assert do(found.mend, at) == f"ended the session {left_open.info.backend_pid}"
        with pytest.raises(psycopg.OperationalError):
            left_open.execute("SELECT 1")
        left_open.close()
    assert "no longer" in do(found.mend, at)


def test_who_blocks_whom_is_named_with_what_frees_them(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "WAIT_S", 0)
    with database.connect() as holder, database.connect() as waiter:
        holder.execute("BEGIN; LOCK TABLE auth.users")
        waits = threading.Thread(target=waiter.execute, args=(b"SELECT count(*) FROM auth.users",))
        waits.start()
        try:
            found = _until_found(database, "no lock waits long")
            assert f"pid {waiter.info.backend_pid} " in found.found
            assert f"pg_terminate_backend({holder.info.backend_pid})" in found.way
        finally:
            holder.execute("ROLLBACK")
            waits.join(10)


def _until_found(database: Database, name: str) -> Finding:
    for _ in range(200):
        if found := held(database).get(name):
            return found
    raise AssertionError(f"{name} holds")


def test_taken_connections_are_named_by_who_has_them_and_only_idle_ones_of_no_superuser_are_ended(
    database: Database, at: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sessions, mends):
        monkeypatch.setattr(module, "IDLE_LONG", sessions.IDLE_LONG.replace("10 minutes", "0 minutes"))
    monkeypatch.setattr(sessions, "NEAR_SHARE", 0.1)
    with contextlib.ExitStack() as stack:
        idle = [
            stack.enter_context(psycopg.connect(database.url_as("gaia_app"), application_name="api", autocommit=True))
            for _ in range(6)
        ]
        at_work = stack.enter_context(psycopg.connect(database.url_as("gaia_readonly")))
        at_work.execute("SELECT 1")
        superuser = stack.enter_context(database.connect())
        found = held(database)["connections"]
        assert "6 idle of gaia_app (api)" in found.found
        assert do(found.mend, at) == "ended 6 sessions that were idle for more than 10 minutes"
        at_work.execute("SELECT 1")
        superuser.execute("SELECT 1")
        for one in idle:
            with pytest.raises(psycopg.OperationalError):
                one.execute("SELECT 1")
            one.close()


def test_a_wrong_password_is_told_as_such(database: Database) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(database.url_as("gaia_app", "not-the-password"))
    assert access.refused(str(refused.value), "here", as_app=True).name == access.APP


def test_a_database_that_is_gone_is_told_as_such(database: Database) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(database.server.url("not_there"))
    assert access.refused(str(refused.value), "here").name == "database"


def test_a_row_from_the_future_is_named(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO audit.security_events (event_type, created_at) VALUES ('x', now() + INTERVAL '1 day')"
        )
    with access.connected(database.url) as connection:
        assert "audit.security_events" in wrong(clock.look(connection, None))["no row from the future"].found


def test_a_server_of_its_own_bad_settings_shows_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"max_connections": "12", "max_prepared_transactions": "2", "autovacuum_freeze_max_age": "100000"}
    monkeypatch.setattr(sessions, "PREPARED_S", 0)
    with running(**settings) as server, contextlib.ExitStack() as stack:
        database = Database(server=server, name="postgres")
        with database.connect() as connection:
            connection.execute("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'forgotten'")
            # The prepared one keeps autovacuum from freezing what these use up.
            connection.execute(
                "DO $$ BEGIN FOR i IN 1..120000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
            )
            found = wrong(upkeep._ages(connection))  # pyright: ignore[reportPrivateUsage]
            assert "has used 12" in found["transaction ids"].found
            assert "ROLLBACK PREPARED 'forgotten'" in held(database)["no prepared transaction"].way
        for _ in range(12):
            stack.enter_context(psycopg.connect(database.url))
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(database.url)
        assert access.refused(str(refused.value), "here").name == access.CONNECTIONS


def test_a_server_that_hangs_is_told_from_one_that_is_gone() -> None:
    with running() as server:
        pid = int((server.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(psycopg.OperationalError) as hung, access.connected(server.url()):
                pass
        finally:
            process.kill()  # one that only goes on takes its time to end: the login that hung is in its way
    assert "gives no answer" in access.refused(str(hung.value), "here").found
    with pytest.raises(psycopg.OperationalError) as gone, access.connected(server.url()):
        pass
    assert "Connection refused" in access.refused(str(gone.value), "here").found
