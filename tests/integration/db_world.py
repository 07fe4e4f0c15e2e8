"""A migrated database with two people in it, each with a campaign of their own, as the tests of `db` need it."""

from collections.abc import Iterator, Mapping
from uuid import UUID

import pytest

from db.manager import DatabaseManager
from db.settings import from_environment
from tests.postgres import IDENTITY_KEY, Database, Server

ADA, BOB, NOBODY = UUID(int=0xA), UUID(int=0xB), UUID(int=0xF)
HERS, HIS = UUID(int=0xCA), UUID(int=0xCB)
"""The campaigns."""

FILL = f"""
INSERT INTO auth.users (user_id, username, email) VALUES ('{ADA}', 'ada', 'ada@gaia.local'), ('{BOB}', 'bob', 'b@x.y');
INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES ('{HERS}', '{ADA}', 'Dawn'), ('{HIS}', '{BOB}', 'Dusk');
"""
WHO = "SELECT auth.current_user_id()"
VISIBLE = "SELECT username FROM auth.users ORDER BY username"


class World:
    """The database, and managers that are closed when the test is over."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._made: list[DatabaseManager] = []

    def environment(self, user: str = "gaia_app", **more: str) -> Mapping[str, str]:
        """What a process needs to connect as `user`."""
        return {"DATABASE_URL": self.database.url_as(user), "GAIA_IDENTITY_KEY": IDENTITY_KEY, **more}

    def manager(self, user: str = "gaia_app", **more: str) -> DatabaseManager:
        """A manager of its own; `more` are variables of the environment."""
        made = DatabaseManager(from_environment(self.environment(user, **more)))
        self._made.append(made)
        return made

    def connections(self, name: str = "gaia-backend") -> list[int]:
        """The server's processes that serve `name`."""
        with self.database.connect() as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = %s",
                (name, self.database.name),
            ).fetchall()
        return [int(str(pid)) for (pid,) in rows]

    def end_connections(self) -> None:
        """End them, as a restart of the server would."""
        with self.database.connect() as connection:
            for pid in self.connections():
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    def close(self) -> None:
        """Close every manager."""
        for made in self._made:
            made.close()


@pytest.fixture(scope="module")
def people(server: Server, template: Database) -> Iterator[Database]:
    """The database; made once for a module."""
    database = server.create("gaia_people", template=template.name)
    with database.connect() as connection:
        connection.execute(FILL.encode())
        for login in ("gaia_app", "gaia_migrator"):
            connection.execute(f"GRANT CONNECT ON DATABASE gaia_people TO {login}".encode())
    yield database
    server.drop("gaia_people")


@pytest.fixture
def world(people: Database) -> Iterator[World]:
    """The database, for one test."""
    made = World(people)
    yield made
    made.close()
