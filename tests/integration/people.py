"""A made-up world for the tests of security: two campaigns, one person for each way of being in one, and signing in."""

import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg

from db.identity import sign
from migrations import roles
from tests.postgres import IDENTITY_KEY, PASSWORDS, SUPERUSER, Database, Server

Connection = psycopg.Connection[tuple[Any, ...]]

SECRET = "the vault of Vexil opens with 4711"
"""What was said in the campaign of the outsider; nobody of the other campaign may learn it."""

OURS, THEIRS = "The Sunken Keep", "The Glass Vault"

ROLES = {"master": "game_master", "player": "player", "spectator": "spectator", "idle": "player", "left": "player"}
GRANTS = {"manager": "admin", "writer": "write", "reader": "read", "lapsed": "admin"}
PEOPLE = ("owner", *ROLES, *GRANTS, "stranger", "outsider", "administrator")
"""All but the last three have, or had, something to do with OURS; the outsider owns THEIRS."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A database with people in it."""

    database: Database
    people: dict[str, UUID]
    campaigns: dict[str, UUID]
    idle: list[tuple[str, Connection]] = dataclasses.field(default_factory=list)
    """Connections by login, kept for the next one who acts: a new one takes a while."""

    def __getitem__(self, name: str) -> UUID:
        """The key of a person or of a campaign."""
        return self.people.get(name) or self.campaigns[name]

    def token(self, name: str, *, seconds: int = 300, key: str = IDENTITY_KEY) -> str:
        """The signed identity of a person, good for ``seconds`` from now."""
        return token(self.people[name], seconds=seconds, key=key)

    @contextlib.contextmanager
    def acting(self, name: str | None, *, login: str = "gaia_app") -> Iterator[Connection]:
        """A transaction of the app's login on behalf of a person (None: of nobody); undone at the end."""
        with self.connection(login) as connection, connection.transaction(force_rollback=True):
            if name is not None:
                identify(connection, self.token(name))
            yield connection

    @contextlib.contextmanager
    def connection(self, login: str) -> Iterator[Connection]:
        """A connection in autocommit mode, which others may have used before."""
        known = next((entry for entry in self.idle if entry[0] == login), None)
        if known is not None:
            self.idle.remove(known)
        connection = known[1] if known else psycopg.connect(self.database.url_as(login), autocommit=True)
        try:
            yield connection
        finally:
            if not connection.closed:
                self.idle.append((login, connection))

    @contextlib.contextmanager
    def as_superuser(self, *, role: str | None = None) -> Iterator[Connection]:
        """A superuser's transaction, for looking behind the curtain; undone at the end."""
        with self.connection(SUPERUSER) as connection, connection.transaction(force_rollback=True):
            if role is not None:
                connection.execute(f"SET LOCAL ROLE {role}".encode())
            yield connection

    def fill(self, sql: str) -> str:
        """``sql`` with ``{player}``, ``{ours}`` and so on as quoted keys, ``{month}`` as this month's suffix."""
        keys = {name: f"'{key}'" for name, key in self.people.items()}
        keys |= {"ours": f"'{self[OURS]}'", "theirs": f"'{self[THEIRS]}'"}
        return sql.format(**keys, month=f"{dt.datetime.now(dt.UTC):%Y_%m}", database=self.database.name)


def token(user_id: UUID, *, seconds: int = 300, key: str = IDENTITY_KEY) -> str:
    """The signed identity of a user, good for ``seconds`` from now."""
    return sign(key, user_id, int(time.time()) + seconds)


def identify(connection: Connection, text: str, *, local: bool = True) -> None:
    """What the backend does at the start of a transaction; the token is a parameter, never part of the text."""
    connection.execute("SELECT set_config('app.identity', %s, %s)", (text, local))


def column(connection: Connection, sql: str, parameters: tuple[object, ...] | None = None) -> list[Any]:
    """The first column of what ``sql`` gives."""
    return [row[0] for row in connection.execute(sql.encode(), parameters).fetchall()]


@contextlib.contextmanager
def copied(server: Server, template: Database) -> Iterator[Database]:
    """A copy of the template for one module; dropped at the end."""
    name = f"copy_{uuid4().hex[:12]}"
    database = server.create(name, template=template.name)
    try:
        roles.apply(database.url, PASSWORDS)  # the grants on the database itself aren't copied
        yield database
    finally:
        server.drop(name)


@contextlib.contextmanager
def made(server: Server, template: Database) -> Iterator[World]:
    """A database of its own with the people in it; dropped at the end."""
    with copied(server, template) as database, settled(database) as world:
        yield world


@contextlib.contextmanager
def settled(database: Database) -> Iterator[World]:
    """The people, moved into a database that is there."""
    people, campaigns = _populate(database)
    world = World(database=database, people=people, campaigns=campaigns)
    try:
        yield world
    finally:
        for _, connection in world.idle:
            connection.close()


def _populate(database: Database) -> tuple[dict[str, UUID], dict[str, UUID]]:
    people = {name: uuid4() for name in PEOPLE}
    campaigns = {OURS: uuid4(), THEIRS: uuid4()}
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO auth.users (user_id, username, email, password_hash, is_admin, is_active)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [
                (key, name, f"{name}@example.com", f"hash of {name}", name == "administrator", name != "idle")
                for name, key in people.items()
            ],
        )
        cursor.executemany(
            "INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES (%s, %s, %s)",
            [(campaigns[OURS], people["owner"], OURS), (campaigns[THEIRS], people["outsider"], THEIRS)],
        )
        cursor.executemany(
            "INSERT INTO game.campaign_participants (campaign_id, user_id, role, left_at)"
            " VALUES (%s, %s, %s, CASE WHEN %s THEN now() END)",
            [(campaigns[OURS], people[name], role, name == "left") for name, role in ROLES.items()],
        )
        cursor.executemany(
            "INSERT INTO auth.access_control"
            " (user_id, resource_type, resource_id, permission_level, granted_by, created_at, expires_at)"
            " VALUES (%s, 'campaign', %s, %s, %s, now() - interval '2 days', now() + %s * interval '1 day')",
            [
                (people[name], campaigns[OURS], level, people["owner"], -1 if name == "lapsed" else 1)
                for name, level in GRANTS.items()
            ],
        )
        cursor.executemany(
            "INSERT INTO game.chat_history (campaign_id, user_id, role, content) VALUES (%s, %s, %s, %s)",
            [
                (campaigns[OURS], people["owner"], "user", "the dragon sleeps below the keep"),
                (campaigns[OURS], people["player"], "user", "I wake the dragon"),
                (campaigns[OURS], None, "assistant", "the dragon is not amused"),
                (campaigns[THEIRS], people["outsider"], "user", f"{SECRET}, says the dragon"),
            ],
        )
        for name, key in people.items():
            cursor.execute(
                "INSERT INTO auth.sessions (user_id, token_hash, expires_at)"
                " VALUES (%s, sha256(convert_to(%s, 'UTF8')), now() + interval '1 hour')",
                (key, f"session of {name}"),
            )
            cursor.execute(
                "INSERT INTO auth.oauth_accounts (user_id, provider, provider_account_id) VALUES (%s, 'google', %s)",
                (key, f"google of {name}"),
            )
        cursor.execute("INSERT INTO audit.security_events (event_type) VALUES ('something')")
        cursor.execute("ANALYZE")
    return people, campaigns
