"""Engines come with the first session and go with their loop, process or close(): no connection is left behind."""

import asyncio
import gc
import multiprocessing
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from db.manager import DatabaseManager
from tests import postgres
from tests.integration.db_world import ADA, BOB, VISIBLE, World, people, world

pytestmark = pytest.mark.postgres
__all__ = ["people", "world"]


async def one_read(manager: DatabaseManager) -> list[str]:
    async with manager.get_async_session(ADA) as session:
        return list(await session.scalars(VISIBLE))


def sync_read(manager: DatabaseManager) -> list[str]:
    with manager.get_sync_session(ADA) as session:
        return list(session.scalars(VISIBLE))


def gone(world: World) -> bool:
    """Whether the server has no connection of ours; it may take a moment to see that we hung up."""
    for _ in range(50):
        if not world.connections():
            return True
        time.sleep(0.02)
    return False


def test_a_socket_of_cloud_run_is_a_host(world: World) -> None:
    folder = Path(tempfile.mkdtemp(prefix="gaia-socket-"))
    place = folder / "project:region:instance"
    place.mkdir()
    for path in (folder, place):
        path.chmod(0o777)
    try:
        with postgres.running(unix_socket_directories=str(place)) as server:
            login = f"gaia:{server.password}"
            url = f"postgresql://{login}@/postgres?host={place}&port={server.port}"
            manager = world.manager(DATABASE_URL=url)

            async def run() -> str:
                async with manager.get_async_session() as session:
                    return str(await session.scalar("SELECT coalesce(inet_server_addr()::text, 'socket')"))

            assert asyncio.run(run()) == "socket"
            with manager.get_sync_session() as session:
                assert session.scalar("SELECT inet_server_addr()") is None
            manager.close()
    finally:
        shutil.rmtree(folder)


def test_nothing_is_connected_before_the_first_session(world: World) -> None:
    manager = world.manager()
    assert world.connections() == []
    assert sync_read(manager) == ["ada"]
    assert len(world.connections()) == 1


def test_each_event_loop_has_its_own_connections_which_end_with_it(world: World) -> None:
    manager = world.manager()
    for _ in range(3):
        assert asyncio.run(one_read(manager)) == ["ada"]
        assert gone(world)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # asyncio's, about this very loop
def test_a_loop_that_is_closed_with_connections_open_is_hung_up_by_the_next(world: World) -> None:
    manager = world.manager()
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(one_read(manager)) == ["ada"]
    loop.close()
    assert len(world.connections()) == 1
    assert asyncio.run(one_read(manager)) == ["ada"]
    assert gone(world)
    del loop
    gc.collect()


def test_loops_of_several_threads_use_it_at_once(world: World) -> None:
    manager = world.manager()
    with ThreadPoolExecutor(4) as threads:
        reads = [threads.submit(asyncio.run, one_read(manager)) for _ in range(8)]
        assert [read.result() for read in reads] == [["ada"]] * 8
        syncs = [threads.submit(sync_read, manager) for _ in range(8)]
        assert [read.result() for read in syncs] == [["ada"]] * 8
    manager.close()
    assert gone(world)


def test_aclose_leaves_no_connection_not_even_those_in_use_and_it_can_be_used_again(world: World) -> None:
    manager = world.manager()

    async def run() -> None:
        assert await asyncio.to_thread(sync_read, manager) == ["ada"]
        stray = await manager.get_async_session(ADA).__aenter__()
        await stray.execute("SELECT 1")
        await manager.aclose()
        assert await asyncio.to_thread(gone, world)
        await stray.invalidate()
        assert await one_read(manager) == ["ada"]
        await manager.aclose()
        assert await asyncio.to_thread(gone, world)

    asyncio.run(run())


def test_close_ends_what_a_loop_in_another_thread_has_open(world: World) -> None:
    manager, loop = world.manager(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert asyncio.run_coroutine_threadsafe(one_read(manager), loop).result(10) == ["ada"]
    sync_read(manager)
    assert len(world.connections()) == 2
    manager.close()
    assert gone(world)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_close_ends_what_a_loop_that_stands_still_has_open(world: World) -> None:
    manager, loop = world.manager(), asyncio.new_event_loop()
    assert loop.run_until_complete(one_read(manager)) == ["ada"]
    manager.close()
    assert gone(world)
    loop.close()


def test_a_loop_that_is_used_again_after_close_leaves_nothing_when_it_ends(world: World) -> None:
    manager, loop = world.manager(), asyncio.new_event_loop()
    for _ in range(2):
        assert loop.run_until_complete(one_read(manager)) == ["ada"]
        manager.close()
        assert gone(world)
    assert loop.run_until_complete(one_read(manager)) == ["ada"]
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    manager.close()
    assert gone(world)


def in_child(manager: DatabaseManager, results: "multiprocessing.SimpleQueue[object]") -> None:
    results.put((sync_read(manager), asyncio.run(one_read(manager))))
    manager.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_takes_no_connection_along(world: World) -> None:
    manager = world.manager()
    with manager.get_sync_session(BOB) as session:
        assert list(session.scalars(VISIBLE)) == ["bob"]
    before = world.connections()
    context = multiprocessing.get_context("fork")
    results: multiprocessing.SimpleQueue[object] = context.SimpleQueue()
    child = context.Process(target=in_child, args=(manager, results))
    child.start()
    child.join(30)
    assert child.exitcode == 0 and results.get() == (["ada"], ["ada"])
    assert world.connections() == before  # the parent's, still good
    assert sync_read(manager) == ["ada"]
    assert world.connections() == before
