"""Our rules for revisions: each has SQL on which it fires, and SQL on which it doesn't."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from migrations import revisions
from migrations.lint import catalog, rules, scripts, squawk_rules, waivers
from migrations.lint.findings import Finding
from migrations.lint.render import Emitted, Rendered
from migrations.revisions import Revision

AUTOCOMMIT, TRANSACTION = "-- autocommit", "-- transaction"
"""Lines that begin and end an autocommit block in the SQL of these tests."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One revision, up and down, with revisions before and after it."""

    up: str
    down: str = "SELECT 1"
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    failure: str | None = None


def emitted(text: str) -> tuple[Emitted, ...]:
    """``text`` as Alembic would send it: one statement after the other is not needed here."""
    parts: list[Emitted] = []
    block = 0
    for piece in text.replace(TRANSACTION, AUTOCOMMIT).split(AUTOCOMMIT):
        if piece.strip():
            parts.append(Emitted(text=piece.strip(), line=1, block=block))
        block += 1
    return tuple(parts)


def rendered(number: int, up: bool, text: str, failure: str | None = None) -> Rendered:
    name = f"{number:04d}"
    revision = Revision(id=name, down=None, title="", path=Path(f"{name}_test.py"))
    return Rendered(revision=revision, up=up, emitted=emitted(text), failure=failure)


def lint(case: Case | str) -> list[Finding]:
    """What our rules say about the revision of ``case``."""
    case = Case(case) if isinstance(case, str) else case
    here = len(case.before) + 1
    line = [rendered(number, True, text) for number, text in enumerate(case.before, start=1)]
    line += [rendered(here, True, case.up), rendered(here, False, case.down, case.failure)]
    line += [rendered(number, True, text) for number, text in enumerate(case.after, start=here + 1)]
    files = {item.revision.id: item.revision.path.name for item in line}
    found = rules.findings([scripts.parse(item) for item in line], files)
    return [f for f in found if f.revision == f"{here:04d}"]


def function(body: str, head: str = "CREATE FUNCTION game.f(a text) RETURNS void LANGUAGE plpgsql") -> str:
    return f"{head} AS $$\n{body}\n$$"


def do(body: str) -> str:
    return f"DO $$ BEGIN {body} END $$"


DEFINER = "CREATE FUNCTION game.f() RETURNS int LANGUAGE sql SECURITY DEFINER {} AS 'SELECT 1'"
NOT_NULL = "ALTER TABLE game.t ADD CONSTRAINT c CHECK (name IS NOT NULL) NOT VALID"
POLICY = "CREATE POLICY own ON game.campaigns USING (owner_id = (SELECT auth.current_user_id()))"
TRIGGER = "CREATE TRIGGER a BEFORE UPDATE ON game.t FOR EACH ROW EXECUTE FUNCTION game.f()"
GUARDS = ("auth.current_user_id", "auth.is_admin", "audit.refuse_change")


def made(name: str) -> str:
    return f"CREATE FUNCTION {name}() RETURNS boolean LANGUAGE sql AS 'SELECT false'"


def replaced(name: str) -> str:
    return made(name).replace("CREATE", "CREATE OR REPLACE")


FIRES: dict[str, Sequence[Case | str]] = {
    "GAIA001": (
        "DO $$ DECLARE s text := 'GRANT SELECT ON game.t TO PUBLIC'; BEGIN EXECUTE s; END $$",
        do("EXECUTE 'GRANT SELECT ON ' || quote_ident('t') || ' TO PUBLIC';"),
        "GRANT SELECT ON game.campaigns TO PUBLIC",
        "GRANT ALL ON SCHEMA game TO gaia_backend, PUBLIC",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA game GRANT SELECT ON TABLES TO PUBLIC",
        do("GRANT SELECT ON game.campaigns TO PUBLIC;"),
        do("EXECUTE format('GRANT SELECT ON %I TO PUBLIC', 'campaigns');"),
        function("BEGIN GRANT SELECT ON game.campaigns TO PUBLIC; END"),
    ),
    "GAIA002": (
        DEFINER.format("SET search_path = pg_catalog, pg_temp, game, pg_temp"),
        DEFINER.format(""),
        DEFINER.format("SET search_path = ''"),
        DEFINER.format("SET search_path = game, pg_catalog, pg_temp"),
        DEFINER.format("SET search_path = pg_catalog, game"),
        DEFINER.format("SET search_path = pg_catalog, pg_temp, game"),
        DEFINER.format("SET search_path FROM CURRENT"),
        "ALTER FUNCTION game.f() SECURITY DEFINER",
        "ALTER FUNCTION game.f() RESET search_path",
        "ALTER FUNCTION game.f() RESET ALL",
        "CREATE OR REPLACE PROCEDURE game.p() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        do("EXECUTE 'CREATE FUNCTION game.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS ''SELECT 1''';"),
    ),
    "GAIA003": (
        "CREATE SCHEMA game CREATE VIEW v AS SELECT 1",
        "CREATE VIEW game.v AS SELECT 1",
        "CREATE OR REPLACE VIEW game.v WITH (security_barrier) AS SELECT 1",
        "CREATE VIEW game.v WITH (security_invoker = false) AS SELECT 1",
        "ALTER VIEW game.v SET (security_invoker = off)",
        "ALTER VIEW game.v RESET (security_invoker)",
        "CREATE MATERIALIZED VIEW game.m AS SELECT 1",
    ),
    "GAIA004": (
        Case("ALTER TABLE game.campaigns ADD n int", down="ALTER TABLE game.campaigns DISABLE ROW LEVEL SECURITY"),
        "ALTER TABLE game.campaigns DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE game.campaigns NO FORCE ROW LEVEL SECURITY",
        Case("SELECT 1", down="ALTER TABLE game.campaigns DISABLE ROW LEVEL SECURITY"),
        do("ALTER TABLE game.campaigns DISABLE ROW LEVEL SECURITY;"),
        function("BEGIN EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', a); END"),
    ),
    "GAIA005": (
        "CREATE TABLE game.t AS SELECT 1",
        "SELECT 1 INTO game.t",
        "CREATE SCHEMA game CREATE TABLE t (id bigint)",
        Case("CREATE TABLE game.t (id bigint)", after=["ALTER TABLE game.t ADD n int"]),
        "CREATE TABLE game.t (id bigint)",
        "CREATE TABLE audit.t (id bigint) PARTITION BY RANGE (id)",
        do("CREATE TABLE auth.t (id bigint);"),
        Case("CREATE TABLE game.t (id bigint)", after=["ALTER TABLE game.other ENABLE ROW LEVEL SECURITY"]),
        Case("CREATE TABLE game.t (id bigint)", before=["ALTER TABLE game.t ENABLE ROW LEVEL SECURITY"]),
    ),
    "GAIA006": (
        "CREATE POLICY p ON game.campaigns USING (true)",
        "CREATE POLICY p ON game.campaigns FOR SELECT TO gaia_backend USING (true)",
        "CREATE POLICY p ON game.campaigns FOR INSERT TO gaia_auditor WITH CHECK (true)",
        "CREATE POLICY p ON game.campaigns FOR SELECT TO gaia_backup, gaia_backend USING (true)",
        "ALTER POLICY p ON game.campaigns USING (true)",
    ),
    "GAIA007": (
        function("BEGIN EXECUTE a::text; END"),
        function("BEGIN EXECUTE coalesce(a, 'SELECT 1'); END"),
        function("BEGIN EXECUTE lower(a); END"),
        function("DECLARE s text := 'x'; BEGIN s := s || a; EXECUTE s; END"),
        function("DECLARE r record; BEGIN FOR r IN SELECT 1 LOOP EXECUTE r.s; END LOOP; END"),
        function("DECLARE s text := 'x'; BEGIN SELECT b INTO s FROM game.t; EXECUTE s; END"),
        function("BEGIN EXECUTE game.statement('x'); END"),
        function("BEGIN EXECUTE format(a, 'x'); END"),
        function("BEGIN EXECUTE format('SELECT 1 %% 2, %s', a); END"),
        function("BEGIN EXECUTE format('DROP TABLE %2$s, %1$I', 'x', a); END"),
        function("BEGIN EXECUTE CASE WHEN a = 'x' THEN 'SELECT 1' ELSE a END; END"),
        function("BEGIN EXECUTE 'DROP TABLE ' || a; END"),
        function("BEGIN EXECUTE a; END"),
        function("BEGIN EXECUTE format('DROP TABLE %s', a); END"),
        function("BEGIN EXECUTE format('DROP TABLE %1$I %2$s', 'x', a); END"),
        function("DECLARE s text; BEGIN s := 'DROP TABLE ' || a; EXECUTE s; END"),
        function("DECLARE s text; BEGIN SELECT b INTO s FROM game.t; EXECUTE s; END"),
        function(
            "DECLARE r record; BEGIN FOR r IN EXECUTE 'SELECT ' || a LOOP NULL; END LOOP; END",
        ),
        function(
            "BEGIN RETURN QUERY EXECUTE 'SELECT ' || a; END",
            "CREATE FUNCTION game.f(a text) RETURNS SETOF int LANGUAGE plpgsql",
        ),
        do("EXECUTE 'GRANT SELECT ON game.t TO ' || current_user;"),
        function("BEGIN EXECUTE 'LOCK TABLE ' || a; END"),
    ),
    "GAIA008": (
        "ALTER TABLE audit.security_events DISABLE TRIGGER append_only",
        "ALTER TABLE audit.security_events DISABLE TRIGGER USER",
        do("ALTER TABLE audit.security_events DISABLE TRIGGER ALL;"),
        "SET LOCAL session_replication_role = replica",
    ),
    "GAIA010": (
        "DROP TABLE game.campaigns",
        "DROP TABLE IF EXISTS game.t, game.campaigns CASCADE",
        "ALTER TABLE game.campaigns DROP COLUMN name",
        "TRUNCATE game.campaigns",
        "DROP SCHEMA game CASCADE",
        Case("CREATE TABLE public.t (id bigint)", down="DROP TABLE game.campaigns"),
        Case("SELECT 1", down="ALTER TABLE game.campaigns DROP COLUMN name"),
        do("DROP TABLE game.campaigns;"),
        do("EXECUTE 'DROP TABLE game.campaigns';"),
    ),
    "GAIA011": (
        "UPDATE game.campaigns SET name = ''",
        "DELETE FROM game.campaigns",
        "DELETE FROM game.campaigns WHERE true",
        "WITH gone AS (DELETE FROM game.campaigns RETURNING 1) SELECT count(*) FROM gone",
        do("UPDATE game.campaigns SET name = '';"),
        function("BEGIN DELETE FROM game.campaigns; END"),
        "CREATE FUNCTION game.f() RETURNS void LANGUAGE sql AS 'DELETE FROM game.campaigns'",
        "CREATE FUNCTION game.f() RETURNS void BEGIN ATOMIC DELETE FROM game.campaigns; END",
    ),
    "GAIA012": (
        "CREATE TABLE audit.t (u uuid REFERENCES auth.users ON DELETE CASCADE)",
        "CREATE TABLE audit.t (u uuid, FOREIGN KEY (u) REFERENCES auth.users ON DELETE SET NULL)",
        "ALTER TABLE audit.t ADD FOREIGN KEY (u) REFERENCES auth.users ON UPDATE CASCADE NOT VALID",
        "CREATE TABLE game.t (e uuid REFERENCES audit.security_events)",
    ),
    "GAIA020": (
        "ALTER TABLE game.t ADD COLUMN key uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE game.t ADD COLUMN key text DEFAULT game.new_key()",
        "ALTER TABLE game.t ADD COLUMN at timestamptz DEFAULT clock_timestamp() + interval '1 day'",
        "ALTER TABLE game.t ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE game.t ADD COLUMN n bigserial",
        "ALTER TABLE game.t ADD COLUMN n int GENERATED ALWAYS AS (length(name)) STORED",
        do("ALTER TABLE game.t ADD COLUMN key uuid DEFAULT gen_random_uuid();"),
    ),
    "GAIA021": (
        "ALTER TABLE game.t ALTER COLUMN n TYPE bigint",
        Case("SELECT 1", down="ALTER TABLE game.t ALTER n TYPE int"),
        do("ALTER TABLE game.t ALTER COLUMN n TYPE bigint;"),
    ),
    "GAIA022": (
        Case(
            "ALTER TABLE game.t ALTER COLUMN name SET NOT NULL",
            before=["ALTER TABLE game.t ADD CONSTRAINT c CHECK (coalesce(name, other) IS NOT NULL)"],
        ),
        "ALTER TABLE game.t ALTER COLUMN name SET NOT NULL",
        Case("ALTER TABLE game.t ALTER COLUMN name SET NOT NULL", before=[NOT_NULL]),
        Case("ALTER TABLE game.t ALTER COLUMN n SET NOT NULL", before=[NOT_NULL.replace("NOT VALID", "")]),
        Case("ALTER TABLE game.u ALTER COLUMN name SET NOT NULL", before=[NOT_NULL.replace("NOT VALID", "")]),
        Case(
            "ALTER TABLE game.t ALTER COLUMN name SET NOT NULL",
            before=["ALTER TABLE game.t ADD CONSTRAINT c CHECK (name IS NOT NULL OR n > 0)"],
        ),
    ),
    "GAIA023": (
        "ALTER TABLE game.t ADD CONSTRAINT k FOREIGN KEY (u) REFERENCES auth.users",
        "ALTER TABLE game.t ADD COLUMN u uuid DEFAULT '00000000-0000-0000-0000-000000000000' REFERENCES auth.users",
        do("ALTER TABLE game.t ADD FOREIGN KEY (u) REFERENCES auth.users;"),
    ),
    "GAIA024": (
        "LOCK TABLE game.t",
        do("LOCK game.t IN SHARE MODE;"),
        function("BEGIN LOCK TABLE game.t; END"),
        function("BEGIN EXECUTE 'LOCK TABLE ' || a; END"),
    ),
    "GAIA025": (
        "CREATE TABLE game.c_2026_11 PARTITION OF game.c FOR VALUES FROM (1) TO (2)",
        do("EXECUTE format('CREATE TABLE game.%I PARTITION OF game.c FOR VALUES FROM (%L) TO (%L)', 'a', 1, 2);"),
        function("BEGIN EXECUTE format('CREATE TABLE %I PARTITION OF game.c FOR VALUES FROM (1) TO (2)', a); END"),
    ),
    "GAIA026": (
        "CREATE TABLE game.c_rest PARTITION OF game.c DEFAULT",
        "CREATE TABLE game.c (id int) PARTITION BY RANGE (id); CREATE TABLE game.r PARTITION OF game.c DEFAULT",
        "ALTER TABLE game.c ATTACH PARTITION game.rest DEFAULT",
    ),
    "GAIA027": ("ALTER TABLE game.t ADD COLUMN n int CHECK (n > 0)", do("ALTER TABLE game.t ADD n int CHECK (n > 0);")),
    "GAIA028": (
        "CLUSTER game.t USING i",
        f"{AUTOCOMMIT}\nVACUUM (FULL) game.t",
        "REFRESH MATERIALIZED VIEW game.m",
        "ALTER TABLE game.t SET UNLOGGED",
        "ALTER TABLE game.t SET TABLESPACE other",
    ),
    "GAIA030": (
        "CREATE INDEX CONCURRENTLY i ON game.t (id)",
        "DROP INDEX CONCURRENTLY game.i",
        "REINDEX INDEX CONCURRENTLY game.i",
        "ALTER TABLE game.c DETACH PARTITION game.c_2026_11 CONCURRENTLY",
        f"{AUTOCOMMIT}\n{do('CREATE INDEX CONCURRENTLY i ON game.t (id);')}\n{TRANSACTION}",
    ),
    "GAIA031": (
        f"{AUTOCOMMIT}\nDROP TABLE IF EXISTS game.x; CREATE INDEX CONCURRENTLY i ON game.t (id)\n{TRANSACTION}",
        f"{AUTOCOMMIT}\nCREATE INDEX CONCURRENTLY i ON game.t (id); ALTER TABLE game.t ADD n int\n{TRANSACTION}",
        f"ALTER TABLE game.t ADD n int\n{AUTOCOMMIT}\nCREATE INDEX CONCURRENTLY i ON game.t (id)\n{TRANSACTION}",
        f"{AUTOCOMMIT}\nCREATE INDEX CONCURRENTLY i ON game.t (id)\n{TRANSACTION}\nALTER TABLE game.t ADD n int",
        f"{AUTOCOMMIT}\nCREATE INDEX CONCURRENTLY i ON game.t (id); CREATE INDEX CONCURRENTLY j ON game.t (n)",
        f"{AUTOCOMMIT}\nDROP INDEX CONCURRENTLY game.j; CREATE INDEX CONCURRENTLY i ON game.t (id)",
    ),
    "GAIA032": (f"{AUTOCOMMIT}\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON game.t (id)\n{TRANSACTION}",),
    "GAIA033": (
        "ALTER TYPE game.mood ADD VALUE 'glad'; ALTER TABLE game.t ADD m game.mood DEFAULT 'glad'",
        "ALTER TYPE game.mood ADD VALUE 'glad'; UPDATE game.t SET m = 'glad' WHERE id = 1",
        f"ALTER TYPE game.mood ADD VALUE 'glad'; {do('UPDATE game.t SET m = $a$glad$a$ WHERE id = 1;')}",
    ),
    "GAIA034": (
        "SET search_path = game",
        "SET ROLE gaia_migrator",
        "RESET ROLE",
        "RESET ALL",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SELECT set_config('app.user_id', '1', false)",
        do("PERFORM set_config('app.user_id', '1', false);"),
        function("BEGIN SET statement_timeout = 0; END"),
        function("BEGIN PERFORM set_config('a.b', a, a = 'x'); END"),
    ),
    "GAIA035": ("COMMIT", "BEGIN; SELECT 1", Case("SELECT 1", down="ROLLBACK"), "PREPARE TRANSACTION 'x'"),
    "GAIA036": (
        Case("SELECT 1", down=""),
        Case("SELECT 1", down="", failure="NotImplementedError"),
        Case("SELECT 1", down="SELECT 1", failure="NotImplementedError: never"),
    ),
    "GAIA037": (
        Case("SELECT 1", down="", failure="AttributeError: no connection"),
        "CREATE TABEL game.t (id bigint)",
        function("BEGIN IF; END"),
        "CREATE FUNCTION game.f() RETURNS int LANGUAGE sql AS 'SELEC 1'",
    ),
    "GAIA040": (
        "DROP TRIGGER append_only ON audit.security_events",
        "DROP TRIGGER IF EXISTS append_only ON audit.security_events CASCADE",
        "DROP POLICY own ON game.campaigns",
        f"DROP POLICY own ON game.campaigns; {POLICY.replace('own', 'other')}",
        f"DROP POLICY own ON game.campaigns; {POLICY.replace('campaigns', 'chat_history')}",
        f"{POLICY}; DROP POLICY own ON game.campaigns",
        f"DROP TRIGGER own ON game.campaigns; {POLICY}",
        f"DROP POLICY own ON game.campaigns; {function(f'BEGIN {POLICY}; END')}",
        Case("DROP POLICY own ON game.campaigns", down=POLICY),
        Case("DROP POLICY own ON game.campaigns", after=[POLICY]),
        Case("SELECT 1", down="DROP POLICY own ON game.campaigns"),
        do("DROP TRIGGER append_only ON audit.security_events;"),
        do("EXECUTE 'DROP POLICY own ON game.campaigns';"),
        function("BEGIN DROP TRIGGER append_only ON audit.security_events; END"),
    ),
    "GAIA041": (
        *(Case(replaced(name), before=[made(name)]) for name in GUARDS),
        *(f"DROP FUNCTION {name}()" for name in GUARDS),
        "DROP FUNCTION IF EXISTS game.f(), auth.is_admin CASCADE",
        "DROP ROUTINE auth.is_admin()",
        do("DROP FUNCTION auth.is_admin();"),
        do("EXECUTE 'DROP FUNCTION auth.is_admin()';"),
        Case("SELECT 1", down="DROP FUNCTION auth.is_admin()"),
        Case("SELECT 1", down=replaced("auth.is_admin"), before=[made("auth.is_admin")]),
        Case(replaced("auth.is_admin"), down="DROP FUNCTION auth.is_admin()", before=[made("auth.is_admin")]),
        Case("ALTER FUNCTION auth.is_admin() RENAME TO was_admin", before=[made("auth.is_admin")]),
        Case("ALTER FUNCTION auth.is_admin() SET SCHEMA game", before=[made("auth.is_admin")]),
        Case("ALTER FUNCTION auth.is_admin() OWNER TO gaia_app", before=[made("auth.is_admin")]),
        Case("ALTER ROUTINE auth.is_admin() SECURITY INVOKER", before=[made("auth.is_admin")]),
    ),
}

FINE: dict[str, Sequence[Case | str]] = {
    "GAIA001": (
        "GRANT SELECT ON game.campaigns TO gaia_backend",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    ),
    "GAIA002": (
        DEFINER.format("SET search_path = pg_catalog, pg_temp"),
        DEFINER.format("SET search_path = pg_catalog, game, pg_temp"),
        "CREATE FUNCTION game.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION game.f() RETURNS int LANGUAGE sql SECURITY INVOKER AS 'SELECT 1'",
        "ALTER FUNCTION game.f() SECURITY DEFINER SET search_path = pg_catalog, pg_temp",
        "ALTER FUNCTION game.f() STABLE",
        "ALTER FUNCTION game.f() SET work_mem = '8MB'",
    ),
    "GAIA003": (
        "CREATE VIEW game.v WITH (security_invoker = true) AS SELECT 1",
        "CREATE VIEW game.v WITH (security_invoker, security_barrier) AS SELECT 1",
        "CREATE VIEW game.v WITH (security_invoker = on) AS SELECT 1",
        "ALTER VIEW game.v SET (security_invoker = true)",
        "ALTER TABLE game.t SET (fillfactor = 80)",
        "CREATE TABLE public.t AS SELECT 1",
    ),
    "GAIA004": (
        "ALTER TABLE game.campaigns ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        Case(
            "ALTER TABLE game.campaigns ENABLE ROW LEVEL SECURITY",
            down="ALTER TABLE game.campaigns DISABLE ROW LEVEL SECURITY",
        ),
    ),
    "GAIA005": (
        "CREATE TABLE game.t (id bigint); ALTER TABLE game.t ENABLE ROW LEVEL SECURITY",
        Case("CREATE TABLE game.t (id bigint)", after=["SELECT 1", "ALTER TABLE game.t ENABLE ROW LEVEL SECURITY"]),
        Case(
            "CREATE TABLE game.t (id bigint)",
            after=["ALTER TABLE game.t RENAME TO u; ALTER TABLE game.u ENABLE ROW LEVEL SECURITY"],
        ),
        Case("CREATE TABLE game.t (id bigint)", after=["DROP TABLE game.t"]),
        Case("SELECT 1", down="CREATE TABLE game.t (id bigint)"),
        "CREATE TABLE public.t (id bigint)",
        "CREATE TEMPORARY TABLE t (id bigint)",
        "CREATE TABLE game.c_2026_11 PARTITION OF game.c FOR VALUES FROM (1) TO (2)",
    ),
    "GAIA006": (
        "CREATE POLICY p ON game.campaigns USING (owner_id = (SELECT auth.current_user_id()))",
        "CREATE POLICY p ON game.campaigns FOR SELECT TO gaia_backup USING (true)",
        "CREATE POLICY p ON game.campaigns AS RESTRICTIVE USING (true)",
    ),
    "GAIA007": (
        function("BEGIN EXECUTE format('DROP TABLE %s', a::regclass); END"),
        function("BEGIN EXECUTE coalesce(quote_ident(a), 'SELECT 1'); END"),
        function("BEGIN EXECUTE concat('SELECT ', quote_literal(a)); END"),
        function("BEGIN EXECUTE (SELECT string_agg(format('DROP TABLE %I', n), ';') FROM game.t); END"),
        function("DECLARE s text := 'SELECT 1'; BEGIN s := s || quote_ident(a); EXECUTE s; END"),
        function("BEGIN EXECUTE CASE WHEN a = 'x' THEN 'SELECT 1' END; END"),
        function("BEGIN EXECUTE format('DROP TABLE %I', a); END"),
        function("BEGIN EXECUTE 'DROP TABLE ' || quote_ident(a); END"),
        function("BEGIN EXECUTE 'SELECT $1' USING a; END"),
        function("DECLARE s text := 'SELECT 1'; BEGIN EXECUTE s; END"),
        function("DECLARE s text; BEGIN s := format('DROP TABLE %I.%I', 'game', a); EXECUTE s; END"),
        function("DECLARE s text; BEGIN s := format('%I', a); EXECUTE format('DROP TABLE %s', s); END"),
        function(
            "BEGIN EXECUTE format('ALTER TABLE %s ADD n int', t); END",
            "CREATE FUNCTION game.f(t regclass) RETURNS void LANGUAGE plpgsql",
        ),
        function("BEGIN EXECUTE 'SELECT ' || CASE WHEN a = 'x' THEN '1' ELSE quote_literal(a) END; END"),
    ),
    "GAIA008": ("ALTER TABLE game.t ENABLE TRIGGER append_only", "SET LOCAL work_mem = '8MB'"),
    "GAIA010": (
        "CREATE TABLE public.t (id bigint); TRUNCATE public.t",
        "CREATE TABLE public.t (id bigint); DROP TABLE public.t",
        Case("CREATE TABLE public.t (id bigint)", down="DROP TABLE public.t"),
        Case("ALTER TABLE game.t ADD COLUMN n int", down="ALTER TABLE game.t DROP COLUMN n"),
        Case("CREATE SCHEMA s", down="DROP SCHEMA s CASCADE"),
        "DROP SCHEMA game",
        "DROP INDEX game.i",
        function("BEGIN DROP TABLE game.t; END"),
    ),
    "GAIA011": (
        "UPDATE game.campaigns SET name = '' WHERE campaign_id IS NULL",
        "CREATE TABLE public.t (n int); UPDATE public.t SET n = 1; DELETE FROM public.t",
        function("BEGIN DELETE FROM game.campaigns WHERE name = a; END"),
    ),
    "GAIA012": (
        "CREATE TABLE audit.t (u uuid)",
        "CREATE TABLE game.t (u uuid REFERENCES auth.users ON DELETE CASCADE)",
    ),
    "GAIA020": (
        "ALTER TABLE game.t ADD COLUMN name text CHECK (game.fits(name))",
        "ALTER TABLE game.t ADD COLUMN at timestamptz DEFAULT now() NOT NULL",
        "ALTER TABLE game.t ADD COLUMN at timestamptz DEFAULT CURRENT_TIMESTAMP",
        "ALTER TABLE game.t ADD COLUMN name text DEFAULT ''",
        "CREATE TABLE public.t (n int); ALTER TABLE public.t ADD COLUMN key uuid DEFAULT gen_random_uuid()",
    ),
    "GAIA021": (
        "CREATE TABLE public.t (n int); ALTER TABLE public.t ALTER COLUMN n TYPE bigint",
        "ALTER TABLE game.t ALTER COLUMN n SET DEFAULT 1",
    ),
    "GAIA022": (
        Case(
            "ALTER TABLE game.t ALTER COLUMN name SET NOT NULL",
            before=[NOT_NULL, "ALTER TABLE game.t VALIDATE CONSTRAINT c"],
        ),
        Case(
            "ALTER TABLE game.t ALTER COLUMN name SET NOT NULL",
            before=["ALTER TABLE game.t ADD CONSTRAINT c CHECK (n > 0 AND name IS NOT NULL)"],
        ),
        "CREATE TABLE public.t (n int); ALTER TABLE public.t ALTER COLUMN n SET NOT NULL",
    ),
    "GAIA023": (
        "ALTER TABLE game.t ADD CONSTRAINT k FOREIGN KEY (u) REFERENCES auth.users NOT VALID",
        "ALTER TABLE game.t ADD COLUMN u uuid REFERENCES auth.users",
        "CREATE TABLE public.t (u uuid); ALTER TABLE public.t ADD FOREIGN KEY (u) REFERENCES auth.users",
    ),
    "GAIA024": ("SELECT pg_advisory_xact_lock(1)", "SELECT 1 FROM game.t WHERE id = 1 FOR UPDATE"),
    "GAIA025": (
        "CREATE TABLE public.c (id int) PARTITION BY RANGE (id);"
        " CREATE TABLE public.c_1 PARTITION OF public.c FOR VALUES FROM (1) TO (2)",
        "ALTER TABLE game.c ATTACH PARTITION game.c_2026_11 FOR VALUES FROM (1) TO (2)",
    ),
    "GAIA026": (
        "CREATE TABLE public.t (id int)",
        "CREATE TABLE game.p PARTITION OF game.c FOR VALUES FROM (1) TO (2)",
        "ALTER TABLE game.c ATTACH PARTITION game.c_2026_11 FOR VALUES FROM (1) TO (2)",
    ),
    "GAIA027": (
        "ALTER TABLE game.t ADD COLUMN n int; ALTER TABLE game.t ADD CONSTRAINT c CHECK (n > 0) NOT VALID",
        "CREATE TABLE public.t (id int); ALTER TABLE public.t ADD COLUMN n int CHECK (n > 0)",
    ),
    "GAIA028": (
        f"{AUTOCOMMIT}\nVACUUM (ANALYZE) game.t",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY game.m",
        "CREATE UNLOGGED TABLE public.t (id int); ALTER TABLE public.t SET LOGGED",
    ),
    "GAIA030": (
        f"{AUTOCOMMIT}\nCREATE INDEX CONCURRENTLY i ON game.t (id)\n{TRANSACTION}",
        f"{AUTOCOMMIT}\nALTER TABLE game.c DETACH PARTITION game.c_2026_11 CONCURRENTLY\n{TRANSACTION}",
        "CREATE INDEX i ON game.t (id)",
        "ALTER TABLE game.c DETACH PARTITION game.c_2026_11",
    ),
    "GAIA031": (
        f"{AUTOCOMMIT}\nCREATE INDEX CONCURRENTLY i ON game.t (id)\n{TRANSACTION}",
        f"{AUTOCOMMIT}\nDROP INDEX CONCURRENTLY IF EXISTS game.i; CREATE INDEX CONCURRENTLY i ON game.t (id)",
        f"SELECT 1\n{AUTOCOMMIT}\nVACUUM game.t\n{TRANSACTION}",
        "ALTER TABLE game.t ADD n int; CREATE INDEX i ON game.t (n)",
    ),
    "GAIA032": (
        f"{AUTOCOMMIT}\nCREATE INDEX CONCURRENTLY i ON game.t (id)",
        "CREATE INDEX IF NOT EXISTS i ON game.t (id)",
    ),
    "GAIA033": (
        f"ALTER TYPE game.mood ADD VALUE 'glad'\n{AUTOCOMMIT}\nVACUUM game.t\n{TRANSACTION}\nSELECT 'glad'",
        f"{AUTOCOMMIT}\nALTER TYPE game.mood ADD VALUE 'glad'; SELECT 'glad'",
        "ALTER TYPE game.mood ADD VALUE 'glad'; SELECT 'sad'",
        f"{AUTOCOMMIT}\nALTER TYPE game.mood ADD VALUE 'glad'\n{TRANSACTION}\nSELECT 'glad'",
        "CREATE TYPE game.mood AS ENUM ('sad'); ALTER TYPE game.mood ADD VALUE 'glad'; SELECT 'glad'",
        "ALTER TYPE game.mood RENAME VALUE 'sad' TO 'glad'; SELECT 'glad'",
        "ALTER TYPE game.mood ADD VALUE 'a'; CREATE FUNCTION game.f() RETURNS text LANGUAGE sql AS $$SELECT 'a'$$",
    ),
    "GAIA034": (
        "SELECT replace('a', 'b', 'c')",
        "SET LOCAL search_path = game",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT set_config('app.identity', '', true)",
        "SET CONSTRAINTS ALL DEFERRED",
        DEFINER.format("SET search_path = pg_catalog, pg_temp"),
        "ALTER ROLE gaia_app SET statement_timeout = 1000",
    ),
    "GAIA035": (
        "SAVEPOINT s; RELEASE s",
        "CREATE PROCEDURE game.p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
        f"{AUTOCOMMIT}\nVACUUM game.t\n{TRANSACTION}",
    ),
    "GAIA036": (
        Case("SELECT 1", down="", failure="AttributeError: no connection"),
        Case("SELECT 1", down="SELECT 2"),
        Case("", down=""),
    ),
    "GAIA037": (
        function(
            "DECLARE u auth.users; v auth.users%ROWTYPE; w auth.users.user_id%TYPE; BEGIN RETURN u; END",
            "CREATE FUNCTION game.f(m game.mood) RETURNS auth.users LANGUAGE plpgsql",
        ),
        function("BEGIN RETURN NEW; END", "CREATE FUNCTION game.f() RETURNS trigger LANGUAGE plpgsql"),
        function("BEGIN NULL; END", "CREATE FUNCTION game.f() RETURNS event_trigger LANGUAGE plpgsql"),
        "CREATE FUNCTION game.f(a int) RETURNS int RETURN a + 1",
        do("NULL;"),
    ),
    "GAIA040": (
        f"DROP POLICY own ON game.campaigns; {POLICY}",
        f"DROP POLICY IF EXISTS own ON game.campaigns; {do(f'{POLICY};')}",
        f"DROP TRIGGER a ON game.t; {TRIGGER}",
        f"{TRIGGER}; DROP TRIGGER IF EXISTS a ON game.t; {TRIGGER}",
        function(f"BEGIN DROP POLICY own ON game.campaigns; {POLICY}; END"),
        TRIGGER.replace("CREATE", "CREATE OR REPLACE"),
        "ALTER POLICY own ON game.campaigns USING (owner_id = (SELECT auth.current_user_id()))",
        Case(POLICY, down="DROP POLICY own ON game.campaigns"),
        Case(TRIGGER, down="DROP TRIGGER a ON game.t"),
        Case("SELECT 1", down=f"DROP POLICY own ON game.campaigns; {POLICY}"),
        f"CREATE TABLE public.t (n int); {TRIGGER.replace('game', 'public')}; DROP TRIGGER a ON public.t",
        "DROP INDEX game.i",
    ),
    "GAIA041": (
        *(Case(made(name), down=f"DROP FUNCTION {name}()") for name in GUARDS),
        Case(replaced("audit.refuse_change"), down="DROP FUNCTION audit.refuse_change()"),
        Case(replaced("game.is_admin"), before=[made("game.is_admin"), made("auth.is_admin")]),
        "DROP FUNCTION game.is_admin()",
        "ALTER FUNCTION game.f() RENAME TO g",
        Case(f"{made('auth.is_admin')}; ALTER FUNCTION auth.is_admin() OWNER TO gaia_owner"),
    ),
}


def cases(table: dict[str, Sequence[Case | str]]) -> list[tuple[str, Case | str]]:
    return [(rule, case) for rule, found in table.items() for case in found]


def test_every_rule_has_sql_on_which_it_fires_and_sql_on_which_it_does_not() -> None:
    assert {rule.id for rule in rules.RULES} == set(FIRES) == set(FINE)


@pytest.mark.parametrize(("rule", "case"), cases(FIRES))
def test_it_fires(rule: str, case: Case | str) -> None:
    assert rule in {f.id for f in lint(case)}


@pytest.mark.parametrize(("rule", "case"), cases(FINE))
def test_it_does_not_fire(rule: str, case: Case | str) -> None:
    assert rule not in {f.id for f in lint(case)}


def test_what_can_not_be_read_is_said_where_nothing_else_is() -> None:
    for case in (case for _, case in cases(FINE) if isinstance(case, str) or not case.failure):
        assert "GAIA037" not in {f.id for f in lint(case)}


def test_every_rule_says_why_and_what_to_do_instead_and_has_an_id_of_its_own() -> None:
    assert all(rule.reason and rule.safe and rule.slug and rule.find for rule in rules.RULES)
    assert len({rule.id for rule in rules.RULES}) == len({rule.slug for rule in rules.RULES}) == len(rules.RULES)


def test_a_message_says_what_is_done_to_what() -> None:
    messages = {sql: lint(sql)[0].message for sql in ("UPDATE game.t SET n = 1", "DELETE FROM game.t")}
    assert list(messages.values()) == ["updates every row of game.t", "deletes every row of game.t"]


def test_what_is_executed_is_cut_to_one_line() -> None:
    long = function("BEGIN EXECUTE 'DROP TABLE '\n || a || ' " + "x" * 80 + "'; END")
    (found,) = (f for f in lint(long) if f.id == "GAIA007")
    assert len(found.message) < 110 and "'DROP TABLE ' || a ||" in found.message and "…" in found.message


def test_the_same_fault_in_a_loop_is_said_once() -> None:
    assert len(lint("SELECT 1; GRANT SELECT ON game.a TO PUBLIC; GRANT SELECT ON game.a TO PUBLIC")) == 1


def test_the_docs_have_each_rule_with_its_reason_and_its_safe_way() -> None:
    page = (revisions.DIRECTORY.parent / "docs" / "lint.md").read_text(encoding="utf-8")
    every = [*rules.RULES, *waivers.RULES, *(item.rule for item in catalog.CHECKS)]
    rows = [f"| `{rule.name}` | {rule.reason} | {rule.safe} |" for rule in every]
    rows += [f"| `{name}` | {reason} |" for name, reason in squawk_rules.OFF.items()]
    assert [row for row in rows if row not in page.splitlines()] == []
    assert len({rule.id for rule in every}) == len(every)
