"""The catalog lint on a migrated database: clean as it is, and each check fires on what it is for."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from migrations.lint import catalog
from migrations.lint.findings import Finding
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres

TABLE = (
    "CREATE TABLE game.lint_t (id bigint PRIMARY KEY, u uuid, v uuid);"
    "ALTER TABLE game.lint_t ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON game.lint_t USING (id > 0);"
)
FUNCTION = (
    "CREATE FUNCTION game.lint_f() RETURNS int LANGUAGE sql SECURITY DEFINER {} AS 'SELECT 1';"
    "REVOKE ALL ON FUNCTION game.lint_f() FROM PUBLIC;"
)
PATH = "SET search_path = pg_catalog, pg_temp"
PARENT = (
    "CREATE TABLE {schema}.lint_p (id bigint PRIMARY KEY) PARTITION BY RANGE (id);"
    "ALTER TABLE {schema}.lint_p ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON {schema}.lint_p USING (id > 0);"
    "CREATE TABLE {schema}.lint_p_2026_11 PARTITION OF {schema}.lint_p FOR VALUES FROM (1) TO (2);"
)
TRIGGER_FUNCTION = (
    "CREATE FUNCTION audit.lint_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "REVOKE ALL ON FUNCTION audit.lint_refuse() FROM PUBLIC;"
)
TRIGGER = "CREATE TRIGGER refuse {when} ON {schema}.{table} FOR EACH {each} EXECUTE FUNCTION audit.lint_refuse();"


def trigger(table: str, when: str = "BEFORE UPDATE OR DELETE", each: str = "STATEMENT", schema: str = "audit") -> str:
    return TRIGGER.format(table=table, when=when, each=each, schema=schema)


AUDIT = PARENT.format(schema="audit") + TRIGGER_FUNCTION
DETACH = "ALTER TABLE audit.lint_p DETACH PARTITION audit.lint_p_2026_11;"
GAME = PARENT.format(schema="game")

FIRES: dict[str, Sequence[str]] = {
    "GAIA101": (
        TABLE + "ALTER TABLE game.lint_t ADD FOREIGN KEY (u) REFERENCES auth.users;",
        TABLE
        + "ALTER TABLE game.lint_t ADD FOREIGN KEY (u) REFERENCES auth.users; CREATE INDEX ON game.lint_t (v, u);",
        TABLE
        + "ALTER TABLE game.lint_t ADD FOREIGN KEY (u) REFERENCES auth.users;"
        + "CREATE INDEX ON game.lint_t (u) WHERE v IS NULL;",
    ),
    "GAIA102": (TABLE + "DROP POLICY own ON game.lint_t;",),
    "GAIA103": (TABLE + "ALTER TABLE game.lint_t DISABLE ROW LEVEL SECURITY;",),
    "GAIA104": (
        FUNCTION.format(""),
        FUNCTION.format("SET search_path = game, pg_temp"),
        FUNCTION.format("SET search_path = pg_catalog, game"),
        FUNCTION.format("SET search_path = pg_catalog, pg_temp, game, pg_temp"),
        FUNCTION.format("SET work_mem = '8MB'"),
    ),
    "GAIA105": (
        FUNCTION.format(PATH) + "GRANT EXECUTE ON FUNCTION game.lint_f() TO PUBLIC;",
        "CREATE FUNCTION game.lint_g() RETURNS int LANGUAGE sql AS 'SELECT 1';",
    ),
    "GAIA106": (
        TABLE + "CREATE INDEX ON game.lint_t (u); CREATE INDEX ON game.lint_t (u, v);",
        TABLE + "CREATE INDEX lint_a ON game.lint_t (u); CREATE INDEX lint_b ON game.lint_t (u);",
        TABLE + "CREATE INDEX ON game.lint_t (id);",
        TABLE + "CREATE UNIQUE INDEX ON game.lint_t (id);",
    ),
    "GAIA107": (
        TABLE + "CREATE INDEX lint_i ON game.lint_t (u); UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'game.lint_i'::regclass;",
    ),
    "GAIA108": (TABLE + "ALTER TABLE game.lint_t DROP CONSTRAINT lint_t_pkey;",),
    "GAIA109": (
        "CREATE VIEW game.lint_v AS SELECT 1;",
        "CREATE VIEW game.lint_v WITH (security_invoker = false) AS SELECT 1;",
        "CREATE MATERIALIZED VIEW game.lint_m AS SELECT 1;",
    ),
    "GAIA110": (
        TABLE + "CREATE POLICY all_rows ON game.lint_t FOR SELECT TO gaia_backend USING (true);",
        TABLE + "CREATE POLICY all_rows ON game.lint_t FOR INSERT TO gaia_backup WITH CHECK (true);",
        TABLE + "CREATE POLICY all_rows ON game.lint_t FOR SELECT TO gaia_backup, gaia_backend USING (true);",
        TABLE + "CREATE POLICY all_rows ON game.lint_t FOR SELECT USING (true);",
    ),
    "GAIA111": (
        AUDIT + trigger("lint_p"),
        AUDIT + trigger("lint_p", "BEFORE TRUNCATE") + trigger("lint_p_2026_11", "BEFORE UPDATE"),
        AUDIT + trigger("lint_p") + trigger("lint_p_2026_11", "BEFORE UPDATE"),
        AUDIT + trigger("lint_p") + trigger("lint_p_2026_11", "AFTER UPDATE OR DELETE"),
        AUDIT
        + trigger("lint_p")
        + trigger("lint_p_2026_11")
        + "ALTER TABLE audit.lint_p_2026_11 DISABLE TRIGGER refuse;",
        AUDIT + trigger("lint_p", each="ROW") + DETACH,
        AUDIT + trigger("lint_p") + DETACH,
        GAME + TRIGGER_FUNCTION + trigger("lint_p", schema="game"),
    ),
    "GAIA112": (
        "CREATE TABLE game.lint_t (id bigint PRIMARY KEY);",
        GAME + "ALTER TABLE game.lint_p DISABLE ROW LEVEL SECURITY;",
    ),
    "GAIA113": (
        TABLE + "ALTER TABLE game.lint_t ADD c regconfig;",
        TABLE + "ALTER TABLE game.lint_t ADD c regprocedure[];",
    ),
    "GAIA114": (GAME + "CREATE TABLE game.lint_rest PARTITION OF game.lint_p DEFAULT;",),
    "GAIA115": (
        GAME + "GRANT SELECT ON game.lint_p_2026_11 TO gaia_backend;",
        AUDIT + DETACH + "GRANT INSERT ON audit.lint_p_2026_11 TO PUBLIC;",
    ),
}

FINE: dict[str, Sequence[str]] = {
    "GAIA101": (
        TABLE
        + "ALTER TABLE game.lint_t ADD FOREIGN KEY (u) REFERENCES auth.users; CREATE INDEX ON game.lint_t (u, v);",
    ),
    "GAIA102": (TABLE, GAME + "ALTER TABLE game.lint_p_2026_11 ENABLE ROW LEVEL SECURITY;"),
    "GAIA103": (TABLE,),
    "GAIA104": (FUNCTION.format(PATH), FUNCTION.format("SET search_path = pg_catalog, game, pg_temp")),
    "GAIA105": (FUNCTION.format(PATH) + "GRANT EXECUTE ON FUNCTION game.lint_f() TO gaia_backend;",),
    "GAIA106": (
        TABLE + "CREATE INDEX ON game.lint_t (u, v); CREATE INDEX ON game.lint_t (v, u);",
        TABLE + "CREATE INDEX ON game.lint_t (u) WHERE v IS NULL; CREATE INDEX ON game.lint_t (u, v);",
        TABLE + "CREATE INDEX ON game.lint_t (u DESC NULLS LAST); CREATE INDEX ON game.lint_t (u, v);",
        TABLE + "CREATE INDEX ON game.lint_t USING hash (u); CREATE INDEX ON game.lint_t (u, v);",
        TABLE + "CREATE UNIQUE INDEX ON game.lint_t (u); CREATE INDEX ON game.lint_t (u, v);",
        TABLE + "CREATE INDEX ON game.lint_t (abs(id)); CREATE INDEX ON game.lint_t ((id + 1));",
        GAME,
    ),
    "GAIA107": (TABLE + "CREATE INDEX lint_i ON game.lint_t (u);",),
    "GAIA108": (TABLE, GAME),
    "GAIA109": ("CREATE VIEW game.lint_v WITH (security_invoker) AS SELECT 1;",),
    "GAIA110": (
        TABLE + "CREATE POLICY backup ON game.lint_t FOR SELECT TO gaia_backup USING (true);",
        TABLE + "CREATE POLICY reads ON game.lint_t FOR SELECT TO gaia_auditor, gaia_backup USING (true);",
        TABLE + "CREATE POLICY no_more ON game.lint_t AS RESTRICTIVE USING (true);",
    ),
    "GAIA111": (
        AUDIT + trigger("lint_p") + trigger("lint_p_2026_11"),
        AUDIT + trigger("lint_p") + trigger("lint_p_2026_11") + DETACH,
        AUDIT + trigger("lint_p", each="ROW"),
        AUDIT + trigger("lint_p") + trigger("lint_p_2026_11", "BEFORE UPDATE OR DELETE OR TRUNCATE"),
        GAME,
    ),
    "GAIA112": (TABLE, GAME, AUDIT + DETACH),
    "GAIA113": (TABLE + "ALTER TABLE game.lint_t ADD c regclass, ADD d text;",),
    "GAIA114": (GAME,),
    "GAIA115": (GAME + "GRANT SELECT ON game.lint_p_2026_11 TO gaia_backup;",),
}


@pytest.fixture(scope="module")
def migrated(server: Server, template: Database) -> Iterator[Database]:
    """A database at head of this module's own; each test rolls back what it does."""
    yield server.create("lint_catalog", template=template.name)
    server.drop("lint_catalog")


@pytest.fixture
def connection(migrated: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(migrated.url) as connection:
        yield connection
        connection.rollback()


def lint(connection: psycopg.Connection[Any], sql: str) -> list[Finding]:
    """What the lint says about the things that ``sql`` makes."""
    connection.execute(sql.encode())
    return [f for f in catalog.findings(connection) if "lint_" in f.message]


def cases(table: dict[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(rule, sql) for rule, found in table.items() for sql in found]


def test_a_database_at_head_has_no_finding(connection: psycopg.Connection[Any]) -> None:
    assert [f.sentence() for f in catalog.findings(connection)] == []


def test_every_check_has_something_on_which_it_fires_and_something_on_which_it_does_not() -> None:
    assert {check.rule.id for check in catalog.CHECKS} == set(FIRES) == set(FINE)


@pytest.mark.parametrize(("rule", "sql"), cases(FIRES))
def test_it_fires(connection: psycopg.Connection[Any], rule: str, sql: str) -> None:
    assert rule in {f.id for f in lint(connection, sql)}


@pytest.mark.parametrize(("rule", "sql"), cases(FINE))
def test_it_does_not_fire(connection: psycopg.Connection[Any], rule: str, sql: str) -> None:
    assert rule not in {f.id for f in lint(connection, sql)}


def test_of_two_equal_indexes_one_is_at_fault(connection: psycopg.Connection[Any]) -> None:
    sql = TABLE + "CREATE INDEX lint_a ON game.lint_t (u); CREATE INDEX lint_b ON game.lint_t (u);"
    assert [f.message for f in lint(connection, sql)] == ["game.lint_b adds nothing to index lint_a"]


def test_the_primary_key_is_never_the_one_that_is_not_needed(connection: psycopg.Connection[Any]) -> None:
    sql = TABLE + "CREATE UNIQUE INDEX lint_a ON game.lint_t (id);"
    assert [f.message for f in lint(connection, sql)] == ["game.lint_a adds nothing to index lint_t_pkey"]


def test_an_allowance_is_for_its_rule_alone_and_says_why(connection: psycopg.Connection[Any]) -> None:
    assert all(len(item.reason) > 20 for item in catalog.ALLOWED)
    allowed = catalog.Allowed(rule="GAIA112", thing="game.lint_t", reason="for this test")
    connection.execute("CREATE TABLE game.lint_t (id bigint)")
    found = {f.id for f in catalog.findings(connection, (*catalog.ALLOWED, allowed)) if "lint_t" in f.message}
    assert found == {"GAIA108"}


def test_reading_the_catalog_changes_nothing_and_needs_no_superuser(migrated: Database) -> None:
    with psycopg.connect(migrated.url) as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute("SET LOCAL ROLE gaia_owner")
        catalog.findings(connection)


@pytest.mark.parametrize("item", catalog.ALLOWED, ids=lambda item: item.thing)
def test_each_allowance_is_needed(connection: psycopg.Connection[Any], item: catalog.Allowed) -> None:
    others = tuple(other for other in catalog.ALLOWED if other is not item)
    assert {f.id for f in catalog.findings(connection, others)} == {item.rule}
