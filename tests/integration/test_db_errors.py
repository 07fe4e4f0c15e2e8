"""What goes wrong on a real server has a name, with both drivers, and a sentence that names the way out."""

import asyncio
import re
import socket
from collections.abc import Callable

import pytest

from db import errors
from db.manager import DatabaseManager
from tests.integration.db_world import ADA, HIS, World, people, world

pytestmark = pytest.mark.postgres
__all__ = ["people", "world"]


def run_async(manager: DatabaseManager, *statements: str) -> None:
    async def run() -> None:
        async with manager.get_async_session(ADA) as session:
            for statement in statements:
                await session.execute(statement)

    asyncio.run(run())


def run_sync(manager: DatabaseManager, *statements: str) -> None:
    with manager.get_sync_session(ADA) as session:
        for statement in statements:
            session.execute(statement)


Run = Callable[..., None]
both = pytest.mark.parametrize("run", [run_async, run_sync])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@both
def test_a_server_that_is_not_there(world: World, run: Run) -> None:
    url = f"postgresql://gaia_app:hush-hush@127.0.0.1:{free_port()}/gaia"
    with pytest.raises(errors.Unreachable, match="is the server up") as told:
        run(world.manager(DATABASE_URL=url), "SELECT 1")
    assert "hush" not in str(told.value)


@both
def test_a_socket_that_is_not_there(world: World, run: Run) -> None:
    url = "postgresql://gaia_app:x@/gaia?host=/cloudsql/no:such:instance"
    with pytest.raises(errors.Unreachable, match=r"/cloudsql/no:such:instance \(socket\)"):
        run(world.manager(DATABASE_URL=url), "SELECT 1")


@both
def test_a_wrong_password(world: World, run: Run) -> None:
    with pytest.raises(errors.WrongPassword, match=r"gaia_app at 127\.0\.0\.1") as told:
        run(world.manager(DATABASE_URL=world.database.server.url("gaia_people", "gaia_app", "hush-hush")), "SELECT 1")
    assert "hush" not in str(told.value) + str(told.value.__cause__)


@both
def test_a_database_that_does_not_exist(world: World, run: Run) -> None:
    with pytest.raises(errors.NoSuchDatabase, match="nowhere"):
        run(world.manager(DATABASE_URL=world.database.server.url("nowhere", "gaia_app")), "SELECT 1")


@both
def test_a_login_that_may_not_connect(world: World, run: Run) -> None:
    url = world.database.server.url("gaia_people", "gaia_owner", "x")  # it may not log in at all
    with pytest.raises(errors.LoginRefused):
        run(world.manager(DATABASE_URL=url), "SELECT 1")


@both
def test_a_statement_that_takes_too_long(world: World, run: Run) -> None:
    with pytest.raises(errors.StatementTimeout, match=r"0\.2 s"):
        run(world.manager(DATABASE_STATEMENT_TIMEOUT_S="0.2"), "SELECT pg_sleep(5)")


@both
def test_what_a_grant_or_a_policy_refuses(world: World, run: Run) -> None:
    with pytest.raises(errors.NotAllowed, match="security_events"):
        run(world.manager(), "SELECT * FROM audit.security_events")
    message = (
        f"INSERT INTO game.chat_history (campaign_id, user_id, role, content) VALUES ('{HIS}', '{ADA}', 'user', '')"
    )
    with pytest.raises(errors.NotAllowed, match="row-level security policy"):
        run(world.manager(), message)


@both
def test_a_connection_that_the_server_ends(world: World, run: Run) -> None:
    with pytest.raises(errors.LostConnection, match="run the transaction again"):
        run(world.manager("gaia"), "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1")


@both
def test_a_connection_that_ended_while_nobody_used_it_is_replaced_unseen(world: World, run: Run) -> None:
    manager = world.manager(DATABASE_POOL_SIZE="2")

    async def twice() -> None:
        for _ in range(2):
            async with manager.get_async_session(ADA) as session:
                await session.execute("SELECT 1")
            await asyncio.to_thread(world.end_connections)
            await asyncio.sleep(0.05)

    if run is run_async:
        asyncio.run(twice())
    else:
        for _ in range(2):
            run(manager, "SELECT 1")
            world.end_connections()


def test_a_pool_that_is_empty_says_so(world: World) -> None:
    manager = world.manager(DATABASE_POOL_SIZE="1", DATABASE_SYNC_POOL_SIZE="1", DATABASE_POOL_TIMEOUT_S="0.1")

    async def run() -> None:
        async with manager.get_async_session() as first:
            await first.execute("SELECT 1")
            health = await manager.check_async()
            assert not health.ok and health.pool_in_use == 1 and "DATABASE_POOL_SIZE" in str(health.reason)
            async with manager.get_async_session() as second:
                await second.execute("SELECT 1")

    with pytest.raises(errors.PoolExhausted, match=r"all 1 connections .* within 0\.1 s.* DATABASE_POOL_SIZE"):
        asyncio.run(run())
    with manager.get_sync_session() as first:
        first.execute("SELECT 1")
        with (
            pytest.raises(errors.PoolExhausted, match="DATABASE_SYNC_POOL_SIZE"),
            manager.get_sync_session() as second,
        ):
            second.execute("SELECT 1")


def test_parameters_are_in_no_error(world: World) -> None:
    with pytest.raises(Exception, match="no_such_column") as told, world.manager().get_sync_session() as session:
        session.execute("SELECT no_such_column, CAST(:secret AS text)", {"secret": "hush-hush"})
    assert "hush" not in str(told.value)


def test_health_tells_a_key_that_the_database_does_not_know_and_a_database_without_a_schema(world: World) -> None:
    wrong = world.manager(GAIA_IDENTITY_KEY="0a" * 32)
    url = world.database.server.url("postgres")
    bare = world.manager(DATABASE_URL=url)
    for manager, told in ((wrong, "doesn't know the key .* of GAIA_IDENTITY_KEY"), (bare, "isn't migrated")):
        for health in (asyncio.run(manager.check_async()), manager.check_sync()):
            assert not health.ok and re.search(told, str(health.reason))
            assert "0a0a" not in str(health.reason)
    keyless = world.manager(DATABASE_URL=url, GAIA_IDENTITY_KEY="")
    asks_no_key = world.manager("gaia_migrator")
    for manager in (keyless, asks_no_key):
        assert manager.check_sync().ok and asyncio.run(manager.check_async()).ok


def test_health_says_whether_the_database_answers_and_why_not(world: World) -> None:
    well, ill = world.manager(), world.manager(DATABASE_URL=f"postgresql://u:hush@127.0.0.1:{free_port()}/d")
    for health in (asyncio.run(well.check_async()), well.check_sync()):
        assert health.ok and health.reason is None and health.latency_ms > 0
    for health in (asyncio.run(ill.check_async()), ill.check_sync()):
        assert not health.ok and "no connection" in str(health.reason) and "hush" not in str(health.reason)
