"""Without a superuser, as on Cloud SQL: everything is there, the backup reads all rows, and nobody reads the key."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from migrations import bootstrap, ddl_audit, grants, identity, partitions, roles, runner
from migrations import connection as connections
from tests.integration import people
from tests.integration.people import World, column
from tests.postgres import IDENTITY_KEY, PASSWORDS, Database, running

pytestmark = pytest.mark.postgres

ADMIN, PASSWORD = "bootstrap", "bootstrap-password"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A database on a server of its own (roles are the server's), set up by a CREATEROLE login that owns it."""
    with running() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE PASSWORD '{PASSWORD}'".encode())
        database = server.create("gaia_managed", owner=ADMIN)
        applied = bootstrap.apply(database.url_as(ADMIN, PASSWORD), passwords=PASSWORDS, identity_keys=[IDENTITY_KEY])
        assert applied.result.after == runner.head()
        with people.settled(database) as made:
            yield made


def test_nothing_is_missing_as_far_as_that_login_can_see(world: World) -> None:
    with connections.connect(world.database.url_as(ADMIN, PASSWORD)) as connection:
        connections.become_owner(connection)
        assert bootstrap.missing(connection, passwords={}, identity_keys=[IDENTITY_KEY]) == []
        assert identity.missing(connection, ["0" * 64]) != []


def test_nothing_is_missing_but_the_event_triggers_that_only_a_superuser_makes(world: World) -> None:
    with world.as_superuser() as connection:
        assert roles.missing(connection, PASSWORDS) == []
        assert grants.difference(connection).sentences() == []
        assert partitions.missing(connection) == []
        assert column(connection, "SELECT evtname FROM pg_event_trigger") == []
        assert len(ddl_audit.missing(connection)) == 2


def test_the_second_time_it_changes_nothing(world: World) -> None:
    again = bootstrap.apply(world.database.url_as(ADMIN, PASSWORD), passwords={}, identity_keys=[IDENTITY_KEY])
    assert not again.changed


def test_policies_hold_there_too(world: World) -> None:
    with world.acting("player") as connection:
        assert column(connection, "SELECT name FROM game.campaigns") == [people.OURS]
        found = connection.execute("SELECT * FROM game.search_messages(%s, 'dragon')", (world[people.THEIRS],))
        assert found.fetchall() == []
    with world.acting(None) as connection:
        assert column(connection, "SELECT count(*) FROM auth.users") == [0]


def test_who_set_it_up_is_bound_by_the_audit_log_too(world: World) -> None:
    with connections.connect(world.database.url_as(ADMIN, PASSWORD)) as connection:
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT FROM audit.security_events")
        connections.become_owner(connection)
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            connection.execute("DELETE FROM audit.security_events")


def dump(database: Database, *flags: str) -> subprocess.CompletedProcess[str]:
    program: Path = database.server.binaries / "pg_dump"
    command = [str(program), "--data-only", *flags, database.url_as("gaia_backup")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows_in(text: str) -> dict[str, int]:
    """How many rows each table's COPY has in a plain dump."""
    found: dict[str, int] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("COPY "):
            table = line.split()[1]
            found[table] = 0
        elif line == "\\.":
            table = ""
        elif table:
            found[table] += 1
    return found


def test_a_backup_has_every_row_and_no_key(world: World) -> None:
    done = dump(world.database, "--enable-row-security", "--no-large-objects")
    assert done.returncode == 0, done.stderr
    found = rows_in(done.stdout)
    with world.as_superuser() as connection:
        tables = column(
            connection,
            "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'r'"
            " AND relnamespace::regnamespace::text IN ('auth', 'game', 'audit', 'public')",
        )
        live = {table: column(connection, f"SELECT count(*) FROM {table}")[0] for table in tables}
    live = {(f"public.{table}" if "." not in table else table): rows for table, rows in live.items()}
    assert live.pop("auth.identity_keys") == 1 and found.pop("auth.identity_keys") == 0
    assert found == live
    assert found["auth.users"] == len(people.PEOPLE)
    assert people.SECRET in done.stdout and IDENTITY_KEY not in done.stdout


def test_a_backup_that_forgets_the_flag_fails_instead_of_losing_rows(world: World) -> None:
    done = dump(world.database)
    assert done.returncode != 0
    assert "row-level security" in done.stderr


def test_a_large_object_of_an_injection_stops_a_backup_that_wants_large_objects(world: World) -> None:
    """Any login may make one, and PostgreSQL can't forbid it without a superuser: so the backup leaves them out."""
    with world.database.connect("gaia_app") as connection:
        (made,) = column(connection, "SELECT lo_from_bytea(0, 'mine')")
        try:
            with_them = dump(world.database, "--enable-row-security")
            without = dump(world.database, "--enable-row-security", "--no-large-objects")
        finally:
            connection.execute("SELECT lo_unlink(%s)", (made,))
    assert with_them.returncode != 0 and "large object" in with_them.stderr
    assert without.returncode == 0 and rows_in(without.stdout)["auth.users"] == len(people.PEOPLE)


@pytest.mark.parametrize(
    ("login", "sees"),
    [
        ("gaia_backup", {"auth.users", "auth.sessions", "game.chat_history", "audit.security_events"}),
        ("gaia_readonly", {"game.chat_history", "auth.access_control", "game.campaigns"}),
        ("gaia_auditor", {"audit.security_events"}),
    ],
)
def test_readers_see_all_rows_of_what_they_are_granted(world: World, login: str, sees: set[str]) -> None:
    for table in sees:
        with world.as_superuser() as connection:
            all_rows = column(connection, f"SELECT count(*) FROM {table}")
        with world.acting(None, login=login) as connection:
            assert column(connection, f"SELECT count(*) FROM {table}") == all_rows != [0]


def test_what_an_injection_leaves_on_its_role_is_named_and_mended(world: World) -> None:
    """A login may change its own settings and password: PostgreSQL can't forbid that, so it is looked for."""
    leave = (
        "ALTER ROLE gaia_app SET statement_timeout = '1ms'",
        "ALTER ROLE gaia_app_b IN DATABASE gaia_managed SET search_path = 'mine'",
    )
    for login, statement in zip(("gaia_app", "gaia_app_b"), leave, strict=True):
        with world.database.connect(login) as connection:
            connection.execute(statement.encode())
    try:
        with world.as_superuser() as connection:
            found = roles.missing(connection)
        assert any("gaia_app " in line for line in found) and any("gaia_app_b " in line for line in found), found
        bootstrap.apply(world.database.url_as(ADMIN, PASSWORD), passwords={})
        with world.as_superuser() as connection:
            assert column(connection, "SELECT count(*) FROM pg_db_role_setting WHERE setrole <> 0") == [0]
    finally:
        with world.database.connect() as connection:
            connection.execute("ALTER ROLE gaia_app RESET ALL")
            connection.execute("ALTER ROLE gaia_app_b IN DATABASE gaia_managed RESET ALL")


def test_default_privileges_that_an_injection_leaves_are_named(world: World) -> None:
    """They give nothing away, for the app makes nothing; but a restore as the owner would stop at them."""
    with world.database.connect("gaia_app") as connection:
        connection.execute("ALTER DEFAULT PRIVILEGES FOR ROLE gaia_backend GRANT SELECT ON TABLES TO PUBLIC")
        with world.as_superuser() as superuser:
            found = roles.missing(superuser)
        connection.execute("ALTER DEFAULT PRIVILEGES FOR ROLE gaia_backend REVOKE SELECT ON TABLES FROM PUBLIC")
    assert len(found) == 1 and "gaia_backend has default privileges" in found[0]


def test_a_password_that_an_injection_changed_is_named_and_mended(world: World) -> None:
    with world.database.connect("gaia_app") as connection:
        connection.execute("ALTER ROLE gaia_app PASSWORD 'mine'")
    with world.as_superuser() as connection:
        assert "role gaia_app has another password" in roles.missing(connection, PASSWORDS)
    bootstrap.apply(world.database.url_as(ADMIN, PASSWORD), passwords=PASSWORDS)
    with world.database.connect("gaia_app") as connection:
        assert column(connection, "SELECT current_user::text") == ["gaia_app"]
