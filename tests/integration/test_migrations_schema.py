"""The schema: what the document's SQL needs, what the models say, and that every revision can be undone."""

import re
import time
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session as OrmSession

from db.identity import sign
from db.models import SCHEMAS, Base, Campaign, CampaignParticipant, ChatMessage, SecurityEvent, User
from migrations import bootstrap, runner
from tests.postgres import IDENTITY_KEY, PASSWORDS, Database, Server

pytestmark = pytest.mark.postgres

# The queries of the product's database document, as printed there.
SAMPLE_QUERIES = """
-- View all users
SELECT * FROM auth.users;

-- View active campaigns
SELECT c.*, u.username as owner 
FROM game.campaigns c
JOIN auth.users u ON c.owner_id = u.user_id
WHERE c.is_active = true;

-- Check recent security events
SELECT * FROM audit.security_events 
ORDER BY created_at DESC 
LIMIT 10;

-- Grant admin access to user
UPDATE auth.users 
SET is_admin = true 
WHERE email = 'user@example.com';
"""
STATISTICS_QUERIES = """
-- Database size
SELECT pg_database_size('gaia') / 1024 / 1024 as size_mb;

-- Table sizes
SELECT 
  schemaname, 
  tablename, 
  pg_size_pretty(pg_total_relation_size(schemaname||'.'||tablename)) AS size
FROM pg_tables 
WHERE schemaname IN ('auth', 'game', 'audit')
ORDER BY pg_total_relation_size(schemaname||'.'||tablename) DESC;

-- Active connections
SELECT 
  datname, 
  usename, 
  application_name,
  client_addr, 
  state,
  state_change
FROM pg_stat_activity
WHERE datname = 'gaia';
"""

FILL = """
INSERT INTO auth.users (user_id, username, email) VALUES
  ('00000000-0000-0000-0000-000000000001', 'ada', 'user@example.com'),
  ('00000000-0000-0000-0000-000000000002', 'bob', 'bob@example.com');
INSERT INTO auth.oauth_accounts (user_id, provider, provider_account_id)
  SELECT user_id, 'google', username FROM auth.users;
INSERT INTO auth.sessions (user_id, token_hash, expires_at)
  SELECT user_id, sha256(username::bytea), now() + interval '1 hour' FROM auth.users;
INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES
  ('00000000-0000-0000-0000-00000000000c', '00000000-0000-0000-0000-000000000001', 'Dawn');
INSERT INTO auth.access_control (user_id, resource_type, resource_id, permission_level) VALUES
  ('00000000-0000-0000-0000-000000000002', 'campaign', '00000000-0000-0000-0000-00000000000c', 'read');
INSERT INTO game.campaign_participants (campaign_id, user_id)
  SELECT '00000000-0000-0000-0000-00000000000c', user_id FROM auth.users;
INSERT INTO game.chat_history (campaign_id, user_id, role, content)
  SELECT '00000000-0000-0000-0000-00000000000c', user_id, 'user', 'hello' FROM auth.users;
INSERT INTO audit.security_events (event_type, ip) VALUES ('login_failed', '203.0.113.7');
"""


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


def script(database: Database, statements: str) -> None:
    with database.connect() as connection:
        connection.execute(statements.encode())


def test_the_documents_queries_run_as_printed(server: Server, template: Database) -> None:
    gaia = server.create("gaia", template=template.name)
    try:
        script(gaia, FILL)
        script(gaia, SAMPLE_QUERIES)
        script(gaia, STATISTICS_QUERIES)
        assert rows(gaia, "SELECT email FROM auth.users WHERE is_admin") == [("user@example.com",)]
    finally:
        server.drop("gaia")


def test_all_tables_are_there_and_no_extension_is(shared_database: Database) -> None:
    tables = rows(
        shared_database,
        "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND NOT relispartition AND relnamespace::regnamespace::text !~ '^(pg_|info)'",
    )
    assert {name for (name,) in tables} == {
        "auth.users",
        "auth.oauth_accounts",
        "auth.sessions",
        "auth.access_control",
        "game.campaigns",
        "game.campaign_participants",
        "game.chat_history",
        "audit.security_events",
        "auth.identity_keys",
        "public.alembic_version",
    }
    assert rows(shared_database, "SELECT extname FROM pg_extension") == [("plpgsql",)]


def test_every_table_and_column_says_what_it_is_for(shared_database: Database) -> None:
    silent = rows(
        shared_database,
        "SELECT c.oid::regclass, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum >= 0"
        " AND NOT attisdropped WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace::regnamespace::text IN ('auth', 'game', 'audit')"
        " AND (col_description(c.oid, attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)",
    )
    assert silent == []


def test_every_foreign_key_has_an_index_that_begins_with_it(shared_database: Database) -> None:
    bare = rows(
        shared_database,
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND NOT EXISTS (SELECT FROM pg_index"
        " WHERE indrelid = conrelid AND indpred IS NULL AND (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey)",
    )
    assert bare == []


def test_times_have_a_zone_and_constraints_have_names(shared_database: Database) -> None:
    columns = "SELECT column_name FROM information_schema.columns WHERE table_schema IN ('auth', 'game', 'audit')"
    assert rows(shared_database, f"{columns} AND data_type = 'timestamp without time zone'") == []
    names = rows(
        shared_database,
        "SELECT conname FROM pg_constraint JOIN pg_class c ON c.oid = conrelid"
        " WHERE connamespace::regnamespace::text IN ('auth', 'game', 'audit')"
        " AND NOT relispartition AND contype <> 't'",
    )
    assert all(re.match("(pk|fk|uq|ck)_", name) for (name,) in names)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO auth.users (username, email) VALUES ('ADA', 'other@example.com')",
        "INSERT INTO auth.users (username, email) VALUES ('other', 'USER@example.com')",
        "INSERT INTO auth.users (username, email) VALUES ('other', 'no address')",
        "INSERT INTO auth.users (username, email) VALUES (' other', 'o@example.com')",
        "INSERT INTO auth.sessions (user_id, token_hash, expires_at)"
        " SELECT user_id, 'a plain token', now() + interval '1 h' FROM auth.users",
        "UPDATE auth.sessions SET expires_at = created_at",
        "UPDATE auth.oauth_accounts SET access_token_encrypted = 'x'",
        "UPDATE auth.access_control SET permission_level = 'god'",
        "UPDATE game.campaigns SET settings = '[]'",
        "UPDATE game.campaign_participants SET role = 'nobody'",
        "UPDATE game.chat_history SET role = 'nobody'",
        "INSERT INTO audit.security_events (event_type) VALUES ('What happened')",
        "DELETE FROM auth.users WHERE username = 'ada'",
    ],
)
def test_what_makes_no_sense_is_refused(shared_database: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityError):
        script(shared_database, FILL + statement)  # several statements at once are one transaction


def test_an_event_outlives_its_user_and_a_message_its_sender(database: Database) -> None:
    script(database, FILL)
    script(database, "INSERT INTO audit.security_events (event_type, user_id) SELECT 'login', user_id FROM auth.users")
    script(database, "DELETE FROM auth.users WHERE username = 'bob'")
    assert rows(database, "SELECT count(*) FROM audit.security_events WHERE user_id IS NOT NULL") == [(2,)]
    assert rows(database, "SELECT count(*) FROM game.chat_history WHERE user_id IS NULL") == [(1,)]


def test_alembic_finds_no_difference_to_the_models(shared_database: Database) -> None:
    assert runner.check(shared_database.url) == ()


def test_alembic_would_find_a_difference(database: Database) -> None:
    script(database, "ALTER TABLE game.campaigns DROP COLUMN state; COMMENT ON COLUMN auth.users.email IS 'changed'")
    script(database, "ALTER TABLE auth.users ALTER is_active SET DEFAULT false; DROP INDEX game.ix_campaigns_owner_id")
    assert set(runner.check(database.url)) == {
        "add_column state on game.campaigns",
        "add_index ix_campaigns_owner_id on game.campaigns",
        "modify_comment auth.users.email: changed in the database,"
        " Address as the user wrote it, unique whatever its case in the models",
        "modify_default auth.users.is_active: false in the database, true in the models",
    }


def test_a_database_made_from_the_models_is_the_same_as_the_migrated_one(
    database: Database, empty_database: Database
) -> None:
    engine = create_engine(empty_database.url.replace("postgresql", "postgresql+psycopg", 1))
    with engine.begin() as connection:
        for schema in SCHEMAS:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        # Functions aren't in the models; a column is generated by this one.
        connection.execute(text(rows(database, "SELECT pg_get_functiondef('game.search_vector'::regproc)")[0][0]))
        Base.metadata.create_all(connection)
    engine.dispose()
    assert _tables(empty_database.dump()) == _tables(database.dump())


def _tables(dump: str) -> list[str]:
    """The statements that make tables, constraints, indexes and their comments."""
    plain = re.sub(r"\$(_?)\$.*?\$\1\$", "", dump, flags=re.DOTALL)
    statements = re.split(r";\n", re.sub(r"^--.*\n|^SET .*\n", "", plain, flags=re.MULTILINE))
    others = re.compile(
        r"GRANT|REVOKE|ALTER DEFAULT|CREATE SCHEMA|COMMENT ON (SCHEMA|FUNCTION)|.* OWNER TO|SELECT pg_catalog"
        r"|CREATE (FUNCTION|TRIGGER|EVENT TRIGGER|POLICY)|ALTER TABLE \S+ ENABLE ROW|.*_\d{4}_\d\d"
    )
    kept = (" ".join(statement.split()) for statement in statements)
    return sorted(s for s in kept if s and not others.match(s) and "alembic_version" not in s)


def test_down_and_up_with_rows_leaves_the_same_schema(database: Database) -> None:
    script(database, FILL)
    before = database.dump()
    for revision in reversed(runner.history()):
        runner.downgrade(database.url, revision.down or "base")
        bootstrap.apply(database.url, passwords=PASSWORDS, identity_keys=[IDENTITY_KEY])
        script(database, "DELETE FROM game.campaigns" if revision.id != "0001" else "SELECT 1")
        assert database.dump() == before
        with database.connect() as connection:
            connection.execute("SET session_replication_role = replica")  # the audit log refuses to be emptied
            connection.execute("TRUNCATE auth.users, game.campaigns, audit.security_events CASCADE")
            connection.execute("RESET session_replication_role")
            connection.execute(FILL.encode())


def test_base_leaves_nothing_but_the_version_table(database: Database) -> None:
    script(database, FILL)
    runner.downgrade(database.url, "base")
    left = rows(
        database,
        "SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname !~ '^(pg_|information_schema)'",
    )
    assert {name for (name,) in left} == {"public.alembic_version", "public.alembic_version_pkc"}
    assert rows(database, "SELECT nspname FROM pg_namespace WHERE nspname IN ('auth', 'game', 'audit')") == []
    assert runner.current(database.url) is None


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(targets=st.lists(st.integers(min_value=0, max_value=len(runner.history())), min_size=1, max_size=4))
def test_any_walk_between_revisions_ends_where_it_should(database: Database, targets: list[int]) -> None:
    ids = ["base", *(revision.id for revision in runner.history())]
    for target in targets:
        runner.downgrade(database.url, ids[target]) if _at(database) > target else runner.upgrade(
            database.url, ids[target]
        )
        assert _at(database) == target
        present = rows(database, "SELECT nspname FROM pg_namespace WHERE nspname IN ('auth', 'game', 'audit')")
        assert len(present) == min(target, 3)  # each of the first three revisions makes one schema


def _at(database: Database) -> int:
    revision = runner.current(database.url)
    return 0 if revision is None else [r.id for r in runner.history()].index(revision) + 1


def test_the_backend_uses_every_model_through_its_own_login(database: Database) -> None:
    url = database.url_as("gaia_app", PASSWORDS["gaia_app"]).replace("postgresql", "postgresql+psycopg", 1)
    engine = create_engine(url)
    with OrmSession(engine) as session:
        made = session.execute(text("SELECT auth.register('eve', 'eve@example.com', 'hash')")).scalar_one()
        session.commit()
        token = sign(IDENTITY_KEY, made, int(time.time()) + 60)
        session.execute(text("SELECT set_config('app.identity', :token, true)"), {"token": token})
        user = session.get_one(User, made)
        campaign = Campaign(owner_id=user.user_id, name="Dusk")
        session.add(campaign)
        session.flush()
        session.add(CampaignParticipant(campaign_id=campaign.campaign_id, user_id=user.user_id))
        message = ChatMessage(
            campaign_id=campaign.campaign_id,
            user_id=user.user_id,
            role="user",
            content="hi",
            message_metadata={"n": 1},
            language="german",
        )
        session.add(message)
        session.add(SecurityEvent(event_type="login", user_id=user.user_id, ip="203.0.113.7"))
        session.flush()
        assert message.message_id == 1 and message.created_at.tzinfo is not None
        session.commit()
    engine.dispose()
    query = "SELECT event_type FROM audit.security_events WHERE source = 'backend'"
    assert rows(database, query) == [("login",)]
