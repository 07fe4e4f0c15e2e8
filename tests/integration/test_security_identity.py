"""The signed identity: what isn't exactly a live token is nobody, and no identity outlives its transaction."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import errors

from db.identity import key_id, sign
from migrations import identity as installed
from tests.integration import people
from tests.integration.people import Connection, World, column, identify
from tests.postgres import IDENTITY_KEY, Database, Server

pytestmark = pytest.mark.postgres

SOME = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TABLES = ("auth.users", "auth.sessions", "game.campaigns", "game.campaign_participants", "game.chat_history")


@pytest.fixture(scope="module")
def world(server: Server, template: Database) -> Iterator[World]:
    with people.made(server, template) as made:
        yield made


def who(connection: Connection) -> object:
    """The user that the database sees; nobody must see nothing."""
    (found,) = column(connection, "SELECT auth.current_user_id()")
    if found is None:
        for table in TABLES:
            assert column(connection, f"SELECT count(*) FROM {table}") == [0]
    return found


def test_a_signed_token_is_its_user(world: World) -> None:
    with world.acting("player") as connection:
        assert who(connection) == world["player"]
        assert column(connection, "SELECT auth.is_admin()") == [False]
    with world.acting("administrator", login="gaia_app_b") as connection:
        assert who(connection) == world["administrator"]
        assert column(connection, "SELECT auth.is_admin()") == [True]


def forgeries(world: World) -> dict[str, str]:
    user, good = world["player"], world.token("player")
    kid, _, expiry, signature = good.split(".")
    late = int(time.time()) + 300

    def signed(claim: str) -> str:
        return f"{claim}.{hmac.new(bytes.fromhex(IDENTITY_KEY), claim.encode(), hashlib.sha256).hexdigest()}"

    return {
        "nothing": "",
        "a bare uuid": str(user),
        "no signature": f"{kid}.{user}.{expiry}",
        "an empty signature": f"{kid}.{user}.{expiry}.",
        "zeros": f"{kid}.{user}.{expiry}.{'0' * 64}",
        "another user under this signature": good.replace(str(user), str(world["administrator"])),
        "a later expiry under this signature": good.replace(expiry, str(int(expiry) + 1)),
        "expired": world.token("player", seconds=-1),
        "expires now": world.token("player", seconds=0),
        "expired long ago": sign(IDENTITY_KEY, user, 0),
        "another key": world.token("player", key=secrets.token_hex(32)),
        "another key under this key's name": f"{kid}{world.token('player', key=secrets.token_hex(32))[8:]}",
        "a key that nobody has": f"{'0' * 8}{good[8:]}",
        "upper case": good.upper(),
        "an upper-case signature": f"{kid}.{user}.{expiry}.{signature.upper()}",
        "an upper-case user": f"{kid}.{str(user).upper()}.{expiry}.{signature}",
        "a space before": f" {good}",
        "a space after": f"{good} ",
        "a line after": f"{good}\n",
        "a dot after": f"{good}.",
        "a dot before": f".{good}",
        "a dot more": good.replace(".", "..", 1),
        "twice": f"{good}{good}",
        "two tokens": f"{good},{good}",
        "cut": good[:-1],
        "a part more, of the signer's own making": f"{kid}.{user}.{expiry}.{late}.{signature}",
        "SQL": f"' OR auth.is_admin() --{good}",
        "huge": "x" * 1_000_000,
        "huge after a token": good + "." * 1_000_000,
        "a Cyrillic letter": good.replace("a", "а"),
        "a full-width digit": good.replace("1", "１"),
        "an unknown user": sign(IDENTITY_KEY, uuid4(), late),
        "an inactive user": world.token("idle"),
        "a hash without the key": f"{kid}.{user}.{late}.{hashlib.sha256(f'{kid}.{user}.{late}'.encode()).hexdigest()}",
        "an empty key": f"{kid}.{user}.{late}.{hmac.new(b'', f'{kid}.{user}.{late}'.encode(), 'sha256').hexdigest()}",
        "signed, but no number for an expiry in reach": signed(f"{kid}.{user}.{'0' * 10}"),
        "signed with another kid": signed(f"{'f' * 8}.{user}.{late}"),
    }


def test_whatever_is_no_live_token_is_nobody(world: World) -> None:
    with world.acting(None) as connection:
        assert who(connection) is None
        for name, forged in forgeries(world).items():
            identify(connection, forged)
            assert who(connection) is None, name
        identify(connection, world.token("player"))
        assert who(connection) == world["player"]


CHARACTERS = st.characters(min_codepoint=1, exclude_categories=["Cs"])


@SOME
@given(place=st.integers(0, 120), other=CHARACTERS, kind=st.sampled_from(["change", "insert", "remove", "swap"]))
@example(place=0, other="x", kind="insert")
def test_a_token_with_any_byte_changed_is_nobody(world: World, place: int, other: str, kind: str) -> None:
    good = world.token("player")
    changed = {
        "change": good[:place] + other + good[place + 1 :],
        "insert": good[:place] + other + good[place:],
        "remove": good[:place] + good[place + 1 :],
        "swap": good[:place] + good[place + 1 : place + 2] + good[place : place + 1] + good[place + 2 :],
    }[kind]
    with world.acting(None) as connection:
        identify(connection, changed)
        expected = world["player"] if changed == good else None
        assert column(connection, "SELECT auth.current_user_id()") == [expected]


def test_each_byte_of_a_token_counts(world: World) -> None:
    with world.acting(None) as connection:
        good = world.token("player")
        for place, byte in enumerate(good):
            identify(connection, good[:place] + ("1" if byte == "0" else "0") + good[place + 1 :])
            assert column(connection, "SELECT auth.current_user_id()") == [None], place


@SOME
@given(garbage=st.text(CHARACTERS, max_size=140))
def test_garbage_is_nobody_and_no_error(world: World, garbage: str) -> None:
    with world.acting(None) as connection:
        identify(connection, garbage)
        assert column(connection, "SELECT auth.current_user_id()") == [None]


@pytest.mark.parametrize("setting", ["app.user_id", "app.current_user_id", "app.user", "app.is_admin", "role.identity"])
def test_no_other_setting_says_who_one_is(world: World, setting: str) -> None:
    with world.acting(None) as connection:
        for value in (str(world["administrator"]), world.token("administrator"), "true"):
            connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
            assert who(connection) is None


def test_a_token_ends_while_a_transaction_goes_on(world: World) -> None:
    seen = None
    for seconds in (2, 10, 60):  # the longer ones are for a machine that's too slow to see the shorter one last
        with world.acting(None) as connection:
            identify(connection, world.token("player", seconds=seconds))
            seen = who(connection)
            connection.execute("SELECT pg_sleep(%s)", (seconds + 0.1,))
            assert who(connection) is None
        if seen is not None:
            break
    assert seen == world["player"]


def test_whoever_is_deactivated_or_no_longer_administrator_is_so_at_once(world: World) -> None:
    with world.database.connect() as superuser, world.acting("administrator") as connection:
        try:
            superuser.execute("UPDATE auth.users SET is_admin = false WHERE username = 'administrator'")
            assert column(connection, "SELECT auth.is_admin()") == [False]
            superuser.execute("UPDATE auth.users SET is_active = false WHERE username = 'administrator'")
            assert who(connection) is None
        finally:
            superuser.execute(
                "UPDATE auth.users SET is_active = true, is_admin = true WHERE username = 'administrator'"
            )


def test_while_keys_change_both_hold_and_then_only_the_new_one(world: World) -> None:
    new = secrets.token_hex(32)
    with world.as_superuser() as connection:
        installed.install(connection, [new, IDENTITY_KEY])
        for key in (new, IDENTITY_KEY):
            identify(connection, world.token("player", key=key))
            assert column(connection, "SELECT auth.current_user_id()") == [world["player"]]
        installed.install(connection, [new])
        assert column(connection, "SELECT auth.current_user_id()") == [None]
        assert column(connection, "SELECT key_id FROM auth.identity_keys") == [key_id(new)]
        installed.install(connection, [])
        identify(connection, world.token("player", key=new))
        assert column(connection, "SELECT auth.current_user_id()") == [None]


def test_nobody_but_the_owner_reads_a_key(world: World) -> None:
    for login in ("gaia_app", "gaia_app_b", "gaia_readonly", "gaia_auditor", "gaia_migrator"):
        with world.database.connect(login) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM auth.identity_keys")
    with world.database.connect("gaia_backup") as connection:
        assert connection.execute("SELECT * FROM auth.identity_keys").fetchall() == []
    with world.database.connect() as connection:
        assert column(connection, "SELECT count(*) FROM auth.identity_keys") == [1]


# One connection, many users: what a pool does.


def test_two_users_in_turn_on_one_connection_see_only_their_own(world: World) -> None:
    with world.database.connect("gaia_app") as connection:
        for name, seen in (("player", people.OURS), ("outsider", people.THEIRS)) * 3:
            with connection.transaction():
                identify(connection, world.token(name))
                assert column(connection, "SELECT name FROM game.campaigns") == [seen]
            assert column(connection, "SELECT current_setting('app.identity', true)") == [""]
            assert who(connection) is None


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "error", "savepoint"])
def test_after_the_transaction_there_is_nobody(world: World, end: str) -> None:
    with world.database.connect("gaia_app") as connection:
        connection.execute("BEGIN")
        if end == "savepoint":
            connection.execute("SAVEPOINT here")
        identify(connection, world.token("player"))
        assert who(connection) == world["player"]
        if end == "error":
            with pytest.raises(errors.DivisionByZero):
                connection.execute("SELECT 1 / 0")
        if end == "savepoint":
            connection.execute("ROLLBACK TO here")
            assert who(connection) is None
        connection.execute(b"COMMIT" if end in ("COMMIT", "savepoint") else b"ROLLBACK")
        assert column(connection, "SELECT current_setting('app.identity', true)") == [""]
        assert who(connection) is None


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan", "auto"])
def test_a_prepared_statement_asks_anew_who_is_there(world: World, mode: str) -> None:
    with world.database.connect("gaia_app") as connection:
        connection.execute(f"SET plan_cache_mode = {mode}".encode())
        connection.execute("PREPARE mine AS SELECT name FROM game.campaigns")
        for name, seen in (("player", [people.OURS]), ("outsider", [people.THEIRS]), (None, [])) * 8:
            with connection.transaction():
                if name:
                    identify(connection, world.token(name))
                assert column(connection, "EXECUTE mine") == seen


def test_a_cursor_that_is_held_has_the_rows_of_whoever_opened_it(world: World) -> None:
    """No more, though the next user of the connection can read them: a pool closes cursors, or never holds any."""
    with world.database.connect("gaia_app") as connection:
        with connection.transaction():
            identify(connection, world.token("player"))
            connection.execute("DECLARE held CURSOR WITH HOLD FOR SELECT name FROM game.campaigns")
        with connection.transaction():
            identify(connection, world.token("outsider"))
            assert column(connection, "FETCH ALL FROM held") == [people.OURS]
        connection.execute("DISCARD ALL")
        with pytest.raises(errors.InvalidCursorName):
            connection.execute("FETCH ALL FROM held")


def test_an_identity_of_the_session_is_undone_by_the_reset_of_a_pool(world: World) -> None:
    """What an injection can do with its own token; each transaction's own identity goes before it."""
    with world.database.connect("gaia_app") as connection:
        identify(connection, world.token("player"), local=False)
        with connection.transaction():
            identify(connection, world.token("outsider"))
            assert who(connection) == world["outsider"]
        assert who(connection) == world["player"]
        connection.execute("RESET ALL")
        assert who(connection) is None


def test_parallel_workers_know_who_asks(world: World) -> None:
    question = "SELECT auth.current_user_id(), auth.is_admin(), game.my_campaigns('write')"
    with world.acting("player") as connection:
        alone = connection.execute(question.encode()).fetchall()
        connection.execute("SET LOCAL debug_parallel_query = on")
        assert any("Gather" in line for line in column(connection, f"EXPLAIN {question}"))
        assert connection.execute(question.encode()).fetchall() == alone
        assert alone == [(world["player"], False, [world[people.OURS]])]


# What it costs: the functions are asked once a statement, and the indexes are used.


@pytest.mark.parametrize(
    "statement",
    [
        *(f"SELECT * FROM {table}" for table in (*TABLES, "auth.oauth_accounts", "auth.access_control")),
        "UPDATE game.chat_history SET content = content",
        "DELETE FROM game.chat_history",
        "UPDATE game.campaign_participants SET role = role",
        "DELETE FROM auth.access_control",
    ],
)
def test_policies_lead_to_no_other_policy_and_ask_once_a_statement(world: World, statement: str) -> None:
    with world.acting("owner") as connection:
        lines = column(connection, f"EXPLAIN (VERBOSE, COSTS OFF) {statement}")
        calls = [line.strip() for line in lines if "auth.is_admin()" in line or "_user_id()" in line]
        assert all(line.startswith("Output:") for line in calls), lines  # the output of an initplan, no row's filter
        assert any("InitPlan" in line for line in lines)


def test_the_last_messages_come_from_the_index(world: World) -> None:
    with world.acting("player") as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        lines = column(
            connection,
            world.fill(
                "EXPLAIN SELECT * FROM game.chat_history WHERE campaign_id = {ours}"
                " ORDER BY created_at DESC, message_id DESC LIMIT 50"
            ),
        )
    assert not any("Sort" in line or "Seq Scan on chat" in line for line in lines), lines
    assert any("Index Scan Backward" in line and "campaign_id_created_at" in line for line in lines), lines


def test_the_token_of_the_document_is_the_one_that_the_database_reads(world: World) -> None:
    """RFC 2104 as the standard library does it, and as the database does: for keys and users at random."""
    with world.as_superuser() as connection:
        for _ in range(20):
            key = secrets.token_hex(32)
            installed.install(connection, [key.upper()])
            identify(connection, world.token("player", key=key))
            assert column(connection, "SELECT auth.current_user_id()") == [world["player"]]
