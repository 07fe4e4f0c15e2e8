"""Roles and grants on a real server: what each login may, and that code and server agree."""

import contextlib
import secrets
from collections.abc import Iterator

import psycopg
import pytest

from migrations import grants, roles, runner
from migrations.errors import ConnectionFailed, RoleError
from tests.postgres import PASSWORDS, Database, Server, running

pytestmark = pytest.mark.postgres

DENIED = psycopg.errors.InsufficientPrivilege


@contextlib.contextmanager
def as_role(database: Database, name: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with database.connect(name) as connection:
        yield connection


def test_the_second_time_nothing_changes(shared_database: Database) -> None:
    assert roles.apply(shared_database.url, PASSWORDS) == ()
    applied = runner.apply(shared_database.url, passwords=PASSWORDS)
    assert not applied.changed and applied.result.after == runner.head()


def test_live_roles_and_grants_are_the_tables(shared_database: Database) -> None:
    with shared_database.connect() as connection:
        assert roles.missing(connection) == []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("GRANT SELECT ON auth.users TO PUBLIC", "PUBLIC has SELECT on table auth.users, which"),
        ("REVOKE DELETE ON game.campaigns FROM gaia_backend", "gaia_backend lacks DELETE on table game.campaigns"),
        ("GRANT SELECT (password_hash) ON auth.users TO gaia_readonly", "gaia_readonly has SELECT (password_hash)"),
        ("GRANT SELECT ON auth.users TO gaia_auditor WITH GRANT OPTION", "has GRANT OPTION FOR SELECT on table"),
        ("GRANT TEMPORARY ON DATABASE {database} TO PUBLIC", "PUBLIC has TEMPORARY on database"),
        ("GRANT CREATE ON SCHEMA public TO gaia_app", "gaia_app has CREATE on schema public"),
        ("ALTER TABLE auth.users OWNER TO gaia", "table auth.users belongs to gaia, not to gaia_owner"),
        ("ALTER TABLE public.alembic_version OWNER TO gaia", "public.alembic_version belongs to gaia"),
        ("ALTER ROLE gaia_app CREATEDB", "role gaia_app is CREATEDB"),
        ("ALTER ROLE gaia_backend LOGIN", "role gaia_backend is LOGIN"),
        ("ALTER ROLE gaia_app SET statement_timeout = 1", "role gaia_app has settings of its own"),
        ("ALTER ROLE gaia_app IN DATABASE {database} SET app.identity = 'x'", "settings of its own in database"),
        ("GRANT gaia_owner TO gaia_app", "membership of gaia_app in gaia_owner"),
        ("REVOKE gaia_backend FROM gaia_app_b", "gaia_app_b is no member of gaia_backend"),
        ("GRANT gaia_owner TO gaia_migrator WITH INHERIT TRUE", "membership of gaia_migrator in gaia_owner"),
        (
            "CREATE FUNCTION auth.f() RETURNS int LANGUAGE sql RETURN 1; GRANT EXECUTE ON FUNCTION auth.f TO PUBLIC",
            "PUBLIC has EXECUTE on function auth.f()",
        ),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE gaia_owner GRANT SELECT ON TABLES TO gaia_app", "on tables made later"),
    ],
)
def test_each_difference_is_named_and_mended(database: Database, damage: str, sentence: str) -> None:
    with database.connect() as connection:
        connection.execute(damage.format(database=database.name).encode())
        found = roles.missing(connection)
        assert any(sentence in line for line in found), found
        assert runner.apply(database.url, passwords=PASSWORDS).changed
        assert roles.missing(connection) == []


def test_a_strangers_rights_are_named_but_not_taken(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE ROLE stranger")
        connection.execute("GRANT SELECT ON auth.users TO stranger")
        try:
            runner.apply(database.url, passwords=PASSWORDS)
            (sentence,) = roles.missing(connection)
            assert sentence.startswith("stranger has SELECT on table auth.users")
        finally:
            connection.execute("DROP OWNED BY stranger")
            connection.execute("DROP ROLE stranger")


@pytest.mark.parametrize("login", ["gaia_app", "gaia_app_b"])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE game.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE SCHEMA mine",
        "SELECT FROM audit.security_events",
        "INSERT INTO audit.security_events (event_type) VALUES ('x') RETURNING event_id",
        "UPDATE audit.security_events SET event_type = 'x'",
        "DELETE FROM audit.security_events",
        "TRUNCATE audit.security_events",
        "TRUNCATE game.chat_history",
        "ALTER TABLE game.campaigns ADD mine int",
        "DROP TABLE game.chat_history",
        "SELECT FROM public.alembic_version",
        "SET ROLE gaia_owner",
        "SET ROLE gaia_backend",
        "SET ROLE gaia_migrator",
        "GRANT SELECT ON public.alembic_version TO PUBLIC",
        "CREATE ROLE mine",
        "SELECT FROM pg_authid",
    ],
)
def test_the_backend_may_not(shared_database: Database, login: str, statement: str) -> None:
    with as_role(shared_database, login) as connection, pytest.raises(DENIED):
        connection.execute(statement.encode())


def test_the_backend_may_do_its_work(database: Database) -> None:
    with as_role(database, "gaia_app") as connection:
        connection.execute("SELECT auth.register('ada', 'ada@example.com', 'hash')")
        connection.execute("UPDATE auth.users SET password_hash = 'other'")
        connection.execute("INSERT INTO audit.security_events (event_type) VALUES ('login')")
        connection.execute("DELETE FROM auth.users")


def test_readonly_reads_but_no_secrets_and_no_audit(shared_database: Database) -> None:
    with as_role(shared_database, "gaia_readonly") as connection:
        connection.execute("SELECT username, email FROM auth.users")
        connection.execute("SELECT * FROM game.chat_history")
        for statement in (
            "SELECT password_hash FROM auth.users",
            "SELECT access_token_encrypted FROM auth.oauth_accounts",
            "SELECT token_hash FROM auth.sessions",
            "SELECT FROM audit.security_events",
            "DELETE FROM game.chat_history",
        ):
            with pytest.raises(DENIED):
                connection.execute(statement.encode())


def test_the_auditor_reads_audit_and_nothing_else(shared_database: Database) -> None:
    with as_role(shared_database, "gaia_auditor") as connection:
        connection.execute("SELECT * FROM audit.security_events")
        for statement in ("SELECT FROM auth.users", "SELECT FROM game.campaigns", "DELETE FROM audit.security_events"):
            with pytest.raises(DENIED):
                connection.execute(statement.encode())


def test_backup_can_read_all_that_a_dump_needs(shared_database: Database) -> None:
    with as_role(shared_database, "gaia_backup") as connection:
        for name in (*grants.TABLE, "game.chat_history_message_id_seq"):
            connection.execute(f"SELECT * FROM {name}".encode())


def test_what_the_owner_makes_later_is_in_the_backup_and_in_nobody_elses_hands(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("SET ROLE gaia_owner")
        connection.execute("CREATE TABLE game.later (id bigint GENERATED ALWAYS AS IDENTITY)")
        connection.execute("CREATE FUNCTION game.later() RETURNS int LANGUAGE sql RETURN 1")
    with as_role(database, "gaia_backup") as connection:
        connection.execute("SELECT * FROM game.later")
    for login in ("gaia_app", "gaia_readonly"):
        with as_role(database, login) as connection:
            for statement in ("SELECT FROM game.later", "SELECT game.later()"):
                with pytest.raises(DENIED):
                    connection.execute(statement.encode())


def test_gaia_owner_owns_everything_alembic_version_too(shared_database: Database) -> None:
    with shared_database.connect() as connection:
        owners = connection.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace IN"
            " (SELECT oid FROM pg_namespace WHERE nspname IN ('auth', 'game', 'audit', 'public'))"
        ).fetchall()
    assert owners == [("gaia_owner",)]


def test_the_migrator_migrates_but_has_nothing_of_its_own(database: Database) -> None:
    url = database.url_as("gaia_migrator")
    runner.downgrade(url, "-1")
    assert runner.upgrade(url).after == runner.head() == runner.current(url)
    with database.connect() as connection:
        assert roles.missing(connection) == []
    with as_role(database, "gaia_migrator") as connection, pytest.raises(DENIED):
        connection.execute("SELECT FROM auth.users")


def test_the_app_may_not_migrate(shared_database: Database) -> None:
    with pytest.raises(RoleError, match=r"gaia_app may not migrate.*connect as gaia_migrator"):
        runner.upgrade(shared_database.url_as("gaia_app"))
    with pytest.raises(RoleError, match="gaia_app may not set up the roles"):
        roles.apply(shared_database.url_as("gaia_app"), {"gaia_app": "another-password"})


def test_a_new_password_is_set_and_only_that(database: Database) -> None:
    new = secrets.token_hex(12)
    try:
        assert roles.apply(database.url, {**PASSWORDS, "gaia_app": new}) == ("password of gaia_app",)
        with psycopg.connect(database.url_as("gaia_app", new)) as connection:
            assert connection.info.user == "gaia_app"
        with pytest.raises(ConnectionFailed, match="password authentication failed"):
            runner.current(database.url_as("gaia_app"))
    finally:
        assert roles.apply(database.url, PASSWORDS) == ("password of gaia_app",)


@pytest.mark.parametrize("password", ["with space and 'quote\"s", "Zürich ¼ \N{NO-BREAK SPACE}ﬁ", "a\N{SOFT HYPHEN}b"])
def test_any_password_logs_in_and_stays(database: Database, password: str) -> None:
    try:
        roles.apply(database.url, {"gaia_readonly": password})
        assert roles.apply(database.url, {"gaia_readonly": password}) == ()
        port = database.server.port
        psycopg.connect(
            host="127.0.0.1", port=port, dbname=database.name, user="gaia_readonly", password=password
        ).close()
    finally:
        roles.apply(database.url, PASSWORDS)


def test_a_password_for_nobody_is_refused(database: Database) -> None:
    with pytest.raises(RoleError, match="gaia_ap, but there is no such role"):
        roles.apply(database.url, {"gaia_ap": "x"})


def test_no_password_reaches_the_servers_log() -> None:
    canary = f"canary-{secrets.token_hex(16)}"
    with running(log_statement="all", log_connections="on", log_min_duration_statement="0") as server:
        gaia = server.create("gaia")
        runner.apply(gaia.url, passwords={**PASSWORDS, "gaia_app": canary})
        psycopg.connect(gaia.url_as("gaia_app", canary)).close()
        log = server.log.read_text()
    assert "CREATE TABLE auth.users" in log
    assert canary not in log and "SCRAM-SHA-256$" not in log


def test_a_login_without_a_password_can_not_be_used() -> None:
    with running() as server:
        gaia = server.create("gaia")
        runner.apply(gaia.url, passwords={})
        with pytest.raises(ConnectionFailed):
            runner.current(gaia.url_as("gaia_migrator"))


def test_a_createrole_login_that_owns_the_database_can_do_it_all() -> None:
    with running(log_statement="all") as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE ROLE bootstrap LOGIN CREATEROLE PASSWORD 'bootstrap-password'")
        gaia = server.create("gaia", owner="bootstrap")
        url = gaia.url_as("bootstrap", "bootstrap-password")
        applied = runner.apply(url, passwords=PASSWORDS)
        assert applied.result.after == runner.head()
        with gaia.connect() as connection:
            assert roles.missing(connection) == []
        with gaia.connect("gaia_app") as connection:
            connection.execute("SELECT * FROM auth.users")
        again = runner.apply(url, passwords=PASSWORDS)
        assert set(again.roles) == {f"password of {name}" for name in PASSWORDS}  # it can't see the stored ones
        assert runner.apply(url, passwords={}).changed is False
        runner.downgrade(url, "base")
        log = server.log.read_text()  # it may not silence the log: only verifiers may be in there
    assert "SCRAM-SHA-256$" in log and not [name for name, password in PASSWORDS.items() if password in log]


def test_two_databases_of_one_server_can_be_set_up_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def set_up(server: Server, name: str) -> str | None:
        return runner.apply(server.create(name).url, passwords=PASSWORDS).result.after

    with running() as server, ThreadPoolExecutor() as pool:
        done = [pool.submit(set_up, server, f"gaia_{number}") for number in range(3)]
        assert {future.result() for future in done} == {runner.head()}
