"""The definer functions in real use, each by whoever may call it, and what they give to whoever may not."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import errors

from tests.integration import people
from tests.integration.people import Connection, World, column
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres

DENIED = errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def world(server: Server, template: Database) -> Iterator[World]:
    with people.made(server, template) as made:
        yield made


def row(connection: Connection, sql: str) -> tuple[Any, ...] | None:
    return connection.execute(sql.encode()).fetchone()


def events(connection: Connection) -> list[tuple[Any, ...]]:
    """What the database wrote in this transaction, as its auditor reads it."""
    return connection.execute(
        "SELECT event_type, user_id, details, host(ip), user_agent, source FROM audit.security_events"
        " WHERE created_at = now() ORDER BY event_type"
    ).fetchall()


@pytest.mark.parametrize("login", ["owner", "OWNER", "owner@example.com", "Owner@Example.COM"])
def test_a_login_is_found_by_name_or_address_in_any_case(world: World, login: str) -> None:
    with world.acting(None) as connection:
        assert row(connection, f"SELECT * FROM auth.find_login('{login}')") == (world["owner"], "hash of owner", True)


@pytest.mark.parametrize("login", ["", "nobody", "%", "own_r", "owner ", "owner@example.com@", "' OR true --"])
def test_a_login_that_is_not_there_is_not_found(world: World, login: str) -> None:
    with world.acting(None) as connection:
        found = connection.execute("SELECT * FROM auth.find_login(%s)", (login,)).fetchall()
        assert found == []


def test_nobody_takes_over_an_address_by_taking_it_as_a_name(world: World) -> None:
    with world.acting(None) as connection:
        connection.execute("SELECT auth.register('player@example.com', 'mallory@example.com', 'hash of mallory')")
        found = connection.execute("SELECT * FROM auth.find_login('player@example.com')").fetchall()
        assert found == [(world["player"], "hash of player", True)]


def test_who_registers_is_neither_administrator_nor_anywhere(world: World) -> None:
    with world.acting(None) as connection:
        (made,) = column(connection, "SELECT auth.register('Ada', 'ada@example.com', 'hash')")
        people.identify(connection, people.token(made))
        assert row(connection, "SELECT username, is_admin, is_active, email_verified_at FROM auth.users") == (
            "Ada",
            False,
            True,
            None,
        )
        assert column(connection, "SELECT game.my_campaigns('read')") == [[]]
        with pytest.raises(errors.UniqueViolation), connection.transaction():
            connection.execute("SELECT auth.register('ADA', 'other@example.com', 'hash')")
        with pytest.raises(errors.UniqueViolation), connection.transaction():
            connection.execute("SELECT auth.register('other', 'ADA@example.com', 'hash')")


def test_a_session_is_opened_resumed_and_revoked(world: World) -> None:
    with world.acting("player") as connection:
        (opened,) = column(
            connection,
            world.fill("SELECT auth.open_session({player}, sha256('t'), now() + interval '1 hour', '192.0.2.1', 'ua')"),
        )
        assert row(connection, "SELECT * FROM auth.resume_session(sha256('t'))") == (opened, world["player"])
        assert row(connection, "SELECT last_login_at = now() FROM auth.users") == (True,)
        connection.execute("UPDATE auth.sessions SET revoked_at = now()")
        assert row(connection, "SELECT * FROM auth.resume_session(sha256('t'))") is None


def test_a_revoked_session_stays_revoked(world: World) -> None:
    with world.acting("player") as connection:
        assert connection.execute("UPDATE auth.sessions SET revoked_at = now()").rowcount == 1
        assert connection.execute("UPDATE auth.sessions SET revoked_at = NULL").rowcount == 0


def test_no_session_is_resumed_that_ended_or_whose_user_is_inactive(world: World) -> None:
    with world.as_superuser() as connection:
        connection.execute(
            "UPDATE auth.sessions SET created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
            " WHERE user_id = %s",
            (world["player"],),
        )
        for who, found in (("player", 0), ("idle", 0), ("owner", 1)):
            question = f"SELECT count(*) FROM auth.resume_session(sha256('session of {who}'))"
            assert column(connection, question) == [found], who


def test_a_provider_account_leads_to_its_active_user(world: World) -> None:
    with world.acting(None) as connection:
        for who, found in (("player", world["player"]), ("idle", None), ("nobody", None)):
            question = f"SELECT auth.find_oauth_login('google', 'google of {who}')"
            assert column(connection, question) == [found]
        assert column(connection, "SELECT auth.find_oauth_login('discord', 'google of player')") == [None]


def test_members_are_shown_to_who_may_read_the_campaign(world: World) -> None:
    members = {"master", "player", "spectator", "idle"}
    for who in (*people.PEOPLE, None):
        expected = members if who not in {"lapsed", "left", "idle", "stranger", "outsider", None} else set()
        with world.acting(who) as connection:
            assert set(column(connection, world.fill("SELECT username FROM game.members({ours})"))) == expected, who


def test_leaving_ends_ones_own_part_and_no_other(world: World) -> None:
    with world.acting("player") as connection:
        connection.execute(world.fill("SELECT game.leave_campaign({ours}), game.leave_campaign({theirs})").encode())
        assert column(connection, "SELECT count(*) FROM game.chat_history") == [0]
        people.identify(connection, world.token("owner"))
        left = column(connection, "SELECT user_id FROM game.campaign_participants WHERE left_at IS NOT NULL ORDER BY 1")
        assert set(left) == {world["player"], world["left"]}


def test_a_character_is_named_by_its_player_alone(world: World) -> None:
    with world.acting("player") as connection:
        connection.execute(world.fill("SELECT game.set_character({ours}, 'Brunhild')").encode())
        named = column(connection, "SELECT user_id FROM game.campaign_participants WHERE character_name = 'Brunhild'")
        assert named == [world["player"]]


def test_a_campaign_is_given_away_by_its_owner_and_then_it_is_gone(world: World) -> None:
    with world.acting("owner") as connection:
        connection.execute(world.fill("SELECT game.transfer_campaign({ours}, {stranger})").encode())
        assert column(connection, "SELECT count(*) FROM game.campaigns") == [0]
        with pytest.raises(DENIED), connection.transaction():
            connection.execute(world.fill("SELECT game.transfer_campaign({ours}, {owner})").encode())
        people.identify(connection, world.token("stranger"))
        assert column(connection, "SELECT name FROM game.campaigns") == [people.OURS]


def test_the_game_answers_where_its_user_may_write(world: World) -> None:
    with world.acting("player") as connection:
        (made,) = column(connection, world.fill("SELECT game.post_reply({ours}, 'assistant', 'Roll!', '{{\"a\": 1}}')"))
        assert row(
            connection, f"SELECT user_id, role, content, metadata FROM game.chat_history WHERE message_id = {made}"
        ) == (None, "assistant", "Roll!", {"a": 1})


def test_search_pages_through_all_hits_once(world: World) -> None:
    with world.acting("player") as connection:
        connection.execute(
            world.fill(
                "SELECT game.post_reply({ours}, 'assistant', 'dragon ' || n) FROM generate_series(1, 30) n"
            ).encode()
        )
        found: list[int] = []
        after: tuple[object, object] = (None, None)
        while True:
            page = connection.execute(
                "SELECT message_id, rank FROM game.search_messages("
                "%s, 'drag', prefix => true, page_size => 7, after_rank => %s::real, after_id => %s)",
                (world[people.OURS], *after),
            ).fetchall()
            if not page:
                break
            found += [message for message, _ in page]
            after = (page[-1][1], page[-1][0])
        assert len(found) == len(set(found)) == 33


@pytest.mark.parametrize(
    "query", ["", "   ", "!!!", "'", "a:*", "\\", "dragon & | !", '"dragon', "-dragon", "@", "<->"]
)
@pytest.mark.parametrize("prefix", [False, True])
def test_no_query_breaks_the_search_or_leaves_the_campaign(world: World, query: str, prefix: bool) -> None:
    with world.acting("player") as connection:
        connection.add_notice_handler(lambda notice: None)
        rows = connection.execute(
            "SELECT content_snippet FROM game.search_messages(%s, %s, prefix => %s)",
            (world[people.OURS], query, prefix),
        ).fetchall()
        assert not any("vault" in snippet for (snippet,) in rows)


@pytest.mark.parametrize("language", ["klingon", "", "english'); DROP TABLE auth.users; --", 'english"', "a.b"])
def test_an_unknown_language_is_an_error_and_no_sql(world: World, language: str) -> None:
    with world.acting("player") as connection, pytest.raises((errors.UndefinedObject, errors.SyntaxError)):
        connection.execute("SELECT * FROM game.search_messages(%s, 'x', %s)", (world[people.OURS], language))


def test_the_log_says_who_signed_in_who_failed_and_who_registered(world: World) -> None:
    with world.database.connect("gaia_app") as connection, world.database.connect("gaia_auditor") as auditor:
        with connection.transaction():
            (moment,) = column(connection, "SELECT now()")
            connection.execute("SELECT auth.record_failed_login('Player', '192.0.2.7', 'curl')")
            connection.execute("SELECT auth.record_failed_login('nobody')")
            (made,) = column(connection, "SELECT auth.register('bea', 'bea@example.com', NULL)")
            people.identify(connection, people.token(made))
            (opened,) = column(
                connection,
                f"SELECT auth.open_session('{made}', sha256('b'), now() + interval '1 hour', '192.0.2.9', 'ua')",
            )
        written = auditor.execute(
            "SELECT event_type, user_id, host(ip), user_agent, source, details FROM audit.security_events"
            " WHERE created_at = %s ORDER BY event_type, ip",
            (moment,),
        ).fetchall()
    assert written == [
        (
            "login_failed", None, "192.0.2.7", "curl", "database",
            {"attempted": "Player", "subject": str(world["player"]), "login": "gaia_app"},
        ),
        ("login_failed", None, None, None, "database", {"attempted": "nobody", "subject": None, "login": "gaia_app"}),
        ("login_succeeded", made, "192.0.2.9", "ua", "database", {"session": str(opened), "login": "gaia_app"}),
        ("user_registered", None, None, None, "database", {"subject": str(made), "login": "gaia_app"}),
    ]  # fmt: skip


def test_the_log_says_who_was_given_what(server: Server, template: Database) -> None:
    steps = (
        "INSERT INTO auth.access_control (user_id, resource_type, resource_id, permission_level, granted_by)"
        " VALUES ({stranger}, 'campaign', {ours}, 'read', {owner})",
        "UPDATE auth.access_control SET permission_level = 'write' WHERE user_id = {stranger}",
        "DELETE FROM auth.access_control WHERE user_id = {stranger}",
        "SELECT game.transfer_campaign({ours}, {master})",
    )
    with people.made(server, template) as world, world.database.connect("gaia_app") as connection:
        with connection.transaction():
            people.identify(connection, world.token("owner"))
            for step in steps:
                connection.execute(world.fill(step).encode())
            (moment,) = column(connection, "SELECT now()")
        with world.database.connect("gaia_auditor") as auditor:
            written = auditor.execute(
                "SELECT event_type, source, user_id, details->'after'->>'permission_level', details->>'login'"
                " FROM audit.security_events WHERE created_at = %s ORDER BY event_type",
                (moment,),
            ).fetchall()
            given = column(
                auditor,
                "SELECT details->>'after' FROM audit.security_events WHERE event_type = 'campaign_owner_changed'",
            )
    assert written == [
        ("campaign_owner_changed", "database", world["owner"], None, "gaia_app"),
        ("permission_changed", "database", world["owner"], "write", "gaia_app"),
        ("permission_granted", "database", world["owner"], "read", "gaia_app"),
        ("permission_revoked", "database", world["owner"], None, "gaia_app"),
    ]
    assert given == [str(world["master"])]


def test_the_log_says_who_became_administrator_and_who_no_longer_is(world: World) -> None:
    with world.as_superuser() as connection:
        connection.execute(
            "UPDATE auth.users SET is_admin = NOT is_admin WHERE username IN ('player', 'administrator')"
        )
        connection.execute("INSERT INTO auth.users (username, email, is_admin) VALUES ('new', 'new@example.com', true)")
        connection.execute("UPDATE auth.users SET is_admin = is_admin")
        assert sorted((kind, details["after"], source) for kind, _, details, *_, source in events(connection)) == [
            ("admin_changed", False, "database"),
            ("admin_changed", True, "database"),
            ("admin_changed", True, "database"),
        ]


def test_deleting_a_user_ends_the_grants_and_the_log_says_so(world: World) -> None:
    with world.as_superuser() as connection:
        connection.execute("DELETE FROM auth.users WHERE username = 'manager'")
        assert [kind for kind, *_ in events(connection)] == ["permission_revoked"]


def test_grants_end_with_their_campaign(world: World) -> None:
    with world.acting("owner") as connection:
        connection.execute("DELETE FROM game.campaigns")
        people.identify(connection, world.token("manager"))
        assert column(connection, "SELECT count(*) FROM auth.access_control") == [0]
        assert column(connection, "SELECT game.my_campaigns('read')") == [[]]
