"""Sessions: the document's snippets, whose eyes a session has, and what it leaves to the next one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from db import errors
from db.identity import sign
from db.manager import DatabaseManager
from db.models import Campaign, User
from db.sessions import BoundSession, Session
from tests.integration.counting import counting
from tests.integration.db_world import ADA, BOB, HERS, HIS, NOBODY, VISIBLE, WHO, World, people, world
from tests.postgres import IDENTITY_KEY

pytestmark = pytest.mark.postgres
__all__ = ["people", "world"]

ONE = {"DATABASE_POOL_SIZE": "1", "DATABASE_SYNC_POOL_SIZE": "1", "DATABASE_POOL_TIMEOUT_S": "0.2"}

# As the product's database document prints them.
SNIPPET = """
# Example: Using the database in your code
from db.src import db_manager

# Async context
async with db_manager.get_async_session() as session:
    result = await session.execute(
        "SELECT * FROM auth.users WHERE email = :email",
        {"email": "admin@gaia.local"}
    )
    user = result.fetchone()

# Sync context (for scripts/migrations)
with db_manager.get_sync_session() as session:
    users = session.execute("SELECT COUNT(*) FROM auth.users")
    print(f"Total users: {users.scalar()}")
"""


def test_the_documents_snippets_run_as_printed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from db.src import db_manager

    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(db_manager, "_settings", None)
    scope: dict[str, object] = {}
    lines = "\n".join(f"    {line}" for line in SNIPPET.splitlines())
    exec(f"async def snippet():\n{lines}\n    return user", scope)
    assert asyncio.run(scope["snippet"]()) is None  # type: ignore[operator]
    db_manager.close()
    assert capsys.readouterr().out == "Total users: 0\n"  # without a user there are no rows
    assert world.connections() == []


def sync_users(manager: DatabaseManager, user: UUID | None) -> list[str]:
    with manager.get_sync_session(user) as session:
        return list(session.scalars(VISIBLE))


async def async_users(manager: DatabaseManager, user: UUID | None) -> list[str]:
    async with manager.get_async_session(user) as session:
        return list(await session.scalars(VISIBLE))


def test_two_users_and_nobody_share_one_connection_and_never_an_identity(world: World) -> None:
    manager = world.manager(**ONE)
    order = [ADA, BOB, None, BOB, NOBODY, ADA, None]
    seen = [["ada"], ["bob"], [], ["bob"], [], ["ada"], []]

    async def run() -> list[list[str]]:
        return [await async_users(manager, user) for user in order]

    assert asyncio.run(run()) == seen
    assert [sync_users(manager, user) for user in order] == seen


def test_an_identity_ends_with_its_transaction_and_comes_with_the_next(world: World) -> None:
    manager = world.manager(**ONE)

    async def run() -> None:
        async with manager.get_async_session(ADA) as session:
            assert await session.scalar(WHO) == ADA
            await session.commit()
            assert await session.scalar(WHO) == ADA
            await session.rollback()
            assert await session.scalar(WHO) == ADA
            raw = (await (await session.connection()).get_raw_connection()).driver_connection
            await session.commit()
            assert raw is not None and await raw.fetchval(WHO) is None

    asyncio.run(run())
    with manager.get_sync_session(ADA) as session:
        assert session.scalar(WHO) == ADA
        session.commit()
        assert session.scalar(WHO) == ADA
        session.rollback()
        assert session.scalar(WHO) == ADA


def test_savepoints_keep_the_identity_whether_they_hold_or_not(world: World) -> None:
    manager = world.manager(**ONE)

    async def run() -> None:
        async with manager.get_async_session(ADA) as session:
            async with session.begin_nested():
                assert await session.scalar(WHO) == ADA
            with pytest.raises(errors.NotAllowed):
                async with session.begin_nested():
                    await session.execute("CREATE TABLE game.mine ()")
            assert await session.scalar(WHO) == ADA
        assert await async_users(manager, None) == []

    asyncio.run(run())
    with manager.get_sync_session(ADA) as session:
        with session.begin_nested():
            assert session.scalar(WHO) == ADA
        with pytest.raises(errors.NotAllowed), session.begin_nested():
            session.execute("CREATE TABLE game.mine ()")
        assert session.scalar(WHO) == ADA
    assert sync_users(manager, None) == []


def test_an_error_a_cancelled_task_and_an_unused_session_leave_nothing_behind(world: World) -> None:
    manager = world.manager(**ONE)

    async def cancelled(first: str = "SELECT 1") -> None:
        async with manager.get_async_session(ADA) as session:
            await session.execute(first)
            await session.execute("SELECT pg_sleep(30)")

    async def run() -> None:
        with pytest.raises(errors.StatementTimeout):
            await cancelled("SET LOCAL statement_timeout = 1")
        assert await async_users(manager, None) == []
        task = asyncio.create_task(cancelled())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await async_users(manager, None) == []
        async with manager.get_async_session(ADA) as session:
            await session.connection()  # an identity waits for a BEGIN that never comes
        assert await async_users(manager, None) == []

    asyncio.run(run())
    with pytest.raises(errors.NotAllowed), manager.get_sync_session(ADA) as session:
        session.execute("SELECT 1 FROM audit.security_events")
    assert sync_users(manager, None) == []


def test_the_token_is_hidden_from_the_apps_other_sessions(world: World) -> None:
    manager = world.manager()
    token = f"{sign(IDENTITY_KEY, ADA, 0)[:8]}.{ADA}"

    def queries() -> str:
        with psycopg.connect(world.database.url_as("gaia_app")) as other:
            rows = other.execute("SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
        return "\n".join(str(query) for (query,) in rows)

    async def run() -> str:
        async with manager.get_async_session(ADA) as session:
            raw = (await (await session.connection()).get_raw_connection()).driver_connection
            assert raw is not None
            await raw.execute("BEGIN")  # nothing more, so that it stays the last statement
            try:
                assert await raw.fetchval("SELECT current_setting('app.identity') LIKE $1 || '%'", token)
                return queries()
            finally:
                await raw.execute("ROLLBACK")

    assert token not in asyncio.run(run())
    with manager.get_sync_session(ADA) as session:
        session.connection()
        shown = queries()
        assert "BEGIN" in shown and token not in shown


def test_neither_a_user_nor_read_only_takes_a_round_trip_more(world: World) -> None:
    async def asynchronous(manager: DatabaseManager, user: UUID | None, read_only: bool) -> object:
        async with manager.get_async_session(user, read_only=read_only) as session:
            return list(await session.scalars(VISIBLE))

    def in_a_thread(manager: DatabaseManager, user: UUID | None, read_only: bool) -> object:
        with manager.get_sync_session(user, read_only=read_only) as session:
            return list(session.scalars(VISIBLE))

    async def synchronous(*given: Any) -> object:
        return await asyncio.to_thread(in_a_thread, *given)

    async def messages(read: Callable[..., Awaitable[object]], user: UUID | None, read_only: bool) -> int:
        async with counting(world.database.server.port) as counted:
            url = world.database.url_as("gaia_app").replace(f":{world.database.server.port}/", f":{counted.port}/")
            manager = world.manager(**ONE, DATABASE_URL=url)
            for _ in range(7):  # psycopg prepares a statement that it has seen five times
                await read(manager, user, read_only)
            counted.sent.clear()
            await read(manager, user, read_only)
            count = len(counted.sent)
            await manager.aclose()
        return count

    for read in (asynchronous, synchronous):
        for user in (ADA, None):
            for read_only in (False, True):
                assert asyncio.run(messages(read, user, read_only)) == 3


def test_a_block_commits_at_its_end_and_undoes_what_it_did_when_it_raises(world: World) -> None:
    manager = world.manager()

    async def rename(name: str, fails: bool) -> None:
        async with manager.get_async_session(ADA) as session:
            campaign = (await session.scalars(select(Campaign).where(Campaign.campaign_id == HERS))).one()
            campaign.name = name
            if fails:
                raise ZeroDivisionError

    asyncio.run(rename("Noon", fails=False))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(rename("Night", fails=True))
    with manager.get_sync_session(ADA) as session:
        assert session.scalar(select(Campaign.name)) == "Noon"
        session.execute("UPDATE game.campaigns SET name = 'Dawn'")
    with manager.get_sync_session(ADA) as session:
        assert session.scalars(select(Campaign.name)).all() == ["Dawn"]


def test_a_commit_after_a_failed_statement_is_an_error_and_not_a_silent_rollback(world: World) -> None:
    manager = world.manager()
    taken = "INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES (:id, :owner, 'twice')"
    given = {"id": HERS, "owner": ADA}

    async def run() -> None:
        async with manager.get_async_session(ADA) as session:
            await session.execute("UPDATE game.campaigns SET description = 'lost'")
            with pytest.raises(IntegrityError):
                await session.execute(taken, given)

    with pytest.raises(errors.TransactionAborted, match="begin_nested"):
        asyncio.run(run())

    def run_sync() -> None:
        with manager.get_sync_session(ADA) as session:
            session.execute("UPDATE game.campaigns SET description = 'lost'")
            with pytest.raises(IntegrityError):
                session.execute(taken, given)

    with pytest.raises(errors.TransactionAborted, match="begin_nested"):
        run_sync()
    assert sync_users(manager, BOB) == ["bob"]


def test_a_session_for_one_user_neither_sees_nor_writes_what_is_anothers(world: World) -> None:
    manager = world.manager()
    with manager.get_sync_session(BOB) as session:
        assert session.scalars(select(Campaign.campaign_id)).all() == [HIS]
        assert session.scalars(select(User.user_id)).all() == [BOB]
        session.execute("UPDATE game.campaigns SET name = 'stolen' WHERE campaign_id = :hers", {"hers": HERS})
    with manager.get_sync_session(ADA) as session:
        assert session.scalar("SELECT name FROM game.campaigns") == "Dawn"


def test_a_session_takes_a_user_as_text_and_refuses_what_is_none(world: World) -> None:
    manager = world.manager()
    with manager.get_sync_session(str(ADA).upper()) as session:
        assert session.scalar(WHO) == ADA
    with pytest.raises(ValueError, match="badly formed"), manager.get_sync_session("ada'; DROP TABLE x"):
        pass


def test_no_session_is_bound_without_a_key_or_in_autocommit(world: World) -> None:
    keyless = world.manager(GAIA_IDENTITY_KEY="")
    assert sync_users(keyless, None) == []
    with pytest.raises(errors.SettingsError, match="GAIA_IDENTITY_KEY"), keyless.get_sync_session(ADA):
        pass
    with pytest.raises(errors.DatabaseError, match="AUTOCOMMIT"), world.manager().get_sync_session(ADA) as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})

    async def run() -> None:
        async with world.manager().get_async_session(ADA) as session:
            await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})

    with pytest.raises(errors.DatabaseError, match="AUTOCOMMIT"):
        asyncio.run(run())


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_session_runs_in_the_isolation_it_asks_for_and_the_next_does_not(world: World, isolation: str) -> None:
    manager = world.manager(**ONE)
    ask = "SHOW transaction_isolation"

    async def run() -> None:
        for user in (ADA, None):
            async with manager.get_async_session(user, isolation=isolation) as session:  # type: ignore[arg-type]
                assert await session.scalar(ask) == isolation.lower()
            async with manager.get_async_session(user) as session:
                assert await session.scalar(ask) == "read committed"

    asyncio.run(run())
    for user in (ADA, None):
        with manager.get_sync_session(user, isolation=isolation) as session:  # type: ignore[arg-type]
            assert session.scalar(ask) == isolation.lower()
            assert session.scalar(WHO) == user
        with manager.get_sync_session(user) as session:
            assert session.scalar(ask) == "read committed"


RENAME = "UPDATE game.campaigns SET name = 'late'"


def outlast(session: Session) -> float:
    """For so many seconds the transaction's identity still lasts."""
    assert isinstance(session, BoundSession)
    return max(0, session.expires_at - time.time()) + 0.05


def test_a_transaction_that_outlives_its_identity_writes_nothing_and_says_so(world: World) -> None:
    manager = world.manager(GAIA_IDENTITY_LIFETIME_S="1")
    outlived = pytest.raises(errors.IdentityExpired, match=r"outlived GAIA_IDENTITY_LIFETIME_S \(1 s\)")

    async def run() -> None:
        async with manager.get_async_session(ADA) as session:
            await session.execute(RENAME)
            await asyncio.sleep(outlast(session.sync_session))

    with outlived:
        asyncio.run(run())
    with outlived, manager.get_sync_session(ADA) as session:
        session.execute(RENAME)
        time.sleep(outlast(session))
        with pytest.raises(errors.IdentityExpired):
            session.scalar(WHO)
    with world.manager().get_sync_session(ADA) as session:
        assert session.scalar(WHO) == ADA
        assert session.scalars("SELECT name FROM game.campaigns WHERE name = 'late'").all() == []


def test_each_transaction_of_a_session_has_an_identity_signed_when_it_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL, whose clock isn't moved, takes what was signed five minutes and more ago for expired."""
    with world.manager().get_sync_session(ADA) as session:
        for late_s, seen in ((0, ADA), (310, None), (0, ADA)):
            monkeypatch.setattr("db.sessions.time.time", lambda now=time.time() - late_s: now)
            assert session.scalar(WHO) == seen
            session.commit()
            monkeypatch.undo()


def test_many_users_at_once_on_few_connections_each_see_themselves(world: World) -> None:
    manager = world.manager(DATABASE_POOL_SIZE="3")
    seen = {ADA: ["ada"], BOB: ["bob"], None: [], NOBODY: []}

    async def run() -> None:
        users = [*seen] * 40
        found = await asyncio.gather(*(async_users(manager, user) for user in users))
        assert found == [seen[user] for user in users]

    asyncio.run(run())
    with ThreadPoolExecutor(4) as threads:
        reads = [(user, threads.submit(sync_users, manager, user)) for user in [*seen] * 10]
        assert all(read.result() == seen[user] for user, read in reads)
