"""The primary or a replica ends: who serves meanwhile, and that pools find the new primary by themselves."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from db import errors
from db.manager import DatabaseManager
from db.sessions import AsyncSession, Session
from tests import postgres
from tests.integration.db_replica import NAME, STANDBY, Pair, eventually, followed
from tests.integration.db_world import ADA, WHO

pytestmark = pytest.mark.postgres

RENAME = "UPDATE game.campaigns SET name = :name"


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two servers that this test may end."""
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with followed() as both:
        made = Pair(*both)
        yield made
        made.close()


def read(manager: DatabaseManager) -> object:
    with manager.get_sync_session(ADA, read_only=True) as session:
        assert session.scalar(WHO) == ADA
        return session.scalar(STANDBY)


async def read_async(manager: DatabaseManager) -> object:
    async with manager.get_async_session(ADA, read_only=True) as session:
        assert await session.scalar(WHO) == ADA
        return await session.scalar(STANDBY)


def test_a_replica_that_ends_between_two_looks_fails_no_read(pair: Pair) -> None:
    manager = pair.reading()

    async def run() -> None:
        await asyncio.to_thread(pair.warm, manager)
        assert await read_async(manager) is True
        await asyncio.to_thread(postgres._stop, pair.standby.folder)
        for _ in range(10):  # the loop hears of it: first what the server says, then that it has hung up
            await asyncio.sleep(0.01)
        assert await read_async(manager) is False
        assert await asyncio.to_thread(read, manager) is False
        assert [one.ok for one in (await manager.check_async()).replicas] == [False]
        await manager.aclose()

    asyncio.run(run())


def write(session: Session) -> object:
    session.execute(RENAME, {"name": "after"})
    return session.scalar(STANDBY)


async def write_async(session: AsyncSession) -> object:
    await session.execute(RENAME, {"name": "after, too"})
    return await session.scalar(STANDBY)


def test_after_a_failover_the_pools_find_the_new_primary(pair: Pair) -> None:
    both = pair.database.url_as("gaia_app").replace("@", f"@127.0.0.1:{pair.standby.port},")  # the standby first
    replicas = ",".join(server.url(NAME, "gaia_app") for server in (pair.primary, pair.standby))
    manager = pair.manager(DATABASE_URL=both, DATABASE_REPLICA_URL=replicas, DATABASE_REPLICA_LAG_MAX_S="60")
    stuck = pair.manager(DATABASE_URL=pair.standby.url(NAME, "gaia_app"))
    assert manager.sync_transaction(write, ADA) is False  # not on the standby, though it was asked first

    async def run() -> None:
        assert await manager.async_transaction(write_async, ADA) is False
        await asyncio.to_thread(pair.warm, manager)
        with pytest.raises(errors.NotPrimary, match="is a standby now, as after a failover"):
            await stuck.async_transaction(write_async, ADA, attempts=2)
        with pytest.raises(errors.NotPrimary):
            await asyncio.to_thread(stuck.sync_transaction, write, ADA, attempts=1)

        await asyncio.to_thread(postgres._stop, pair.primary.folder)
        assert await read_async(manager) is True  # what it shows is less than a minute old
        with pytest.raises(errors.NotPrimary, match=r"no server takes writes.*no connection"):
            async with manager.get_async_session(ADA) as session:
                await write_async(session)

        assert await asyncio.to_thread(pair.at_standby, "SELECT pg_promote()") is True
        assert await manager.async_transaction(write_async, ADA) is False
        assert await asyncio.to_thread(manager.sync_transaction, write, ADA) is False
        assert await stuck.async_transaction(write_async, ADA) is False
        assert await asyncio.to_thread(stuck.sync_transaction, write, ADA) is False
        assert await asyncio.to_thread(eventually, lambda: not any(one.ok for one in manager.check_sync().replicas))
        assert await read_async(manager) is False
        await manager.aclose()
        await stuck.aclose()

    asyncio.run(run())


def test_without_a_primary_reads_end_when_nobody_knows_any_more_how_old_they_are(pair: Pair) -> None:
    manager = pair.reading(DATABASE_REPLICA_LAG_MAX_S="8")
    pair.warm(manager)
    postgres._stop(pair.primary.folder)
    ended = time.monotonic()
    assert read(manager) is True
    time.sleep(max(0, ended + 8.1 - time.monotonic()))
    with pytest.raises(errors.Unreachable):
        read(manager)
