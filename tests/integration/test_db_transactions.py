"""Whole transactions run again where asked for and safe, and only there."""

import asyncio
import threading

import pytest

from db import errors, writes
from db.manager import DatabaseManager
from db.sessions import AsyncSession, Session
from tests.integration.db_world import ADA, HERS, World, people, world

pytestmark = pytest.mark.postgres
__all__ = ["people", "world"]

READ = "SELECT settings ->> 'count' FROM game.campaigns WHERE campaign_id = :hers"
WRITE = (
    "UPDATE game.campaigns SET settings = jsonb_build_object('count', CAST(:count AS int)) WHERE campaign_id = :hers"
)
END_MYSELF = "SELECT pg_terminate_backend(pg_backend_pid())"


@pytest.fixture(autouse=True)
def from_zero(world: World) -> None:
    with world.manager().get_sync_session(ADA) as session:
        session.execute(WRITE, {"hers": HERS, "count": 0})


def count(manager: DatabaseManager) -> int:
    with manager.get_sync_session(ADA) as session:
        return int(session.scalar(READ, {"hers": HERS}))


def test_transactions_that_collide_all_succeed_in_the_end(world: World) -> None:
    manager = world.manager()

    async def add(session: AsyncSession) -> None:
        now = int(await session.scalar(READ, {"hers": HERS}))
        await asyncio.sleep(0.01)
        await session.execute(WRITE, {"hers": HERS, "count": now + 1})

    async def run() -> None:
        await asyncio.gather(
            *(manager.async_transaction(add, ADA, isolation="SERIALIZABLE", attempts=50) for _ in range(5))
        )

    asyncio.run(run())
    assert count(manager) == 5


def test_without_asking_a_collision_is_an_error(world: World) -> None:
    manager = world.manager()

    def add(session: Session) -> None:
        now = int(session.scalar(READ, {"hers": HERS}))
        other = threading.Thread(target=manager.sync_transaction, args=(write_seven, ADA))
        other.start()
        other.join()
        session.execute(WRITE, {"hers": HERS, "count": now + 1})

    def write_seven(session: Session) -> None:
        session.execute(WRITE, {"hers": HERS, "count": 7})

    with (
        pytest.raises(errors.SerializationFailure),
        manager.get_sync_session(ADA, isolation="REPEATABLE READ") as session,
    ):
        add(session)
    assert count(manager) == 7


def test_a_connection_lost_before_the_commit_is_made_good(world: World) -> None:
    manager, attempts = world.manager("gaia"), list[int]()

    def work(session: Session) -> str:
        attempts.append(1)
        session.execute(WRITE, {"hers": HERS, "count": len(attempts)})
        with session.begin_nested():
            session.execute("SELECT 1")
        if len(attempts) == 1:
            session.execute(END_MYSELF)
        return "done"

    assert manager.sync_transaction(work) == "done"
    assert len(attempts) == 2 and count(manager) == 2
    attempts.clear()

    async def async_work(session: AsyncSession) -> str:
        attempts.append(1)
        if len(attempts) == 1:
            await session.execute(END_MYSELF)
        return "done"

    assert asyncio.run(manager.async_transaction(async_work)) == "done" and len(attempts) == 2


def test_work_that_committed_a_part_never_runs_again(world: World) -> None:
    manager, attempts = world.manager("gaia"), list[int]()

    def work(session: Session) -> None:
        attempts.append(1)
        session.execute(WRITE, {"hers": HERS, "count": 1})
        session.commit()
        session.execute(END_MYSELF)

    with pytest.raises(errors.LostConnection):
        manager.sync_transaction(work)
    assert attempts == [1]


def test_a_connection_lost_in_the_commit_has_an_unknown_outcome_and_is_not_repeated(world: World) -> None:
    manager, attempts = world.manager("gaia"), list[int]()
    # The server ends the connection while it commits: what a cut network looks like from here.
    with world.database.connect() as connection:
        connection.execute(
            b"CREATE FUNCTION public.cut() RETURNS trigger LANGUAGE plpgsql AS"
            b" $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
        )
        connection.execute(
            b"CREATE CONSTRAINT TRIGGER cut AFTER UPDATE ON game.campaigns DEFERRABLE INITIALLY DEFERRED"
            b" FOR EACH ROW EXECUTE FUNCTION public.cut()"
        )

    def work(session: Session) -> None:
        attempts.append(1)
        session.execute(WRITE, {"hers": HERS, "count": 1})

    async def async_work(session: AsyncSession) -> None:
        attempts.append(1)
        await session.execute(WRITE, {"hers": HERS, "count": 1})

    try:
        with pytest.raises(errors.OutcomeUnknown, match="look before"):
            manager.sync_transaction(work)
        with pytest.raises(errors.OutcomeUnknown, match="look before"):
            asyncio.run(manager.async_transaction(async_work))
    finally:
        with world.database.connect() as connection:
            connection.execute(b"DROP FUNCTION public.cut() CASCADE")
    assert attempts == [1, 1]
    assert writes.any_yet()  # it may be there, so what is read next has to show it


def test_a_deadlock_is_undone_and_runs_again(world: World) -> None:
    manager, meet = world.manager("gaia"), threading.Barrier(2, timeout=10)
    rows = "SELECT 1 FROM auth.users WHERE username = :name FOR UPDATE"
    tries: list[str] = []

    def lock(first: str, second: str) -> None:
        def work(session: Session) -> None:
            tries.append(first)
            session.execute(rows, {"name": first})
            if len(tries) <= 2:
                meet.wait()
            session.execute(rows, {"name": second})

        manager.sync_transaction(work)

    threads = [threading.Thread(target=lock, args=names) for names in (("ada", "bob"), ("bob", "ada"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) == 3


def test_a_migration_between_two_transactions_costs_one_of_them_a_second_attempt(world: World) -> None:
    manager, attempts = world.manager("gaia", DATABASE_POOL_SIZE="1", DATABASE_SYNC_POOL_SIZE="1"), list[int]()
    read = "SELECT * FROM public.notes"

    def alter(statement: bytes) -> None:
        with world.database.connect() as connection:
            connection.execute(statement)

    def work(session: Session) -> int:
        attempts.append(1)
        return len(session.execute(read).keys())

    async def async_work(session: AsyncSession) -> int:
        attempts.append(1)
        return len((await session.execute(read)).keys())

    async def run() -> int:
        await manager.async_transaction(async_work)
        await asyncio.to_thread(alter, b"ALTER TABLE public.notes ADD two int")
        attempts.clear()
        return await manager.async_transaction(async_work)

    alter(b"CREATE TABLE public.notes (one int)")
    try:
        assert asyncio.run(run()) == 2 and len(attempts) == 2
        for _ in range(7):  # psycopg prepares a statement that it has seen five times
            manager.sync_transaction(work)
        alter(b"ALTER TABLE public.notes ADD three int")
        attempts.clear()
        assert manager.sync_transaction(work) == 3 and len(attempts) == 2
    finally:
        alter(b"DROP TABLE public.notes")
