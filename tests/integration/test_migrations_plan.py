"""The plan on a real server: what it says of locks is what the server takes, and it changes nothing."""

import json
import shutil
from pathlib import Path

import pytest

from migrations import __main__ as command_line
from migrations import plan, runner
from migrations.proof import watch
from tests.postgres import Database

pytestmark = pytest.mark.postgres

ROLLED_BACK = [
    "ALTER TABLE game.campaigns ADD note text",
    "ALTER TABLE game.campaigns ALTER COLUMN name TYPE varchar(200)",
    "ALTER TABLE game.campaigns ALTER COLUMN name SET STATISTICS 200",
    "ALTER TABLE game.campaigns ADD CONSTRAINT a CHECK (name <> '') NOT VALID",
    "ALTER TABLE game.campaigns VALIDATE CONSTRAINT ck_campaigns_name_length",
    "ALTER TABLE game.campaigns ADD COLUMN u uuid, ADD CONSTRAINT a FOREIGN KEY (u) REFERENCES auth.users (user_id)",
    "ALTER TABLE game.campaigns DROP CONSTRAINT ck_campaigns_name_length",
    "ALTER TABLE game.campaigns DROP COLUMN description",
    "ALTER TABLE game.campaigns RENAME COLUMN name TO title",
    "ALTER TABLE game.campaigns RENAME TO stories",
    "ALTER TABLE game.campaigns SET (fillfactor = 80)",
    "ALTER TABLE game.campaigns DISABLE TRIGGER USER",
    "ALTER TABLE game.campaigns ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE game.campaigns OWNER TO gaia_owner",
    "CREATE INDEX a ON game.campaigns (name)",
    "DROP INDEX game.ix_campaigns_owner_id",
    "CREATE TABLE game.new (u uuid REFERENCES auth.users (user_id))",
    "CREATE TABLE game.new (LIKE game.campaigns)",
    "DROP TABLE game.campaign_participants",
    "TRUNCATE game.campaign_participants",
    "DELETE FROM game.campaign_participants",
    "UPDATE game.campaigns SET name = 'x'",
    "INSERT INTO auth.users (username, email) VALUES ('ada', 'a@example.com')",
    "CREATE FUNCTION game.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER a BEFORE UPDATE ON game.campaigns FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE POLICY a ON game.campaigns USING (true)",
    "CREATE STATISTICS game.s ON name, owner_id FROM game.campaigns",
    "CREATE VIEW game.v AS SELECT name FROM game.campaigns",
    "COMMENT ON TABLE game.campaigns IS 'x'",
    "COMMENT ON COLUMN game.campaigns.name IS 'x'",
    "GRANT SELECT ON game.campaigns TO gaia_readonly",
    "LOCK TABLE game.campaigns IN SHARE MODE",
]


@pytest.mark.parametrize("sql", ROLLED_BACK)
def test_the_locks_of_the_plan_are_those_that_the_server_takes(shared_database: Database, sql: str) -> None:
    with shared_database.connect() as connection:
        tables = watch.tables(connection)
        (judged,) = plan.judge([(sql, 0)], plan.read_catalog(connection))
        watched = watch.Watch(tables, plan.Catalog())
        connection.execute("BEGIN")
        connection.execute(sql.encode())
        watched.see(
            connection.execute(
                "SELECT relation::bigint, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
            ).fetchall()  # pyright: ignore[reportArgumentType]
        )
        connection.execute("ROLLBACK")
    # Who only reads keeps nobody but DDL waiting; the plan leaves that out.
    taken = {t: mode for t, mode in watched.locks.items() if mode not in {"ACCESS SHARE", "ROW SHARE"}}
    # Triggers of the database write that down, whatever the statement.
    taken.pop("audit.security_events", None)
    assert dict(judged.locks or {}) == taken


def test_an_empty_database_has_everything_pending_and_nothing_to_block(empty_database: Database) -> None:
    pending = plan.plan(empty_database.url)
    assert [p.revision for p in pending] == [r.id for r in runner.history()]
    assert all(not p.locks and p.failure is None for p in pending)
    assert [p.revision for p in plan.plan(empty_database.url, "+1")] == ["0001"]
    assert runner.current(empty_database.url) is None


def test_a_pending_revision_is_shown_with_sql_locks_and_risk(database: Database, tmp_path: Path) -> None:
    tree = shutil.copytree(runner.DIRECTORY, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    number = runner.revisions.next_id(tree)
    (tree / "versions" / f"{number}_added.py").write_text(
        f'"""Names in capitals."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\nrevision = "{number}"\n'
        f'down_revision = "{runner.head(tree)}"\n\n\ndef upgrade() -> None:\n'
        "    op.execute('UPDATE game.campaigns SET name = upper(name)')\n"
        "    op.get_bind().scalar(sa.text('SELECT 1')) + 1\n\n\ndef downgrade() -> None:\n    pass\n"
    )
    (pending,) = plan.plan(database.url, directory=tree)
    assert (pending.revision, pending.title, pending.risk) == (number, "Names in capitals.", "blocks writes")
    assert dict(pending.locks) == {"game.campaigns": "ROW EXCLUSIVE"}
    assert pending.failure is not None  # it asks the database, which a plan doesn't


def test_the_command_prints_the_plan(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GAIA_MIGRATIONS_URL", database.url)
    assert command_line.main(["plan"]) == 0
    assert capsys.readouterr().out == "nothing is pending\n"
    runner.downgrade(database.url, "base")
    assert command_line.main(["plan", "0002", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [r["revision"] for r in document["revisions"]] == ["0001", "0002"] and document["ok"] is True
    assert "CREATE TABLE auth.users" in json.dumps(document)
    assert command_line.main(["plan", "0099"]) == 2
    assert "no revision 0099" in capsys.readouterr().err
