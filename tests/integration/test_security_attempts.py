"""What an SQL injection could try with the app's login: each attempt is refused, with an error or with no rows."""

import contextlib
from collections.abc import Iterator

import pytest
from psycopg import errors

from tests.integration import people
from tests.integration.people import SECRET, World, column
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres

DENIED = errors.InsufficientPrivilege
UNSUPPORTED = errors.FeatureNotSupported


@pytest.fixture(scope="module")
def world(server: Server, template: Database) -> Iterator[World]:
    with people.made(server, template) as made:
        yield made


def refused(connection: people.Connection, statement: str) -> None:
    with pytest.raises(DENIED), connection.transaction():
        connection.execute(statement.encode())


def touches_nothing(connection: people.Connection, statement: str) -> None:
    with connection.transaction():
        cursor = connection.execute(statement.encode())
        rows = cursor.fetchall() if cursor.description else []
        assert not rows and cursor.rowcount in (0, -1), f"{statement}: {cursor.rowcount} rows, {rows}"


# Who tries, and what gives no row or changes none.
NO_ROWS = [
    # another campaign's messages, by every road
    ("player", "SELECT content FROM game.chat_history WHERE campaign_id = {theirs}"),
    ("player", "SELECT content FROM game.chat_history WHERE content LIKE '%vault%'"),
    ("player", "SELECT content FROM game.chat_history WHERE ctid = '(0,4)'"),
    ("player", "SELECT content FROM game.chat_history TABLESAMPLE SYSTEM (100) WHERE campaign_id = {theirs}"),
    ("player", "SELECT content FROM ONLY game.chat_history WHERE campaign_id = {theirs}"),
    ("player", "SELECT content FROM game.chat_history WHERE campaign_id = {theirs} FOR UPDATE"),
    ("player", "SELECT word FROM ts_stat('SELECT search FROM game.chat_history') WHERE word = 'vault'"),
    ("player", "SELECT * FROM game.search_messages({theirs}, 'dragon')"),
    ("player", "SELECT * FROM game.search_messages({theirs}, '-nothing')"),
    ("player", "SELECT * FROM game.search_messages({ours}, 'vault')"),
    ("player", "SELECT * FROM game.members({theirs})"),
    ("player", "SELECT FROM game.campaigns WHERE campaign_id = {theirs}"),
    ("player", "SELECT FROM game.campaign_participants WHERE campaign_id = {theirs}"),
    ("lapsed", "SELECT content FROM game.chat_history"),
    ("left", "SELECT content FROM game.chat_history"),
    ("idle", "SELECT content FROM game.chat_history"),
    ("stranger", "SELECT content FROM game.chat_history"),
    # an error in a cast or a division would name what it saw
    ("player", "SELECT FROM game.chat_history WHERE campaign_id <> {ours} AND content::integer = 1"),
    ("stranger", "SELECT FROM game.chat_history WHERE 1 / (length(content) - length(content)) = 1"),
    ("stranger", "UPDATE game.chat_history SET content = 'x' WHERE content::integer = 1"),
    # writing into it
    ("player", "UPDATE game.chat_history SET content = 'forged' WHERE campaign_id = {theirs}"),
    ("player", "UPDATE game.chat_history SET content = 'forged' WHERE user_id = {owner}"),
    ("player", "DELETE FROM game.chat_history WHERE campaign_id = {theirs}"),
    ("player", "DELETE FROM game.chat_history WHERE user_id <> {player}"),
    ("player", "DELETE FROM game.campaigns"),
    ("manager", "DELETE FROM game.campaigns"),
    ("player", "UPDATE game.campaigns SET name = 'mine'"),
    (
        "player",
        "UPDATE game.chat_history h SET content = 'x' FROM game.campaigns c"
        " WHERE h.campaign_id = c.campaign_id AND c.owner_id <> {owner}",
    ),
    # promoting oneself, extending one's own grant
    ("player", "UPDATE game.campaign_participants SET role = 'game_master' WHERE user_id = {player}"),
    ("spectator", "UPDATE game.campaign_participants SET role = 'player'"),
    ("left", "UPDATE game.campaign_participants SET left_at = NULL"),
    ("master", "UPDATE game.campaign_participants SET character_name = 'x' WHERE user_id = {master}"),
    ("master", "DELETE FROM game.campaign_participants WHERE user_id = {master}"),
    ("manager", "UPDATE auth.access_control SET expires_at = NULL WHERE user_id = {manager}"),
    ("reader", "UPDATE auth.access_control SET permission_level = 'admin'"),
    ("lapsed", "UPDATE auth.access_control SET expires_at = NULL"),
    ("administrator", "UPDATE auth.access_control SET expires_at = NULL WHERE user_id = {administrator}"),
    # other people's accounts
    ("player", "SELECT password_hash FROM auth.users WHERE user_id <> {player}"),
    ("player", "SELECT token_hash FROM auth.sessions WHERE user_id <> {player}"),
    ("player", "SELECT * FROM auth.oauth_accounts WHERE user_id <> {player}"),
    ("player", "SELECT * FROM auth.access_control"),
    ("player", "UPDATE auth.users SET password_hash = 'known' WHERE user_id <> {player}"),
    ("player", "DELETE FROM auth.users WHERE user_id <> {player}"),
    ("player", "UPDATE auth.sessions SET revoked_at = now() WHERE user_id <> {player}"),
    ("administrator", "UPDATE auth.users SET password_hash = 'known' WHERE user_id <> {administrator}"),
    # upserts that step around a row that is there
    (
        "player",
        "INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES ({theirs}, {player}, 'x')"
        " ON CONFLICT DO NOTHING",
    ),
    (
        "player",
        "MERGE INTO game.campaigns c USING game.chat_history h ON c.campaign_id = {theirs}"
        " WHEN MATCHED THEN UPDATE SET name = 'stolen'",
    ),
    ("player", "WITH x AS (UPDATE game.chat_history SET content = '' WHERE user_id = {owner} RETURNING 1) TABLE x"),
    ("player", "WITH gone AS (DELETE FROM game.chat_history WHERE campaign_id = {theirs} RETURNING *) TABLE gone"),
    # what the catalogs keep of the values
    ("player", "SELECT most_common_vals FROM pg_stats WHERE schemaname IN ('auth', 'game', 'audit')"),
    ("player", "SELECT FROM pg_stats_ext"),
]


@pytest.mark.parametrize(("who", "statement"), NO_ROWS)
def test_it_touches_no_row(world: World, who: str, statement: str) -> None:
    with world.acting(who) as connection:
        touches_nothing(connection, world.fill(statement))


EVERYBODY = "player"
SAY = "INSERT INTO game.chat_history (campaign_id, user_id, role, content) VALUES"
ADD = "INSERT INTO game.campaign_participants (campaign_id, user_id) VALUES"
REFUSED = [
    # forging the sender, writing where one may not
    (
        "player",
        "INSERT INTO game.chat_history (campaign_id, user_id, role, content) VALUES ({ours}, {owner}, 'user', 'x')",
    ),
    (
        "player",
        "INSERT INTO game.chat_history (campaign_id, user_id, role, content) VALUES ({ours}, NULL, 'user', 'x')",
    ),
    (
        "player",
        "INSERT INTO game.chat_history (campaign_id, user_id, role, content) VALUES ({ours}, {player}, 'system', 'x')",
    ),
    (
        "player",
        "INSERT INTO game.chat_history (campaign_id, user_id, role, content) VALUES ({theirs}, {player}, 'user', 'x')",
    ),
    *(
        (
            who,
            f"{SAY} ({{ours}}, {{{who}}}, 'user', 'x')",
        )
        for who in ("spectator", "reader", "lapsed", "left", "idle", "stranger", "administrator")
    ),
    (
        "player",
        "INSERT INTO game.chat_history (campaign_id, user_id, role, content, created_at)"
        " VALUES ({ours}, {player}, 'user', 'x', now())",
    ),
    (
        "player",
        "INSERT INTO game.chat_history (message_id, campaign_id, user_id, role, content) OVERRIDING SYSTEM VALUE"
        " VALUES (1, {ours}, {player}, 'user', 'x')",
    ),
    ("player", "UPDATE game.chat_history SET user_id = {owner}"),
    ("player", "UPDATE game.chat_history SET campaign_id = {theirs}"),
    ("player", "UPDATE game.chat_history SET role = 'system'"),
    ("player", "UPDATE game.chat_history SET created_at = created_at - interval '1 month'"),
    ("player", "UPDATE game.chat_history SET search = DEFAULT"),
    ("player", "SELECT game.post_reply({theirs}, 'assistant', 'x')"),
    ("player", "SELECT game.post_reply({ours}, 'user', 'x')"),
    ("reader", "SELECT game.post_reply({ours}, 'assistant', 'x')"),
    ("administrator", "SELECT game.post_reply({ours}, 'assistant', 'x')"),
    # administrator, member, owner
    ("player", "UPDATE auth.users SET is_admin = true"),
    ("player", "UPDATE auth.users SET is_active = true"),
    ("player", "UPDATE auth.users SET user_id = {owner}"),
    ("player", "INSERT INTO auth.users (username, email, is_admin) VALUES ('x', 'x@example.com', true)"),
    (
        "player",
        f"{ADD} ({{theirs}}, {{player}})",
    ),
    ("stranger", f"{ADD} ({{ours}}, {{stranger}})"),
    ("player", f"{ADD} ({{ours}}, {{stranger}})"),
    ("manager", f"{ADD} ({{ours}}, {{manager}})"),
    ("administrator", f"{ADD} ({{ours}}, {{administrator}})"),
    ("player", "UPDATE game.campaigns SET owner_id = {player}"),
    ("player", "INSERT INTO game.campaigns (owner_id, name) VALUES ({owner}, 'x')"),
    ("player", "SELECT game.transfer_campaign({ours}, {player})"),
    ("manager", "SELECT game.transfer_campaign({ours}, {manager})"),
    (
        "player",
        "INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES ({theirs}, {player}, 'x')"
        " ON CONFLICT (campaign_id) DO UPDATE SET name = 'stolen'",
    ),
    # grants
    *(
        (
            who,
            "INSERT INTO auth.access_control (user_id, resource_type, resource_id, permission_level, granted_by)"
            f" VALUES ({{{who}}}, 'campaign', {{{campaign}}}, 'admin', {{{who}}})",
        )
        for who, campaign in (
            ("player", "ours"),
            ("player", "theirs"),
            ("master", "ours"),
            ("owner", "ours"),
            ("administrator", "ours"),
        )
    ),
    (
        "master",
        "INSERT INTO auth.access_control (user_id, resource_type, resource_id, permission_level, granted_by)"
        " VALUES ({stranger}, 'campaign', {ours}, 'admin', {owner})",
    ),
    (
        "master",
        "INSERT INTO auth.access_control (user_id, resource_type, resource_id, permission_level, granted_by)"
        " VALUES ({stranger}, 'server', {ours}, 'admin', {master})",
    ),
    (
        "manager",
        "INSERT INTO auth.access_control (user_id, resource_type, resource_id, permission_level, granted_by)"
        " VALUES ({manager}, 'campaign', {ours}, 'admin', {manager})"
        " ON CONFLICT (user_id, resource_type, resource_id) DO UPDATE SET expires_at = NULL",
    ),
    ("manager", "UPDATE auth.access_control SET user_id = {manager}"),
    ("manager", "UPDATE auth.access_control SET resource_id = {theirs}"),
    # sessions
    ("player", "SELECT auth.open_session({owner}, sha256('x'), now() + interval '1 hour')"),
    ("player", "SELECT auth.open_session(NULL, sha256('x'), now() + interval '1 hour')"),
    (
        "player",
        "INSERT INTO auth.sessions (user_id, token_hash, expires_at) VALUES ({player}, sha256('x'), 'infinity')",
    ),
    ("player", "UPDATE auth.sessions SET expires_at = 'infinity'"),
    ("owner", "UPDATE game.campaign_participants SET joined_at = now()"),
    ("owner", "INSERT INTO game.campaigns (owner_id, name, created_at) VALUES ({owner}, 'x', now())"),
    ("player", "INSERT INTO auth.oauth_accounts (user_id, provider, provider_account_id) VALUES ({owner}, 'a', 'b')"),
    ("player", "UPDATE auth.oauth_accounts SET provider_account_id = 'google of owner'"),
    # audit
    ("player", "SELECT FROM audit.security_events"),
    ("player", "UPDATE audit.security_events SET event_type = 'x'"),
    ("player", "DELETE FROM audit.security_events"),
    ("player", "TRUNCATE audit.security_events"),
    ("player", "INSERT INTO audit.security_events (event_type) VALUES ('x') RETURNING event_id"),
    ("player", "INSERT INTO audit.security_events (event_type, source) VALUES ('x', 'database')"),
    ("player", "INSERT INTO audit.security_events (event_type, user_id) VALUES ('x', {owner})"),
    ("player", "INSERT INTO audit.security_events (event_type, created_at) VALUES ('x', now() - interval '2 minutes')"),
    ("player", "INSERT INTO audit.security_events (event_type, created_at) VALUES ('x', now() + interval '2 minutes')"),
    (
        "player",
        "INSERT INTO audit.security_events (event_type) VALUES ('x')"
        " ON CONFLICT (event_id, created_at) DO UPDATE SET event_type = 'y'",
    ),
    (
        "player",
        "MERGE INTO audit.security_events USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE",
    ),
    ("player", "SELECT audit.record('login_succeeded', '{{}}')"),
    ("player", "SELECT audit.add_months('game.chat_history', '2020-01-01', '2020-02-01')"),
    ("player", "SELECT audit.refuse_change()"),
    # partitions and other objects, directly
    ("player", "SELECT FROM game.chat_history_{month}"),
    ("player", "TRUNCATE game.chat_history_{month}"),
    ("player", "TRUNCATE game.chat_history"),
    ("player", "ALTER TABLE game.chat_history DETACH PARTITION game.chat_history_{month}"),
    ("player", "SELECT FROM auth.identity_keys"),
    ("player", "SELECT FROM public.alembic_version"),
    ("player", "SELECT last_value FROM game.chat_history_message_id_seq"),
    ("player", "SELECT nextval('game.chat_history_message_id_seq')"),
    ("player", "SELECT setval('game.chat_history_message_id_seq', 1)"),
    ("player", "SELECT pg_sequence_last_value('game.chat_history_message_id_seq')"),
    ("player", "SELECT game.may({theirs}, 'read')"),
    # MERGE that reads no column asks no SELECT policy: it fails on the first row that it may not delete
    ("stranger", "MERGE INTO game.chat_history USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE"),
    ("player", "MERGE INTO game.campaigns USING (SELECT 1) x ON owner_id = {owner} WHEN MATCHED THEN DELETE"),
    (
        "player",
        "MERGE INTO game.campaigns USING (SELECT 1) x ON owner_id = {owner} WHEN MATCHED THEN UPDATE SET name = 'mine'",
    ),
    (
        "stranger",
        "MERGE INTO game.campaign_participants USING (SELECT 1) x ON false WHEN NOT MATCHED THEN"
        " INSERT (campaign_id, user_id, role) VALUES ({ours}, {stranger}, 'game_master')",
    ),
    (
        "master",
        "INSERT INTO game.campaign_participants (campaign_id, user_id, role) VALUES ({ours}, {master}, 'game_master')"
        " ON CONFLICT (campaign_id, user_id) DO UPDATE SET character_name = 'x'",
    ),
    (
        "master",
        "INSERT INTO auth.access_control (user_id, resource_type, resource_id, permission_level)"
        " VALUES ({stranger}, 'campaign', {ours}, 'admin')",
    ),
    (
        "owner",
        "WITH said AS (INSERT INTO game.chat_history (campaign_id, user_id, role, content)"
        " SELECT {theirs}, {owner}, 'user', 'x' RETURNING 1) SELECT * FROM said",
    ),
    # making things, changing rules
    (EVERYBODY, "CREATE TABLE game.mine ()"),
    (EVERYBODY, "CREATE TABLE public.mine ()"),
    (EVERYBODY, "CREATE TEMPORARY TABLE mine ()"),
    (EVERYBODY, "CREATE TEMPORARY VIEW mine AS SELECT 1"),
    (EVERYBODY, "SELECT 1 INTO TEMPORARY mine"),
    (EVERYBODY, "CREATE SCHEMA mine"),
    (EVERYBODY, "CREATE VIEW game.mine AS SELECT * FROM auth.users"),
    (EVERYBODY, "CREATE FUNCTION game.mine() RETURNS integer LANGUAGE sql RETURN 1"),
    (EVERYBODY, "CREATE FUNCTION pg_temp.mine() RETURNS integer LANGUAGE sql RETURN 1"),
    (EVERYBODY, "CREATE FUNCTION pg_catalog.mine() RETURNS integer LANGUAGE sql RETURN 1"),
    (EVERYBODY, "CREATE OPERATOR game.<<< (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)"),
    (EVERYBODY, "CREATE CAST (text AS integer) WITH INOUT AS IMPLICIT"),
    (EVERYBODY, "CREATE TRIGGER mine BEFORE INSERT ON auth.users EXECUTE FUNCTION audit.refuse_change()"),
    (EVERYBODY, "CREATE RULE mine AS ON SELECT TO auth.users DO INSTEAD SELECT 1"),
    (EVERYBODY, "CREATE INDEX ON auth.users (email)"),
    (EVERYBODY, "CREATE STATISTICS game.mine ON name, owner_id FROM game.campaigns"),
    (EVERYBODY, "CREATE EVENT TRIGGER mine ON sql_drop EXECUTE FUNCTION audit.record_ddl()"),
    (EVERYBODY, "CREATE PUBLICATION mine"),
    (EVERYBODY, "CREATE ROLE mine"),
    (EVERYBODY, "CREATE POLICY mine ON auth.users USING (true)"),
    (EVERYBODY, "ALTER POLICY backend_select ON auth.users USING (true)"),
    (EVERYBODY, "DROP POLICY backend_select ON auth.users"),
    (EVERYBODY, "ALTER TABLE auth.users DISABLE ROW LEVEL SECURITY"),
    (EVERYBODY, "ALTER TABLE audit.security_events DISABLE TRIGGER ALL"),
    (EVERYBODY, "ALTER FUNCTION auth.current_user_id() SECURITY INVOKER"),
    (EVERYBODY, "COMMENT ON TABLE auth.users IS 'mine'"),
    (EVERYBODY, "GRANT SELECT ON auth.identity_keys TO PUBLIC"),
    # becoming somebody
    (EVERYBODY, "SET ROLE gaia_owner"),
    (EVERYBODY, "SET ROLE gaia_backend"),
    (EVERYBODY, "SET ROLE gaia_migrator"),
    (EVERYBODY, "SET ROLE gaia_backup"),
    (EVERYBODY, "SELECT set_config('role', 'gaia_owner', true)"),
    (EVERYBODY, "SET SESSION AUTHORIZATION gaia_owner"),
    (EVERYBODY, "GRANT gaia_owner TO gaia_app"),
    (EVERYBODY, "GRANT gaia_backend TO gaia_auditor"),
    (EVERYBODY, "ALTER ROLE gaia_app SUPERUSER"),
    (EVERYBODY, "ALTER ROLE gaia_app BYPASSRLS"),
    (EVERYBODY, "ALTER ROLE gaia_backend SET work_mem = '1MB'"),
    (EVERYBODY, "ALTER ROLE gaia_owner PASSWORD 'x'"),
    (EVERYBODY, "DROP OWNED BY gaia_backend"),
    (EVERYBODY, "REASSIGN OWNED BY gaia_owner TO gaia_app"),
    (EVERYBODY, "ALTER DEFAULT PRIVILEGES FOR ROLE gaia_owner GRANT ALL ON TABLES TO PUBLIC"),
    (EVERYBODY, "SET session_replication_role = replica"),
    (EVERYBODY, "ALTER ROLE gaia_app SET session_replication_role = replica"),
    (EVERYBODY, "SET log_statement = 'none'"),
    # the server's files and catalogs
    (EVERYBODY, "SELECT rolpassword FROM pg_authid"),
    (EVERYBODY, "SELECT stavalues1 FROM pg_statistic"),
    (EVERYBODY, "SELECT pg_read_file('/etc/passwd')"),
    (EVERYBODY, "SELECT pg_ls_dir('.')"),
    (EVERYBODY, "SELECT lo_import('/etc/passwd')"),
    (EVERYBODY, "COPY (SELECT 1) TO PROGRAM 'id'"),
    (EVERYBODY, "COPY (SELECT 1) TO '/tmp/mine'"),
    (EVERYBODY, "COPY game.campaigns FROM '/etc/passwd'"),
    (EVERYBODY, "LOAD 'mine'"),
    (EVERYBODY, "SELECT pg_reload_conf()"),
    (EVERYBODY, "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')"),
]


@pytest.mark.parametrize(("who", "statement"), REFUSED)
def test_it_is_denied(world: World, who: str, statement: str) -> None:
    with world.acting(who) as connection:
        refused(connection, world.fill(statement))


@pytest.mark.parametrize("table", ["auth.users", "game.chat_history", "audit.security_events"])
def test_row_level_security_cannot_be_switched_off_for_a_session(world: World, table: str) -> None:
    with world.acting("player") as connection:
        connection.execute("SET LOCAL row_security = off")
        refused(connection, f"SELECT FROM {table}")


def test_copy_gives_no_hidden_row_and_takes_none(world: World) -> None:
    with world.acting("player") as connection:
        for statement in ("COPY game.chat_history TO STDOUT", "COPY (TABLE game.chat_history) TO STDOUT"):
            with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                assert SECRET.encode() not in b"".join(bytes(block) for block in copy)
        for table in ("game.campaigns (name)", "game.chat_history (content)", "audit.security_events (event_type)"):
            copy_in = f"COPY {table} FROM STDIN".encode()
            with pytest.raises(UNSUPPORTED), connection.transaction(), connection.cursor().copy(copy_in) as copy:
                copy.write(b"x\n")


def test_functions_that_run_a_query_run_it_under_the_same_policies(world: World) -> None:
    with world.acting("player") as connection:
        for call in (
            "query_to_xml('TABLE game.chat_history', true, true, '')::text",
            "table_to_xml('game.chat_history', true, true, '')::text",
            "cursor_to_xml('c', 100, true, true, '')::text",
        ):
            with contextlib.suppress(UNSUPPORTED), connection.transaction():  # a server may be built without libxml
                connection.execute("DECLARE c CURSOR FOR TABLE game.chat_history")
                assert all(SECRET not in row for row in column(connection, f"SELECT {call}"))


def test_a_block_of_plpgsql_sees_what_its_caller_sees(world: World) -> None:
    with world.acting("player") as connection, pytest.raises(errors.RaiseException, match=r"^3 and 0"):
        connection.execute(
            "DO $$ BEGIN RAISE '% and %', (SELECT count(*) FROM game.chat_history),"
            " (SELECT count(*) FROM game.chat_history WHERE content LIKE '%vault%'); END $$"
        )


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES ({theirs}, {player}, 'x')",
        "UPDATE auth.users SET email = 'OUTSIDER@example.com'",
        "INSERT INTO auth.oauth_accounts (user_id, provider, provider_account_id)"
        " VALUES ({player}, 'google', 'google of outsider')",
    ],
)
def test_a_unique_violation_says_that_something_is_there_but_not_what(world: World, statement: str) -> None:
    with world.acting("player") as connection, pytest.raises(errors.UniqueViolation) as caught:
        connection.execute(world.fill(statement).encode())
    assert caught.value.diag.message_detail is None
    assert "outsider" not in str(caught.value).lower()


def test_a_foreign_key_tells_nothing_of_rows_that_policies_hide(world: World) -> None:
    """The policy speaks before the key is looked up: a campaign that is there and one that isn't get one answer."""
    insert = "INSERT INTO game.campaign_participants (campaign_id, user_id) VALUES ({}, {{player}})"
    answers = []
    with world.acting("player") as connection:
        for campaign in ("{theirs}", "gen_random_uuid()"):
            with pytest.raises(DENIED) as caught, connection.transaction():
                connection.execute(world.fill(insert.format(campaign)).encode())
            answers.append(str(caught.value))
    assert answers[0] == answers[1]


def test_a_failing_row_is_not_shown(world: World) -> None:
    with world.acting("owner") as connection, pytest.raises(errors.CheckViolation) as caught:
        connection.execute("UPDATE game.campaigns SET name = ''")
    assert caught.value.diag.message_detail is None


def test_rank_and_count_are_those_of_visible_rows_alone(world: World) -> None:
    """What others wrote changes neither how many there are nor how well one's own messages rank."""
    with world.acting("player") as connection:
        ours = connection.execute(
            world.fill("SELECT message_id, rank FROM game.search_messages({ours}, 'dragon')").encode()
        ).fetchall()
        assert len(ours) == 3
        assert column(connection, "SELECT count(*) FROM game.chat_history") == [3]
        assert column(connection, "SELECT count(*) FROM game.campaigns") == [1]
        assert column(connection, "SELECT count(*) FROM auth.users") == [1]
    with world.database.connect() as connection:
        connection.execute(
            "INSERT INTO game.chat_history (campaign_id, role, content)"
            " SELECT %s, 'system', 'dragon dragon dragon' FROM generate_series(1, 50)",
            (world[people.THEIRS],),
        )
    with world.acting("player") as connection:
        again = connection.execute(
            world.fill("SELECT message_id, rank FROM game.search_messages({ours}, 'dragon')").encode()
        ).fetchall()
    assert again == ours


def test_explain_shows_counts_but_no_content(world: World) -> None:
    """What PostgreSQL can't hide: EXPLAIN ANALYZE counts filtered rows. It needs the campaign's key, a random UUID."""
    with world.acting("player") as connection:
        plan = "\n".join(
            column(connection, world.fill("EXPLAIN (ANALYZE, VERBOSE) SELECT content FROM game.chat_history"))
        )
        assert "Rows Removed by Filter" in plan
        assert SECRET not in plan and str(world[people.THEIRS]) not in plan


def test_a_table_can_be_locked_but_that_is_all(world: World) -> None:
    """Denial of service, which no grant of DELETE can rule out: see docs/threat-model.md."""
    with world.acting("player") as connection:
        connection.execute("LOCK TABLE game.chat_history IN ACCESS SHARE MODE")
        refused(connection, "LOCK TABLE auth.identity_keys IN ACCESS SHARE MODE")
        refused(connection, world.fill("LOCK TABLE game.chat_history_{month} IN ACCESS SHARE MODE"))


def test_settings_of_the_caller_change_nothing_in_the_definer_functions(world: World) -> None:
    question = world.fill(
        "SELECT auth.current_user_id()::text, array_length(game.my_campaigns('read'), 1),"
        " (SELECT count(*) FROM game.members({ours})), (SELECT count(*) FROM game.search_messages({ours}, 'dragon')),"
        " (SELECT count(*) FROM game.search_messages({theirs}, 'dragon')),"
        " (SELECT count(*) FROM auth.find_login('owner')), (SELECT count(*) FROM game.chat_history)"
    ).encode()
    with world.acting("player") as connection:
        usual = connection.execute(question).fetchone()
        for setting in (
            "search_path = mine, public",
            "standard_conforming_strings = off",
            "transform_null_equals = on",
            "quote_all_identifiers = on",
            "array_nulls = off",
            "plpgsql.extra_errors = 'all'",
            "check_function_bodies = off",
            "plan_cache_mode = force_generic_plan",
            "debug_parallel_query = on",
            "enable_seqscan = off",
            "DateStyle = 'German'",
            "TimeZone = 'Pacific/Apia'",
            "bytea_output = 'escape'",
            "default_text_search_config = 'simple'",
            "xmloption = 'document'",
        ):
            connection.execute(f"SET LOCAL {setting}".encode())
            assert connection.execute(question).fetchone() == usual, setting


def test_another_session_of_the_app_shows_no_token(world: World) -> None:
    """pg_stat_activity shows queries of the same login, so a token belongs into a parameter, never into the text."""
    with world.acting("administrator"), world.acting("player", login="gaia_app") as attacker:
        seen = column(attacker, "SELECT query FROM pg_stat_activity WHERE usename LIKE 'gaia_app%'")
        assert any("app.identity" in query for query in seen)
        assert not any(str(world["administrator"]) in query for query in seen)
        assert column(attacker, "SELECT count(*) FROM pg_prepared_statements, pg_cursors") == [0]


def test_what_an_injection_can_read_about_the_schema_holds_no_secret(world: World) -> None:
    """Sources of functions and policies are open to every login; nothing in them is secret."""
    with world.acting("player") as connection:
        sources = column(connection, "SELECT prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace")
        policies = column(connection, "SELECT coalesce(qual, '') || coalesce(with_check, '') FROM pg_policies")
        assert sources and policies
        assert not any(people.IDENTITY_KEY[:16] in text for text in (*sources, *policies))


def test_all_this_was_tried_as_the_app_and_not_as_a_superuser(world: World) -> None:
    with world.acting("player") as connection:
        assert column(connection, "SELECT current_user::text") == ["gaia_app"]
        assert column(connection, "SELECT current_setting('is_superuser')") == ["off"]
