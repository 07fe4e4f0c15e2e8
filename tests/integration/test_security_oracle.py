"""Row-level security against a second opinion: random worlds, random statements, and the rules in plain Python."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from tests.integration import people
from tests.integration.people import Connection, column, identify, token
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres

READ, WRITE, ADMIN = 1, 2, 3
LEVELS = {"read": READ, "write": WRITE, "admin": ADMIN}
BY_ROLE = {"spectator": READ, "player": WRITE, "game_master": ADMIN}


# The world, and the rules.


@dataclasses.dataclass(frozen=True)
class User:
    key: UUID
    admin: bool
    active: bool


@dataclasses.dataclass(frozen=True)
class Participant:
    role: str
    left: bool


@dataclasses.dataclass(frozen=True)
class Grant:
    level: str
    days: int | None
    """Until when, from now; None: for ever."""
    kind: str = "campaign"


@dataclasses.dataclass(frozen=True)
class World:
    users: tuple[User, ...]
    owners: tuple[int, ...]
    """The owner of each campaign, by place."""
    participants: dict[tuple[int, int], Participant]
    """By campaign and user."""
    grants: dict[tuple[int, int], Grant]
    authors: tuple[tuple[int, int | None], ...]
    """The campaign and the sender of each message."""

    def campaign(self, place: int) -> UUID:
        return UUID(int=0xC0 << 120 | place)


@dataclasses.dataclass(frozen=True)
class Rules:
    """What one person may, said without SQL. ``me`` is None for nobody, and for a user who is not active."""

    world: World
    me: int | None

    @property
    def admin(self) -> bool:
        return self.me is not None and self.world.users[self.me].admin

    def level(self, campaign: int) -> int:
        if self.me is None:
            return 0
        levels = [ADMIN] if self.world.owners[campaign] == self.me else []
        part = self.world.participants.get((campaign, self.me))
        if part is not None and not part.left:
            levels.append(BY_ROLE[part.role])
        grant = self.world.grants.get((campaign, self.me))
        if grant is not None and grant.kind == "campaign" and (grant.days is None or grant.days > 0):
            levels.append(LEVELS[grant.level])
        return max(levels, default=0)

    def is_me(self, user: int | None) -> bool:
        return self.me is not None and user == self.me

    def sees_account(self, user: int) -> bool:
        return self.is_me(user) or self.admin

    def sees_campaign(self, campaign: int) -> bool:
        return self.level(campaign) >= READ or self.admin

    def runs_campaign(self, campaign: int) -> bool:
        return self.level(campaign) >= ADMIN or self.admin

    def ends_campaign(self, campaign: int) -> bool:
        return self.is_me(self.world.owners[campaign]) or self.admin

    def staffs(self, campaign: int, user: int) -> bool:
        owns = self.is_me(self.world.owners[campaign])
        return self.runs_campaign(campaign) and (owns or not self.is_me(user))

    def sees_grant(self, campaign: int, user: int) -> bool:
        on_campaign = self.world.grants[campaign, user].kind == "campaign"
        return self.is_me(user) or self.admin or (on_campaign and self.level(campaign) >= ADMIN)

    def grants(self, campaign: int, user: int, kind: str, by: int) -> bool:
        return kind == "campaign" and self.runs_campaign(campaign) and not self.is_me(user) and self.is_me(by)

    def changes_grant(self, campaign: int, user: int) -> bool:
        on_campaign = self.world.grants[campaign, user].kind == "campaign"
        return on_campaign and self.runs_campaign(campaign) and not self.is_me(user)

    def says(self, campaign: int, sender: int | None, role: str) -> bool:
        return self.level(campaign) >= WRITE and self.is_me(sender) and role == "user"

    def rewrites(self, campaign: int, sender: int | None) -> bool:
        return self.level(campaign) >= WRITE and self.is_me(sender)

    def unsays(self, campaign: int, sender: int | None) -> bool:
        return self.rewrites(campaign, sender) or self.runs_campaign(campaign)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    people = draw(st.integers(2, 5))
    users = tuple(
        User(key=UUID(int=0xA0 << 120 | place), admin=draw(st.sampled_from([False] * 4 + [True])),
             active=draw(st.sampled_from([True] * 5 + [False])))
        for place in range(people)
    )  # fmt: skip
    person = st.integers(0, people - 1)
    owners = tuple(draw(st.lists(person, min_size=1, max_size=3)))
    pair = st.tuples(st.integers(0, len(owners) - 1), person)
    part = st.builds(Participant, st.sampled_from(sorted(BY_ROLE)), st.sampled_from([False, False, True]))
    grant = st.builds(
        Grant,
        st.sampled_from(sorted(LEVELS)),
        st.sampled_from([None, 1, 30, -1]),
        st.sampled_from(["campaign"] * 4 + ["server"]),
    )
    return World(
        users=users,
        owners=owners,
        participants=draw(st.dictionaries(pair, part, max_size=6)),
        grants=draw(st.dictionaries(pair, grant, max_size=6)),
        authors=tuple(draw(st.lists(st.tuples(pair, st.booleans()), min_size=1, max_size=6).map(_authors))),
    )


def _authors(drawn: list[tuple[tuple[int, int], bool]]) -> list[tuple[int, int | None]]:
    return [(campaign, user if by_somebody else None) for (campaign, user), by_somebody in drawn]


def build(connection: Connection, world: World) -> list[int]:
    """Make the database this world; returns the keys of the messages."""
    now = dt.datetime.now(dt.UTC)
    with connection.transaction(), connection.cursor() as cursor:
        for table in ("auth.access_control", "game.campaigns", "auth.users"):
            cursor.execute(f"DELETE FROM {table}".encode())
        cursor.executemany(
            "INSERT INTO auth.users (user_id, username, email, is_admin, is_active) VALUES (%s, %s, %s, %s, %s)",
            [(u.key, f"u{n}", f"u{n}@example.com", u.admin, u.active) for n, u in enumerate(world.users)],
        )
        cursor.executemany(
            "INSERT INTO auth.sessions (user_id, token_hash, expires_at) VALUES (%s, sha256(%s), 'infinity')",
            [(u.key, u.key.bytes) for u in world.users],
        )
        cursor.executemany(
            "INSERT INTO auth.oauth_accounts (user_id, provider, provider_account_id) VALUES (%s, 'google', %s)",
            [(u.key, str(u.key)) for u in world.users],
        )
        cursor.executemany(
            "INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES (%s, %s, 'c')",
            [(world.campaign(n), world.users[owner].key) for n, owner in enumerate(world.owners)],
        )
        cursor.executemany(
            "INSERT INTO game.campaign_participants (campaign_id, user_id, role, left_at) VALUES (%s, %s, %s, %s)",
            [
                (world.campaign(c), world.users[u].key, part.role, now + dt.timedelta(hours=1) if part.left else None)
                for (c, u), part in world.participants.items()
            ],
        )
        cursor.executemany(
            "INSERT INTO auth.access_control"
            " (user_id, resource_type, resource_id, permission_level, created_at, expires_at)"
            " VALUES (%s, %s, %s, %s, now() - interval '99 days', %s)",
            [
                (world.users[u].key, g.kind, world.campaign(c), g.level, g.days and now + dt.timedelta(days=g.days))
                for (c, u), g in world.grants.items()
            ],
        )
        return [
            cursor.execute(
                "INSERT INTO game.chat_history (campaign_id, user_id, role, content)"
                " VALUES (%s, %s, %s, 'a dragon') RETURNING message_id",
                (
                    world.campaign(c),
                    None if sender is None else world.users[sender].key,
                    "system" if sender is None else "user",
                ),
            ).fetchone()[0]  # pyright: ignore[reportOptionalSubscript]
            for c, sender in world.authors
        ]


# What the database does, and what the rules say.


@contextlib.contextmanager
def undone(connection: Connection) -> Iterator[None]:
    """Back to the savepoint of :func:`compare` afterwards: half as many round trips as a savepoint each time."""
    try:
        yield
    finally:
        connection.execute("ROLLBACK TO untouched")


def keys(rows: list[tuple[Any, ...]]) -> set[Any]:
    """Rows as keys: a single column stands for itself."""
    return {row if len(row) > 1 else next(iter(row)) for row in rows}


def touched(connection: Connection, statement: str) -> set[Any]:
    """The keys that a statement returns; it is undone. Without RETURNING it must touch as many."""
    table = statement.removeprefix("DELETE FROM ").removeprefix("UPDATE ").split()[0]
    with undone(connection):
        found = keys(connection.execute(f"{statement} RETURNING {KEYS[table]}".encode()).fetchall())
    with undone(connection):
        assert connection.execute(statement.encode()).rowcount == len(found), statement
    return found


KEYS = {
    "auth.users": "user_id",
    "auth.sessions": "user_id",
    "auth.oauth_accounts": "user_id",
    "auth.access_control": "resource_id, user_id",
    "game.campaigns": "campaign_id",
    "game.campaign_participants": "campaign_id, user_id",
    "game.chat_history": "message_id",
}
CHANGES = {
    "auth.users": "email_verified_at = now()",
    "auth.sessions": "last_seen_at = now()",
    "auth.oauth_accounts": "email = 'x'",
    "auth.access_control": "permission_level = 'read'",
    "game.campaigns": "name = 'x'",
    "game.campaign_participants": "character_name = 'x'",
    "game.chat_history": "content = 'x'",
}


def seen(connection: Connection, table: str) -> set[Any]:
    rows = connection.execute(f"SELECT {KEYS[table]} FROM {table}".encode()).fetchall()
    assert column(connection, f"SELECT count(*) FROM {table}") == [len(rows)]
    return keys(rows)


def compare_reads_and_changes(connection: Connection, world: World, rules: Rules, messages: list[int]) -> None:
    users = range(len(world.users))
    campaigns = range(len(world.owners))
    key = [user.key for user in world.users]
    place = world.campaign
    said = list(zip(messages, world.authors, strict=True))

    accounts = {key[u] for u in users if rules.sees_account(u)}
    mine = {key[u] for u in users if rules.is_me(u)}
    for table in ("auth.users", "auth.sessions", "auth.oauth_accounts"):
        assert seen(connection, table) == accounts, table
        assert touched(connection, f"UPDATE {table} SET {CHANGES[table]}") == mine, table
    for table in ("auth.sessions", "auth.oauth_accounts"):
        assert touched(connection, f"DELETE FROM {table}") == mine, table
    if rules.me in world.owners:
        with pytest.raises(errors.ForeignKeyViolation), undone(connection):
            connection.execute("DELETE FROM auth.users")
    else:
        assert touched(connection, "DELETE FROM auth.users") == mine

    expected = {
        "auth.access_control": (
            {(place(c), key[u]) for c, u in world.grants if rules.sees_grant(c, u)},
            {(place(c), key[u]) for c, u in world.grants if rules.changes_grant(c, u)},
            {(place(c), key[u]) for c, u in world.grants if rules.changes_grant(c, u)},
        ),
        "game.campaigns": (
            {place(c) for c in campaigns if rules.sees_campaign(c)},
            {place(c) for c in campaigns if rules.runs_campaign(c)},
            {place(c) for c in campaigns if rules.ends_campaign(c)},
        ),
        "game.campaign_participants": (
            {(place(c), key[u]) for c, u in world.participants if rules.sees_campaign(c)},
            {(place(c), key[u]) for c, u in world.participants if rules.staffs(c, u)},
            {(place(c), key[u]) for c, u in world.participants if rules.staffs(c, u)},
        ),
        "game.chat_history": (
            {m for m, (c, _) in said if rules.sees_campaign(c)},
            {m for m, (c, sender) in said if rules.rewrites(c, sender)},
            {m for m, (c, sender) in said if rules.unsays(c, sender)},
        ),
    }
    for table, (reads, updates, deletes) in expected.items():
        assert seen(connection, table) == reads, table
        assert touched(connection, f"UPDATE {table} SET {CHANGES[table]}") == updates, table
        assert touched(connection, f"DELETE FROM {table}") == deletes, table


def goes_in(connection: Connection, table: str, **values: object) -> bool:
    names = ", ".join(values)
    holes = ", ".join(["%s"] * len(values))
    try:
        with undone(connection):
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({holes})".encode(), list(values.values()))
    except errors.InsufficientPrivilege:
        return False
    return True


def compare_inserts(connection: Connection, world: World, rules: Rules) -> None:
    key = [user.key for user in world.users]
    for u in range(len(world.users)):
        assert goes_in(connection, "game.campaigns", owner_id=key[u], name="x") == rules.is_me(u)
        account = {"user_id": key[u], "provider": "a", "provider_account_id": "b"}
        assert goes_in(connection, "auth.oauth_accounts", **account) == rules.is_me(u)
        assert goes_in(connection, "audit.security_events", event_type="x", user_id=key[u]) == rules.is_me(u)
        for c in range(len(world.owners)):
            for role in ("user", "assistant"):
                message = {"campaign_id": world.campaign(c), "user_id": key[u], "role": role, "content": "x"}
                assert goes_in(connection, "game.chat_history", **message) == rules.says(c, u, role)
            if (c, u) not in world.participants:
                part = {"campaign_id": world.campaign(c), "user_id": key[u], "role": "game_master"}
                assert goes_in(connection, "game.campaign_participants", **part) == rules.staffs(c, u)
            if (c, u) not in world.grants:
                for kind in ("campaign", "server"):
                    by = rules.me if rules.me is not None else u
                    grant = {
                        "user_id": key[u],
                        "resource_type": kind,
                        "resource_id": world.campaign(c),
                        "permission_level": "admin",
                        "granted_by": key[by],
                    }
                    assert goes_in(connection, "auth.access_control", **grant) == rules.grants(c, u, kind, by)


def allowed(connection: Connection, call: str, parameters: tuple[object, ...]) -> bool:
    try:
        with undone(connection):
            connection.execute(f"SELECT {call}".encode(), parameters)
    except errors.InsufficientPrivilege:
        return False
    return True


def compare_functions(connection: Connection, world: World, rules: Rules, messages: list[int]) -> None:
    for name, level in LEVELS.items():
        (mine,) = column(connection, "SELECT game.my_campaigns(%s)", (name,))
        assert set(mine) == {world.campaign(c) for c in range(len(world.owners)) if rules.level(c) >= level}
        assert len(mine) == len(set(mine))
    for c in range(len(world.owners)):
        campaign = world.campaign(c)
        members = {world.users[u].key for (at, u), part in world.participants.items() if at == c and not part.left}
        found = column(connection, "SELECT user_id FROM game.members(%s)", (campaign,))
        assert set(found) == (members if rules.sees_campaign(c) else set())
        hits = column(connection, "SELECT message_id FROM game.search_messages(%s, 'dragons')", (campaign,))
        here = {m for m, (at, _) in zip(messages, world.authors, strict=True) if at == c}
        assert set(hits) == (here if rules.sees_campaign(c) else set())
        answer = "game.post_reply(%s, 'assistant', 'x')"
        assert allowed(connection, answer, (campaign,)) == (rules.level(c) >= WRITE)
        give = "game.transfer_campaign(%s, %s)"
        assert allowed(connection, give, (campaign, world.users[0].key)) == rules.ends_campaign(c)


Sessions = dict[str, Connection]
"""One connection of each login, and the superuser's, for as long as the module runs."""


@pytest.fixture(scope="module")
def sessions(server: Server, template: Database) -> Iterator[Sessions]:
    with people.copied(server, template) as database, contextlib.ExitStack() as stack:
        yield {login: stack.enter_context(database.connect(login)) for login in ("gaia", "gaia_app", "gaia_app_b")}


def compare(sessions: Sessions, world: World, login: str) -> None:
    messages = build(sessions["gaia"], world)
    for me in (None, *range(len(world.users))):
        with sessions[login].transaction(force_rollback=True):
            if me is not None:
                identify(sessions[login], token(world.users[me].key))
            sessions[login].execute("SAVEPOINT untouched")
            rules = Rules(world, me if me is not None and world.users[me].active else None)
            compare_reads_and_changes(sessions[login], world, rules, messages)
            compare_inserts(sessions[login], world, rules)
            compare_functions(sessions[login], world, rules, messages)


@settings(
    max_examples=12,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(world=worlds(), login=st.sampled_from(["gaia_app", "gaia_app_b"]))
def test_policies_are_the_rules(sessions: Sessions, world: World, login: str) -> None:
    compare(sessions, world, login)


EVERYTHING = World(
    users=tuple(User(key=UUID(int=0xA0 << 120 | n), admin=n == 4, active=n != 5) for n in range(6)),
    owners=(0, 1),
    participants={
        (0, 1): Participant("game_master", left=False),
        (0, 2): Participant("spectator", left=False),
        (0, 3): Participant("player", left=True),
        (0, 5): Participant("game_master", left=False),
        (1, 0): Participant("player", left=False),
    },
    grants={(1, 2): Grant("read", 1), (1, 3): Grant("admin", -1), (0, 3): Grant("write", None, "server")},
    authors=((0, 0), (0, 2), (0, None), (1, 0), (1, 1), (1, 5)),
)

SLIPS = {
    "who has left still takes part": ("game.my_campaigns", "AND p.left_at IS NULL", ""),
    "a grant never ends": ("game.my_campaigns", "a.expires_at > statement_timestamp()", "true"),
    "a grant on anything counts": ("game.my_campaigns", "AND a.resource_type = 'campaign'", ""),
    "a spectator writes": ("game.my_campaigns", "WHEN 'player' THEN 2 ELSE 1 END", "ELSE 2 END"),
    "the inactive are somebody": ("auth.current_user_id", "AND is_active", ""),
    "everybody administers": ("auth.is_admin", "AND is_admin", ""),
    "anybody gives a campaign away": ("game.transfer_campaign", "owner_id = auth.current_user_id() OR", "true OR"),
    "search asks nobody": ("game.search_messages", "NOT game.may(campaign, 'read')", "false"),
}
"""What a later revision could get wrong in a function: the comparison must notice."""


def test_one_world_has_everything(sessions: Sessions) -> None:
    compare(sessions, EVERYTHING, "gaia_app_b")


@pytest.mark.parametrize("slip", SLIPS)
def test_the_comparison_notices_a_slip(sessions: Sessions, slip: str) -> None:
    function, right, wrong = SLIPS[slip]
    (source,) = column(sessions["gaia"], "SELECT pg_get_functiondef(%s::regproc)", (function,))
    assert right in source
    try:
        sessions["gaia"].execute(source.replace(right, wrong).encode())
        with pytest.raises(AssertionError):
            compare(sessions, EVERYTHING, "gaia_app")
    finally:
        sessions["gaia"].execute(source.encode())
