"""What a statement locks, as far as its text and the catalog tell."""

import pytest

from migrations import plan, statements
from migrations.statements import ACCESS_EXCLUSIVE, ROW_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE

CATALOG = plan.Catalog(
    tables=frozenset({"auth.users", "game.campaigns", "game.chat_history", 'game.Odd "one"'}),
    indexes={"game.ix_campaigns_owner_id": "game.campaigns"},
    references={"game.campaigns": ("auth.users",)},
)


def judged(sql: str) -> tuple[str, dict[str, str] | None]:
    (found,) = plan.judge([(sql, 0)], CATALOG)
    return found.risk, None if found.locks is None else dict(found.locks)


CAMPAIGNS = "ALTER TABLE game.campaigns"


@pytest.mark.parametrize(
    ("sql", "risk", "mode"),
    [
        (f"{CAMPAIGNS} ADD note text", "safe", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD COLUMN note text NOT NULL DEFAULT 'a, b'", "safe", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD COLUMN at timestamptz DEFAULT now()", "safe", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD COLUMN key uuid DEFAULT gen_random_uuid()", "rewrites", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD COLUMN n bigserial", "rewrites", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD n int GENERATED ALWAYS AS (1 + 1) STORED", "rewrites", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD COLUMN a int CHECK (a > 0)", "blocks reads", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ALTER COLUMN name TYPE varchar(9)", "rewrites", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ALTER COLUMN name SET NOT NULL", "blocks reads", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD CONSTRAINT c CHECK (name <> '')", "blocks reads", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD CONSTRAINT c CHECK (name <> '') NOT VALID", "safe", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} VALIDATE CONSTRAINT c", "safe", SHARE_UPDATE_EXCLUSIVE),
        (f"{CAMPAIGNS} DROP COLUMN name", "loses data", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} DROP CONSTRAINT c", "safe", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} RENAME COLUMN name TO title", "blocks reads", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD a int, DROP COLUMN name", "loses data", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ENABLE ROW LEVEL SECURITY", "safe", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} DISABLE TRIGGER USER", "weakens", SHARE_ROW_EXCLUSIVE),
        (f"{CAMPAIGNS} ENABLE TRIGGER USER", "safe", SHARE_ROW_EXCLUSIVE),
        (f"{CAMPAIGNS} DISABLE ROW LEVEL SECURITY", "weakens", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} NO FORCE ROW LEVEL SECURITY", "weakens", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} FORCE ROW LEVEL SECURITY", "safe", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} ADD a bigserial, DISABLE ROW LEVEL SECURITY", "weakens", ACCESS_EXCLUSIVE),
        ("DROP POLICY IF EXISTS p ON game.campaigns", "weakens", ACCESS_EXCLUSIVE),
        (f"{CAMPAIGNS} SET (fillfactor = 80)", "safe", SHARE_UPDATE_EXCLUSIVE),
        (f"{CAMPAIGNS} DETACH PARTITION game.old CONCURRENTLY", "safe", SHARE_UPDATE_EXCLUSIVE),
        (f"{CAMPAIGNS} DETACH PARTITION game.old", "blocks reads", ACCESS_EXCLUSIVE),
        ("CREATE INDEX ix ON game.campaigns (name)", "blocks writes", SHARE),
        ("create unique index if not exists ix on ONLY game.campaigns (name)", "blocks writes", SHARE),
        ("CREATE INDEX CONCURRENTLY ix ON game.campaigns (name)", "safe", SHARE_UPDATE_EXCLUSIVE),
        ("DROP INDEX game.ix_campaigns_owner_id", "safe", ACCESS_EXCLUSIVE),
        ("DROP INDEX CONCURRENTLY IF EXISTS game.ix_campaigns_owner_id", "safe", SHARE_UPDATE_EXCLUSIVE),
        ("CREATE TABLE game.c_1 PARTITION OF game.campaigns FOR VALUES IN (1)", "blocks reads", ACCESS_EXCLUSIVE),
        ("TRUNCATE game.campaigns", "loses data", ACCESS_EXCLUSIVE),
        ("DELETE FROM game.campaigns WHERE name = ''", "loses data", ROW_EXCLUSIVE),
        ("UPDATE game.campaigns SET name = ''", "blocks writes", ROW_EXCLUSIVE),
        ("INSERT INTO game.campaigns (name) SELECT 'a'", "safe", ROW_EXCLUSIVE),
        ("CREATE TRIGGER t BEFORE UPDATE ON game.campaigns EXECUTE FUNCTION f()", "safe", SHARE_ROW_EXCLUSIVE),
        ("CREATE POLICY p ON game.campaigns USING (true)", "safe", ACCESS_EXCLUSIVE),
        ("COMMENT ON COLUMN game.campaigns.name IS 'x'", "safe", SHARE_UPDATE_EXCLUSIVE),
        ("LOCK TABLE game.campaigns IN SHARE ROW EXCLUSIVE MODE", "unknown", SHARE_ROW_EXCLUSIVE),
        ("-- a comment\n/* DROP TABLE */ DROP TRIGGER t ON game.campaigns", "weakens", ACCESS_EXCLUSIVE),
    ],
)
def test_a_statement_is_known_by_its_kind(sql: str, risk: str, mode: str) -> None:
    assert judged(sql) == (risk, {"game.campaigns": mode})


def test_what_a_foreign_key_leads_to_is_locked_too() -> None:
    both = {"game.campaigns": SHARE_ROW_EXCLUSIVE, "auth.users": SHARE_ROW_EXCLUSIVE}
    added = f"{CAMPAIGNS} ADD CONSTRAINT f FOREIGN KEY (owner_id) REFERENCES auth.users (user_id)"
    assert judged(added) == ("blocks writes", both)
    assert judged(f"{added} NOT VALID") == ("safe", both)
    dropped = {"game.campaigns": ACCESS_EXCLUSIVE, "auth.users": ACCESS_EXCLUSIVE}
    assert judged("DROP TABLE game.campaigns") == ("loses data", dropped)


def test_a_table_that_is_not_there_yet_keeps_nobody_waiting() -> None:
    assert judged("CREATE INDEX ix ON game.new (name)") == ("safe", {})
    assert judged("ALTER TABLE game.new ADD n bigserial") == ("safe", {})
    assert judged("CREATE TABLE game.new (u uuid REFERENCES auth.users)") == (
        "safe",
        {"auth.users": SHARE_ROW_EXCLUSIVE},
    )


@pytest.mark.parametrize(
    ("sql", "risk"),
    [
        ("GRANT SELECT ON game.campaigns TO PUBLIC", "weakens"),
        ("grant all on schema game to gaia_backend, public with grant option", "weakens"),
        ("ALTER DEFAULT PRIVILEGES IN SCHEMA game GRANT SELECT ON TABLES TO PUBLIC", "weakens"),
        ("GRANT USAGE ON SCHEMA public TO gaia_backend", "safe"),
        ("GRANT SELECT ON game.campaigns TO public_relations", "safe"),
        ("REVOKE ALL ON SCHEMA public FROM PUBLIC", "safe"),
        ("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC", "safe"),
    ],
)
def test_what_everybody_is_granted_weakens(sql: str, risk: str) -> None:
    assert judged(sql) == (risk, {})


def test_a_guard_counts_on_a_table_that_is_not_there_yet_too() -> None:
    assert judged("ALTER TABLE game.new DISABLE ROW LEVEL SECURITY") == ("weakens", {})


def test_a_renamed_table_is_still_the_live_one() -> None:
    renamed = [(f"{CAMPAIGNS} RENAME TO before", 0), ("DROP TABLE game.before", 0)]
    assert plan.judge(renamed, CATALOG)[-1].risk == "loses data"
    replaced = [(f"{CAMPAIGNS} RENAME TO before", 0), ("CREATE INDEX ix ON game.campaigns (name)", 1)]
    assert plan.judge(replaced, CATALOG)[-1].risk == "safe"


def test_what_takes_time_after_an_exclusive_lock_blocks_readers_for_that_time() -> None:
    first = f"{CAMPAIGNS} ADD note text"
    slow = "INSERT INTO game.chat_history (content) SELECT name FROM game.campaigns"
    together = plan.judge([(first, 0), (slow, 0)], CATALOG)[-1]
    assert together.risk == "blocks reads" and "game.campaigns can't be read" in together.reason
    assert plan.judge([(first, 0), (slow, 2)], CATALOG)[-1].risk == "safe"  # another transaction


def test_what_is_of_no_known_kind_is_unknown() -> None:
    for sql in ("SELECT game.move_all()", "DO $$BEGIN DROP TABLE auth.users; END$$", "CALL game.tidy()"):
        assert judged(sql) == ("unknown", None)


def test_names_may_be_quoted() -> None:
    assert judged('DELETE FROM "game"."campaigns"') == ("loses data", {"game.campaigns": ROW_EXCLUSIVE})
    assert judged("delete from GAME.Campaigns") == ("loses data", {"game.campaigns": ROW_EXCLUSIVE})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; -- a ; in a comment\n", ["SELECT ';'"]),
        ('DO $a$ x; $$y;$$ $a$; SELECT "a;b"', ["DO $a$ x; $$y;$$ $a$", 'SELECT "a;b"']),
        ("SELECT E'it\\'s;'; SELECT 2", ["SELECT E'it\\'s;'", "SELECT 2"]),
        ("/* ; */ ;;", []),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3",
            ["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", "SELECT 3"],
        ),
    ],
)
def test_statements_are_told_apart(text: str, expected: list[str]) -> None:
    assert statements.split(text) == expected


def test_the_worst_statement_is_the_revisions_risk() -> None:
    found = plan.judge([("CREATE SCHEMA x", 0), (f"{CAMPAIGNS} DROP COLUMN name", 0)], CATALOG)
    pending = plan.Pending(revision="0042", title="Less", statements=found)
    assert (pending.risk, dict(pending.locks)) == ("loses data", {"game.campaigns": ACCESS_EXCLUSIVE})
    assert "0042  Less  [loses data]" in plan.text([pending])
    assert plan.document([pending])["revisions"][0]["statements"][1]["risk"] == "loses data"
    assert plan.Pending(revision="1", title="", statements=(), failure="asks").risk == "unknown"
    assert plan.text([]) == "nothing is pending"


def test_the_text_fits_80_columns_and_has_a_hanging_indent() -> None:
    slow = "INSERT INTO game.chat_history (content, campaign_id, created_at) SELECT name, id, now() FROM game.campaigns"
    found = plan.judge([(f"{CAMPAIGNS} ADD note text", 0), (slow, 0), ("DROP TRIGGER t ON auth.users", 0)], CATALOG)
    lines = plan.text([plan.Pending(revision="0042", title="Long " * 20, statements=found, failure="x " * 60)])
    assert max(len(line) for line in lines.splitlines()) <= 80
    at = next(n for n, line in enumerate(lines.splitlines()) if line.startswith("  blocks reads  INSERT"))
    assert lines.splitlines()[at + 1].startswith(" " * 16) and not lines.splitlines()[at + 1].startswith(" " * 17)
