"""What the app's logins reach, enumerated from the catalog: a new table, partition or function can't be forgotten.

Who has no identity, and who has no part in anything, reads, changes and runs only what stands in the tables here.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import errors, sql

from migrations import grants
from tests.integration import people
from tests.integration.people import Connection, World, column
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres

LOGINS = ("gaia_app", "gaia_app_b")

CALLABLE = {
    "auth.current_user_id()",
    "auth.is_admin()",
    "auth.find_login(text)",
    "auth.find_oauth_login(text, text)",
    "auth.register(text, text, text)",
    "auth.open_session(uuid, bytea, timestamp with time zone, inet, text)",
    "auth.resume_session(bytea)",
    "auth.record_failed_login(text, inet, text)",
    "game.my_campaigns(text)",
    "game.members(uuid)",
    "game.leave_campaign(uuid)",
    "game.set_character(uuid, text)",
    "game.transfer_campaign(uuid, uuid)",
    "game.post_reply(uuid, text, text, jsonb, text)",
    "auth.knows_key(text)",
    "game.search_messages(uuid, text, text, boolean, integer, real, bigint)",
    "game.search_vector(text, uuid, text)",
}
"""What the app may run, said a second time: this table and the code's must agree with the catalog."""

ANONYMOUS = {"INSERT INTO audit.security_events"}
"""What gets through without an identity: the backend records what happens before anybody has signed in."""

ACCOUNT = ("users", "sessions", "oauth_accounts")
STRANGER = {
    *ANONYMOUS,
    *(
        f"{verb} auth.{table}"
        for verb in ("SELECT", "DELETE FROM")
        for table in ("users", "sessions", "oauth_accounts")
    ),
    *(
        f"UPDATE auth.users.{name}"
        for name in ("username", "email", "password_hash", "email_verified_at", "updated_at")
    ),
    *(
        f"UPDATE auth.oauth_accounts.{name}"
        for name in (
            *("email", "access_token_encrypted", "refresh_token_encrypted", "encryption_key_id", "token_expires_at"),
            *("scopes", "updated_at"),
        )
    ),
    *(f"UPDATE auth.sessions.{name}" for name in ("last_seen_at", "revoked_at")),
}
"""What gets through for somebody who takes part in nothing: one's own account."""

VALUES = {
    "game.chat_history": "(campaign_id, user_id, role, content)"
    " VALUES (gen_random_uuid(), auth.current_user_id(), 'user', 'x')"
}
"""What is inserted where a generated column needs more than the defaults."""

RELATIONS = """
SELECT format('%I.%I', n.nspname, relname), relkind::text, relispartition,
       array(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 't') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1
"""
"""Everything that holds rows, TOAST tables and sequences included, in whatever schema."""

FUNCTIONS = """
SELECT format('%I.%I(%s)', nspname, proname, oidvectortypes(proargtypes)), p.oid
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
WHERE nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


@pytest.fixture(scope="module")
def world(server: Server, template: Database) -> Iterator[World]:
    with people.made(server, template) as made:
        yield made


def attempts(relation: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """Each verb on one relation: what it is called in the tables above, and the statement."""
    name, kind, _, columns = relation
    yield f"SELECT {name}", f"SELECT FROM {name}"
    if kind != "S":
        yield f"INSERT INTO {name}", f"INSERT INTO {name} {VALUES.get(name, 'DEFAULT VALUES')}"
        for each in columns:
            quoted = sql.Identifier(each).as_string()
            yield f"UPDATE {name}.{each}", f"UPDATE {name} SET {quoted} = DEFAULT"
        yield f"DELETE FROM {name}", f"DELETE FROM {name}"
        yield f"TRUNCATE {name}", f"TRUNCATE {name} CASCADE"
        yield f"REFRESH {name}", f"REFRESH MATERIALIZED VIEW {name}"
    yield f"DROP {name}", f"DROP TABLE {name} CASCADE"
    yield f"ALTER {name}", f"ALTER TABLE {name} ADD mine integer"


def gets_through(connection: Connection, statement: str) -> bool:
    """Whether it touches a row. A violated constraint means that neither grant nor policy stopped it."""
    try:
        cursor = connection.execute(statement.encode())
        return cursor.rowcount > 0 or statement.startswith(("DROP", "ALTER", "TRUNCATE", "REFRESH"))
    except errors.IntegrityError:
        return True
    except (errors.InsufficientPrivilege, errors.WrongObjectType, errors.FeatureNotSupported):
        return False
    finally:
        connection.execute("ROLLBACK TO untouched")


def passed(world: World, who: str | None, login: str, relations: list[tuple[Any, ...]]) -> set[str]:
    """What gets through for ``who``, of all verbs on ``relations``."""
    with world.acting(who, login=login) as connection:
        connection.execute("SAVEPOINT untouched")
        return {
            name
            for relation in relations
            for name, statement in attempts(relation)
            if gets_through(connection, statement)
        }


def catalog(world: World) -> list[tuple[Any, ...]]:
    with world.as_superuser() as connection:
        return connection.execute(RELATIONS.encode()).fetchall()


def openings(world: World, who: str | None, login: str) -> set[str]:
    """What gets through for ``who``, of all verbs on all relations that the catalog has."""
    return passed(world, who, login, catalog(world))


def callable_by(connection: Connection, login: str) -> set[str]:
    return {
        name
        for name, oid in connection.execute(FUNCTIONS.encode()).fetchall()
        if column(connection, "SELECT has_function_privilege(%s, %s::oid, 'EXECUTE')", (login, oid)) == [True]
    }


@pytest.mark.parametrize("login", LOGINS)
def test_without_an_identity_nothing_gets_through(world: World, login: str) -> None:
    assert openings(world, None, login) == ANONYMOUS


@pytest.mark.parametrize(("who", "login"), [("stranger", "gaia_app"), ("left", "gaia_app_b")])
def test_who_takes_part_in_nothing_reaches_only_the_own_account(world: World, who: str, login: str) -> None:
    assert openings(world, who, login) == STRANGER


def test_an_inactive_user_reaches_as_much_as_nobody(world: World) -> None:
    assert openings(world, "idle", "gaia_app") == ANONYMOUS


def test_no_partition_can_be_addressed_by_anybody_who_signs_in_as_the_app(world: World) -> None:
    partitions = [relation for relation in catalog(world) if relation[2]]
    assert len(partitions) >= 2 * 13  # this month and twelve ahead, of both tables
    for who, login in zip(("owner", "administrator"), LOGINS, strict=True):
        assert passed(world, who, login, partitions) == set()


CARELESS = {
    "CREATE TABLE game.notes AS SELECT 1 AS a; GRANT SELECT ON game.notes TO gaia_backend": "SELECT game.notes",
    "CREATE TABLE game.letters (a integer); GRANT INSERT ON game.letters TO gaia_app": "INSERT INTO game.letters",
    "CREATE VIEW game.wide AS TABLE auth.users; GRANT SELECT ON game.wide TO PUBLIC": "SELECT game.wide",
    "ALTER TABLE auth.users DISABLE ROW LEVEL SECURITY": "SELECT auth.users",
    "CREATE POLICY wide ON game.chat_history USING (true)": "SELECT game.chat_history",
    "GRANT TRUNCATE ON auth.sessions TO gaia_backend": "TRUNCATE auth.sessions",
    "GRANT SELECT ON game.chat_history_{month} TO gaia_backend": "SELECT game.chat_history_{month}",
    "GRANT SELECT ON game.chat_history_message_id_seq TO PUBLIC": "SELECT game.chat_history_message_id_seq",
    "GRANT DELETE ON auth.identity_keys TO gaia_app; ALTER TABLE auth.identity_keys DISABLE ROW LEVEL SECURITY":
        "DELETE FROM auth.identity_keys",
}  # fmt: skip


def test_careless_migrations_are_caught(server: Server, template: Database) -> None:
    """Each is one slip of a later revision; the enumeration finds it without having heard of it."""
    with people.made(server, template) as world:
        with world.database.connect() as connection:
            connection.execute("SET ROLE gaia_owner")
            for slip in CARELESS:
                connection.execute(world.fill(slip).encode())
        found = openings(world, None, "gaia_app") - ANONYMOUS
    assert {world.fill(opening) for opening in CARELESS.values()} <= found


def test_a_function_with_execute_for_public_is_caught(world: World) -> None:
    with world.as_superuser() as connection:
        connection.execute("CREATE FUNCTION game.careless() RETURNS integer LANGUAGE sql RETURN 1")
        connection.execute("GRANT EXECUTE ON FUNCTION game.careless() TO PUBLIC")
        assert callable_by(connection, "gaia_app") - CALLABLE == {"game.careless()"}


def test_what_the_owner_makes_later_is_in_nobodys_hands(world: World) -> None:
    """PostgreSQL lets PUBLIC run new functions; the owner's default privileges don't."""
    with world.as_superuser(role="gaia_owner") as connection:
        connection.execute("CREATE FUNCTION game.later() RETURNS integer LANGUAGE sql SECURITY DEFINER RETURN 1")
        connection.execute("CREATE PROCEDURE game.later_on() LANGUAGE sql AS ''")
        connection.execute("CREATE TABLE game.letters (letter_id integer GENERATED ALWAYS AS IDENTITY)")
        assert callable_by(connection, "gaia_app") == CALLABLE
        for question in (
            "has_any_column_privilege('gaia_app', 'game.letters', 'SELECT, INSERT, UPDATE, REFERENCES')",
            "has_table_privilege('gaia_app', 'game.letters', 'DELETE, TRUNCATE, TRIGGER')",
            "has_sequence_privilege('gaia_app', 'game.letters_letter_id_seq', 'USAGE, SELECT, UPDATE')",
        ):
            assert column(connection, f"SELECT {question}") == [False], question


@pytest.mark.parametrize("login", LOGINS)
def test_the_app_runs_these_functions_and_no_other(world: World, login: str) -> None:
    with world.as_superuser() as connection:
        assert callable_by(connection, login) == CALLABLE


@pytest.mark.parametrize("login", ["gaia_readonly", "gaia_auditor", "gaia_backup", "gaia_migrator"])
def test_no_other_login_runs_any(world: World, login: str) -> None:
    with world.as_superuser() as connection:
        assert callable_by(connection, login) == set()


def test_the_codes_table_of_functions_is_the_catalogs(world: World) -> None:
    """A line whose function doesn't exist, by a slip in its arguments, would grant nothing and say nothing."""
    assert {name for name, roles in grants.FUNCTION.items() if "gaia_backend" in roles} == CALLABLE
    with world.as_superuser() as connection:
        assert set(grants.FUNCTION) <= set(column(connection, FUNCTIONS))
    assert {*grants.TABLE, *grants.COLUMN} <= {relation[0] for relation in catalog(world)}


def test_each_function_that_runs_as_its_owner_is_pinned_to_the_catalogs_names(world: World) -> None:
    with world.as_superuser() as connection:
        rows = connection.execute(
            "SELECT p.oid::regprocedure::text, proconfig, proowner::regrole::text, proleakproof FROM pg_proc p"
            " WHERE prosecdef AND pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert rows
        for name, configuration, owner, leakproof in rows:
            assert "search_path=pg_catalog, pg_temp" in configuration, name
            assert (owner, leakproof) == ("gaia_owner", False), name
        assert column(connection, "SELECT proname FROM pg_proc WHERE proleakproof AND pronamespace::regnamespace::text"
                      " IN ('auth', 'game', 'audit', 'public')") == []  # fmt: skip


def test_each_table_that_the_app_reaches_has_row_level_security(world: World) -> None:
    with world.as_superuser() as connection:
        bare = column(
            connection,
            "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind IN ('r', 'p') AND NOT relrowsecurity"
            " AND relnamespace::regnamespace::text IN ('auth', 'game', 'audit', 'public') AND ("
            "has_any_column_privilege('gaia_app', c.oid, 'SELECT, INSERT, UPDATE')"
            " OR has_table_privilege('gaia_app', c.oid, 'DELETE, TRUNCATE, TRIGGER, REFERENCES'))",
        )
    assert bare == []


def test_the_app_may_point_no_foreign_key_and_hang_no_trigger(world: World) -> None:
    with world.as_superuser() as connection:
        assert (
            column(
                connection,
                "SELECT c.oid::regclass::text FROM pg_class c, unnest(%s::text[]) login"
                " WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace >= 16384 AND ("
                "has_table_privilege(login, c.oid, 'TRIGGER, TRUNCATE') OR"
                " has_any_column_privilege(login, c.oid, 'REFERENCES'))",
                (list(LOGINS),),
            )
            == []
        )


def test_no_login_has_a_way_to_more(world: World) -> None:
    """No attribute, no membership that can be set or passed on, no predefined role, no parameter of a superuser."""
    with world.as_superuser() as connection:
        assert (
            column(
                connection,
                "SELECT rolname FROM pg_roles WHERE rolname LIKE 'gaia\\_%'"
                " AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)",
            )
            == []
        )
        assert connection.execute(
            "SELECT roleid::regrole::text, member::regrole::text, set_option, admin_option FROM pg_auth_members"
            " WHERE member::regrole::text LIKE 'gaia\\_%' ORDER BY 2"
        ).fetchall() == [
            ("gaia_backend", "gaia_app", False, False),
            ("gaia_backend", "gaia_app_b", False, False),
            ("gaia_owner", "gaia_migrator", True, False),
        ]
        assert column(connection, "SELECT parname FROM pg_parameter_acl") == []
        assert column(connection, "SELECT lanname FROM pg_language WHERE NOT lanpltrusted AND oid >= 16384") == []
        assert column(connection, "SELECT extname FROM pg_extension WHERE extname NOT IN ('plpgsql')") == []
