"""What an injected SELECT could leave behind on a connection of the package's pool, for the next one who gets it."""

import asyncio
from collections.abc import Iterator

import pytest

from db.manager import DatabaseManager
from db.settings import from_environment
from tests.integration import people
from tests.integration.people import World
from tests.postgres import IDENTITY_KEY, Database, Server

pytestmark = pytest.mark.postgres

INJECTED = {
    "app.identity": "{token}",
    "row_security": "off",
    "search_path": "mine",
    "default_transaction_read_only": "on",
    "statement_timeout": "1",
    "standard_conforming_strings": "off",
}
"""Each can be set for the session from within a SELECT."""
OWN_CAMPAIGNS = "SELECT name FROM game.campaigns"


@pytest.fixture(scope="module")
def world(server: Server, template: Database) -> Iterator[World]:
    with people.made(server, template) as made:
        yield made


@pytest.fixture
def manager(world: World) -> Iterator[DatabaseManager]:
    environment = {
        "DATABASE_URL": world.database.url_as("gaia_app"),
        "GAIA_IDENTITY_KEY": IDENTITY_KEY,
        "DATABASE_POOL_SIZE": "1",
        "DATABASE_SYNC_POOL_SIZE": "1",
    }
    made = DatabaseManager(from_environment(environment))
    yield made
    made.close()


def leave(world: World, setting: str) -> str:
    value = INJECTED[setting].format(token=world.token("player"))
    return f"SELECT set_config('{setting}', '{value}', false)"


@pytest.mark.parametrize("setting", INJECTED)
def test_the_next_session_of_a_sync_pool_finds_nothing_of_it(
    world: World, manager: DatabaseManager, setting: str
) -> None:
    with manager.get_sync_session() as session:
        usual = session.execute(f"SELECT current_setting('{setting}', true)").scalar() or ""
    with manager.get_sync_session(world["player"]) as session:
        session.execute(leave(world, setting))
        session.commit()
    with manager.get_sync_session() as session:
        assert (session.execute(f"SELECT current_setting('{setting}', true)").scalar() or "") == usual
        assert list(session.scalars(OWN_CAMPAIGNS)) == []


@pytest.mark.parametrize("setting", INJECTED)
def test_the_next_session_of_an_async_pool_finds_nothing_of_it(
    world: World, manager: DatabaseManager, setting: str
) -> None:
    async def run() -> tuple[str, str, list[str]]:
        question = f"SELECT current_setting('{setting}', true)"
        try:
            async with manager.get_async_session() as session:
                usual = await session.scalar(question) or ""
            async with manager.get_async_session(world["player"]) as session:
                await session.execute(leave(world, setting))
                await session.commit()
            async with manager.get_async_session() as session:
                found = await session.scalar(question) or ""
                return usual, found, list(await session.scalars(OWN_CAMPAIGNS))
        finally:
            await manager.aclose()

    usual, found, campaigns = asyncio.run(run())
    assert (found, campaigns) == (usual, [])


def test_a_bound_session_is_its_own_user_whatever_was_left(world: World, manager: DatabaseManager) -> None:
    with manager.get_sync_session(world["player"]) as session:
        session.execute(leave(world, "app.identity"))
        session.commit()
    with manager.get_sync_session(world["outsider"]) as session:
        assert list(session.scalars(OWN_CAMPAIGNS)) == [people.THEIRS]
