"""The audit log is append-only for everybody, on each partition that the catalog has, attached or not."""

import datetime as dt
from collections.abc import Iterator

import pytest
from psycopg import errors

from migrations import partitions
from tests.integration import people
from tests.integration.people import Connection, World, column
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres

REFUSED = errors.InsufficientPrivilege
AUDIT = partitions.AUDIT
TABLES = """
SELECT c.oid::regclass::text FROM pg_class c
WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1
"""
CHANGES = (
    "UPDATE {table} SET event_type = 'rewritten'",
    "UPDATE {table} SET created_at = created_at - interval '1 month'",
    "UPDATE {table} SET event_type = 'rewritten' WHERE false",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "TRUNCATE {table} CASCADE",
    "TRUNCATE ONLY {table}",
    "MERGE INTO {table} USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE",
    "MERGE INTO {table} USING (SELECT 1) x ON true WHEN MATCHED THEN UPDATE SET event_type = 'rewritten'",
    "WITH gone AS (DELETE FROM {table} RETURNING *) SELECT * FROM gone",
    "INSERT INTO {table} (event_id, event_type, created_at) VALUES (gen_random_uuid(), 'x', {moment})"
    " ON CONFLICT (event_id, created_at) DO UPDATE SET event_type = 'rewritten'",
)


@pytest.fixture(scope="module")
def world(server: Server, template: Database) -> Iterator[World]:
    with people.made(server, template) as made:
        yield made


def this_month() -> str:
    return f"{AUDIT}_{dt.datetime.now(dt.UTC):%Y_%m}"


def first_moment(partition: str) -> str:
    """When a partition begins, by its name."""
    return f"{partition[-7:-3]}-{partition[-2:]}-01 00:00:00+00"


def refuses_every_change(connection: Connection, table: str) -> None:
    moment = "now()" if table == AUDIT else f"'{first_moment(table)}'"
    for change in CHANGES:
        if "ONLY" in change and table == AUDIT:
            continue  # a partitioned table has no rows of its own: PostgreSQL refuses that by itself
        with pytest.raises(REFUSED, match="append-only"), connection.transaction():
            connection.execute(change.format(table=table, moment=moment).encode())


@pytest.mark.parametrize("role", ["gaia_owner", None])
def test_no_table_of_the_log_can_be_changed_by_its_owner_or_a_superuser(world: World, role: str | None) -> None:
    with world.as_superuser(role=role) as connection:
        tables = column(connection, TABLES)
        assert len(tables) >= 1 + 13
        for table in tables:
            refuses_every_change(connection, table)


def test_a_detached_month_is_as_closed_as_before(world: World) -> None:
    with world.as_superuser(role="gaia_owner") as connection:
        month = this_month()
        connection.execute(f"ALTER TABLE {AUDIT} DETACH PARTITION {month}".encode())
        assert column(connection, f"SELECT count(*) > 0 FROM {month}") == [True]
        refuses_every_change(connection, month)


def test_a_month_made_later_is_born_closed(world: World) -> None:
    with world.as_superuser(role="gaia_owner") as connection:
        (made,) = column(connection, "SELECT audit.add_months('audit.security_events', '2031-05-01', '2031-05-31')")
        assert made == f"{AUDIT}_2031_05"
        refuses_every_change(connection, made)


def test_each_table_of_the_log_has_its_own_statement_triggers(world: World) -> None:
    """Statement triggers aren't inherited, and row triggers go with a detach."""
    with world.as_superuser() as connection:
        lacking = column(
            connection,
            "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'audit'::regnamespace"
            " AND relkind IN ('r', 'p') AND (SELECT bit_or(tgtype) FROM pg_trigger WHERE tgrelid = c.oid"
            " AND tgfoid = 'audit.refuse_change'::regproc AND tgenabled IN ('O', 'A') AND tgtype & 1 = 0) & 56 <> 56",
        )
        assert lacking == []


def test_no_foreign_key_reaches_into_the_log_or_out_of_it(world: World) -> None:
    """ON DELETE CASCADE or SET NULL would change it, whatever the triggers' owner may."""
    with world.as_superuser() as connection:
        keys = column(
            connection,
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND 'audit'::regnamespace IN"
            " ((SELECT relnamespace FROM pg_class WHERE oid = conrelid),"
            " (SELECT relnamespace FROM pg_class WHERE oid = confrelid))",
        )
        assert keys == []


@pytest.mark.parametrize("login", ["gaia_migrator", "gaia_app", "gaia_auditor", "gaia_backup", "gaia_readonly"])
def test_no_login_can_have_its_triggers_skipped(world: World, login: str) -> None:
    with world.acting(None, login=login) as connection:
        with pytest.raises(REFUSED), connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
        if login != "gaia_migrator":
            with pytest.raises(REFUSED), connection.transaction():
                connection.execute("ALTER TABLE audit.security_events DISABLE TRIGGER ALL")


def ddl_of(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT details->>'command', details->>'object' FROM audit.security_events"
        " WHERE event_type = 'ddl' AND source = 'database' AND created_at = now()"
    ).fetchall()
    return [(str(command), str(thing)) for command, thing in rows]


@pytest.mark.parametrize(
    ("statement", "command", "thing"),
    [
        ("ALTER TABLE audit.security_events DISABLE TRIGGER append_only", "ALTER TABLE", "audit.security_events"),
        ("DROP TRIGGER append_only ON audit.security_events", "DROP TRIGGER", "append_only on audit.security_events"),
        ("GRANT SELECT ON auth.users TO PUBLIC", "GRANT", "None"),
        ("REVOKE SELECT ON auth.users FROM gaia_backend", "REVOKE", "None"),
        ("CREATE TABLE game.notes ()", "CREATE TABLE", "game.notes"),
        ("DROP TABLE game.campaign_participants", "DROP TABLE", "game.campaign_participants"),
        ("CREATE POLICY wide ON auth.users USING (true)", "CREATE POLICY", "wide on auth.users"),
        ("ALTER TABLE auth.users DISABLE ROW LEVEL SECURITY", "ALTER TABLE", "auth.users"),
        ("ALTER FUNCTION auth.is_admin() SECURITY INVOKER", "ALTER FUNCTION", "auth.is_admin()"),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", "ALTER DEFAULT PRIVILEGES", "None"),
    ],
)
def test_ddl_and_grants_are_written_down(world: World, statement: str, command: str, thing: str) -> None:
    with world.as_superuser(role="gaia_owner") as connection:
        connection.execute(statement.encode())
        assert (command, thing) in ddl_of(connection)


def test_changes_of_roles_are_not_written_down_as_they_belong_to_no_database(world: World) -> None:
    """What an event trigger can't see: pgaudit can, and `verify` names the difference."""
    with world.as_superuser() as connection:
        connection.execute("ALTER ROLE gaia_readonly SET work_mem = '1MB'")
        connection.execute("CREATE ROLE passer_by")
        assert ddl_of(connection) == []


def test_what_is_rolled_back_leaves_no_event(world: World) -> None:
    """So the backend records a failed login in a transaction of its own."""
    with world.as_superuser() as connection:
        (before,) = column(connection, "SELECT count(*) FROM audit.security_events")
    with world.acting(None) as connection:
        connection.execute("SELECT auth.record_failed_login('player')")
    with world.as_superuser() as connection:
        assert column(connection, "SELECT count(*) FROM audit.security_events") == [before]


def test_without_this_month_writing_fails_loudly_and_ddl_can_mend_it(server: Server, template: Database) -> None:
    with people.copied(server, template) as database, database.connect() as connection:
        connection.execute("SET ROLE gaia_owner")
        month = this_month()
        connection.execute(f"ALTER TABLE {AUDIT} DETACH PARTITION {month}".encode())
        with database.connect("gaia_app") as app:
            for statement in (
                "SELECT auth.record_failed_login('player')",
                "SELECT auth.register('ada', 'ada@example.com', NULL)",
                "INSERT INTO audit.security_events (event_type) VALUES ('x')",
            ):
                with pytest.raises(errors.CheckViolation, match="no partition of relation"):
                    app.execute(statement.encode())
            assert app.execute("SELECT * FROM auth.find_login('ada')").fetchall() == []  # no half of a registration
        warnings: list[str | None] = []
        connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
        connection.execute("CREATE TABLE game.notes ()")
        assert any("no record of this CREATE TABLE" in str(warning) for warning in warnings)
        connection.execute(
            f"ALTER TABLE {AUDIT} ATTACH PARTITION {month} FOR VALUES FROM ('{first_moment(month)}')"
            f" TO ('{partitions.later(partitions.month_of(dt.datetime.now(dt.UTC).date()), 1)} 00:00:00+00')".encode()
        )
        connection.execute("SELECT auth.record_failed_login('player')")


def test_a_missing_month_is_named_and_made_again(server: Server, template: Database) -> None:
    with people.copied(server, template) as database, database.connect() as connection:
        month = f"{partitions.CHAT}_{dt.datetime.now(dt.UTC):%Y_%m}"
        connection.execute(f"DROP TABLE {month}".encode())
        (sentence,) = partitions.missing(connection)
        assert partitions.CHAT in sentence
        assert partitions.maintain(database.url).made == (month,)
        assert partitions.missing(connection) == []


def test_nobody_adds_events_of_another_time_or_name(world: World) -> None:
    insert = "INSERT INTO audit.security_events (event_type, user_id, created_at) VALUES ('x', %s, {})"
    with world.acting("player") as connection:
        lately = "greatest(now() - interval '59 seconds', date_trunc('month', now(), 'UTC'))"  # that month was made
        for moment in ("now()", lately, "now() + interval '59 seconds'"):
            connection.execute(insert.format(moment).encode(), (world["player"],))
            connection.execute(insert.format(moment).encode(), (None,))
            with pytest.raises(REFUSED), connection.transaction():
                connection.execute(insert.format(moment).encode(), (world["owner"],))
        for moment in ("now() - interval '61 seconds'", "now() + interval '61 seconds'", "'infinity'", "'-infinity'"):
            with pytest.raises((REFUSED, errors.CheckViolation)), connection.transaction():
                connection.execute(insert.format(moment).encode(), (world["player"],))
