"""Read-only sessions: on a replica that is fresh enough and shows what was written here, else on the primary."""

import asyncio
import contextvars
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from db import errors, messages, wal
from db.manager import DatabaseManager
from db.messages import NewMessage
from tests.integration.counting import counting
from tests.integration.db_replica import STANDBY, Pair, eventually, pair, servers
from tests.integration.db_world import ADA, BOB, HERS, VISIBLE, WHO
from tests.postgres import PASSWORDS

pytestmark = pytest.mark.postgres
__all__ = ["pair", "servers"]

NAME = "SELECT name FROM game.campaigns"
RENAME = "UPDATE game.campaigns SET name = :name"
OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gaia-backend'"
SOON = {"DATABASE_REPLICA_LAG_MAX_S": "1"}


def read(manager: DatabaseManager, statement: str = STANDBY, **more: object) -> object:
    with manager.get_sync_session(ADA, read_only=True, **more) as session:  # type: ignore[arg-type]
        return session.scalar(statement)


async def read_async(manager: DatabaseManager, statement: str = STANDBY, **more: object) -> object:
    async with manager.get_async_session(ADA, read_only=True, **more) as session:  # type: ignore[arg-type]
        return await session.scalar(statement)


def read_in_a_loop(manager: DatabaseManager, statement: str = STANDBY, **more: object) -> object:
    return asyncio.run(read_async(manager, statement, **more))


def rename(manager: DatabaseManager, name: str) -> None:
    with manager.get_sync_session(ADA) as session:
        session.execute(RENAME, {"name": name})


async def rename_async(manager: DatabaseManager, name: str) -> None:
    async with manager.get_async_session(ADA) as session:
        await session.execute(RENAME, {"name": name})


def elsewhere(call: Callable[..., object], *given: object) -> object:
    """`call` as another request would: in a context that has written nothing."""
    return contextvars.Context().run(call, *given)


Read = Callable[..., object]
both = pytest.mark.parametrize("read", [read, read_in_a_loop])


@both
def test_reads_go_to_the_replica_and_writes_to_the_primary(pair: Pair, read: Read) -> None:
    manager = pair.reading()
    pair.warm(manager)
    assert read(manager) is True
    assert read(manager, WHO) == ADA
    with manager.get_sync_session(ADA) as session:
        assert session.scalar(STANDBY) is False


@both
def test_a_read_only_session_writes_nothing_wherever_it_is(pair: Pair, read: Read) -> None:
    reading = pair.reading()
    pair.warm(reading)
    for manager, standby in ((reading, True), (pair.manager(), False)):
        assert read(manager, STANDBY) is standby
        for isolation in (None, "REPEATABLE READ"):
            assert read(manager, "SHOW transaction_read_only", isolation=isolation) == "on"
        with pytest.raises(errors.ReadOnlySession, match="open it without"):
            read(manager, "UPDATE game.campaigns SET name = 'x' RETURNING name")
        rename(manager, "Dawn")  # and the connection is as good as before


@both
def test_serializable_needs_the_primary(pair: Pair, read: Read) -> None:
    manager = pair.reading()
    pair.warm(manager)
    assert read(manager, isolation="SERIALIZABLE") is False
    assert read(manager, isolation="REPEATABLE READ") is True


def test_users_see_on_the_replica_what_is_theirs_and_what_they_may_call(pair: Pair) -> None:
    manager = pair.reading()

    async def run() -> None:
        async with manager.get_async_session(ADA) as session:
            await messages.insert(session, [NewMessage(HERS, "a goblin", ADA)])
        pair.catch_up()
        await asyncio.to_thread(pair.warm, manager)
        for user, names, found in ((ADA, ["ada"], 1), (BOB, ["bob"], 0), (None, [], 0)):
            async with manager.get_async_session(user, read_only=True) as session:
                assert await session.scalar(STANDBY) is True
                assert list(await session.scalars(VISIBLE)) == names
                assert len(await messages.history(session, HERS)) == found
                assert len(await messages.search(session, HERS, "goblin")) == found
                await session.execute("SELECT * FROM game.members(:c)", {"c": HERS})
        async with manager.get_async_session(read_only=True) as session:
            assert (await session.execute("SELECT user_id FROM auth.find_login('ada')")).scalar() == ADA

    asyncio.run(run())


def test_what_was_written_here_is_read_here_every_time_and_from_the_replica_if_it_is_quick(pair: Pair) -> None:
    manager = pair.reading()
    pair.warm(manager)

    def synchronous(name: str) -> object:
        rename(manager, name)
        assert read(manager, NAME) == name
        return read(manager)

    async def asynchronous(name: str) -> object:
        await rename_async(manager, name)
        assert await read_async(manager, NAME) == name
        return await read_async(manager)

    async def run() -> None:
        for step in (lambda name: asyncio.to_thread(synchronous, name), asynchronous):
            served, ends_at = list[object](), time.monotonic() + 60
            while len(served) < 30 or not any(served):
                served.append(await step(str(len(served))))
                assert time.monotonic() < ends_at

    asyncio.run(run())


def test_a_write_that_the_replica_has_not_replayed_is_read_from_the_primary_by_whom_it_concerns(pair: Pair) -> None:
    manager = pair.reading(DATABASE_REPLICA_LAG_MAX_S="60")
    rename(manager, "before")
    pair.catch_up()
    pair.warm(manager)
    with pair.paused():

        async def run() -> None:
            await rename_async(manager, "after")
            started = time.monotonic()
            assert await read_async(manager, NAME) == "after"
            assert await asyncio.create_task(read_async(manager, NAME)) == "after"  # a task that it starts
            assert time.monotonic() - started < 20

        asyncio.run(run())
        assert elsewhere(read, manager, NAME) == "before"
        rename(manager, "mine")
        assert read(manager, NAME) == "mine"


def test_a_commit_within_a_block_counts_even_if_the_block_fails(pair: Pair) -> None:
    manager = pair.reading(DATABASE_REPLICA_LAG_MAX_S="60")
    rename(manager, "before")
    pair.catch_up()
    pair.warm(manager)

    def commits_then_fails() -> object:
        with suppress(ZeroDivisionError), manager.get_sync_session(ADA) as session:
            session.execute(RENAME, {"name": "within"})
            session.commit()
            assert read(manager, NAME) == "within"
            raise ZeroDivisionError
        return read(manager, NAME)

    async def commits_within() -> object:
        async with manager.get_async_session(ADA) as session:
            await session.execute(RENAME, {"name": "within a task"})
            await session.commit()
            return await read_async(manager, NAME)

    with pair.paused():
        assert elsewhere(read, manager, NAME) == "before"
        assert elsewhere(commits_then_fails) == "within"
        assert asyncio.run(commits_within()) == "within a task"


def test_a_mark_takes_a_write_to_another_process(pair: Pair) -> None:
    writer, reader = pair.manager(), pair.reading(DATABASE_REPLICA_LAG_MAX_S="60")
    rename(writer, "before")
    pair.catch_up()
    pair.warm(reader)
    assert elsewhere(writer.last_write_sync) is None

    async def write() -> str | None:
        assert await writer.last_write_async() is None
        await rename_async(writer, "marked")
        return await writer.last_write_async()

    with pair.paused():
        mark = contextvars.Context().run(asyncio.run, write())
        assert elsewhere(read, reader, NAME) == "before"
        assert elsewhere(lambda: read(reader, NAME, after=mark)) == "marked"
        assert elsewhere(lambda: read_in_a_loop(reader, NAME, after=mark)) == "marked"
    assert eventually(lambda: elsewhere(lambda: read(reader, after=mark)))
    with pytest.raises(ValueError, match="last_write_async"):
        read(reader, after="0/0'; DROP")


def test_a_mark_is_where_a_record_ends_also_at_the_end_of_a_segment(pair: Pair) -> None:
    asked = wal.ASK.replace("SELECT", "SELECT pg_switch_wal(),", 1)

    def replayed_exactly() -> bool:
        pair.at_primary("SELECT pg_logical_emit_message(true, 'a record', '')")
        with pair.database.connect() as connection:
            _, inserted, segment_bytes = connection.execute(asked.encode()).fetchone() or ("", "", 0)
        mark, ends_at = wal.mark(str(inserted), int(str(segment_bytes))), time.monotonic() + 2
        assert wal.parse(mark) % int(str(segment_bytes)) == 0
        while (replayed := pair.at_standby("SELECT pg_last_wal_replay_lsn()")) != mark and time.monotonic() < ends_at:
            time.sleep(0.01)
        return replayed == mark  # if nobody wrote meanwhile

    assert eventually(replayed_exactly)


def test_a_primary_where_nothing_happens_does_not_make_the_replica_old(pair: Pair) -> None:
    manager = pair.reading(**SOON)
    pair.warm(manager)
    time.sleep(2.5)
    assert eventually(lambda: elsewhere(read, manager))


def test_a_replica_that_lags_is_left_out_with_one_warning_until_it_has_caught_up(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    manager = pair.reading(**SOON)
    pair.warm(manager)
    caplog.set_level(logging.INFO, logger="db.replicas")
    with pair.paused():
        rename(manager, "while it lags")
        lags_since, asked_at = time.monotonic(), 0.0
        while elsewhere(read, manager):
            assert asked_at - lags_since < 1.5  # when the read began: it may have taken long
            rename(manager, "while it lags")
            asked_at = time.monotonic()
        for _ in range(15):
            rename(manager, "while it lags")
            time.sleep(0.1)
            assert elsewhere(read, manager) is False
        (health,) = manager.check_sync().replicas
        assert not health.ok and "less than 1 s behind" in str(health.reason)
        assert manager.check_sync().ok
    pair.warm(manager)
    levels = [record.levelno for record in caplog.records if record.name == "db.replicas"]
    # A machine that is too slow to look at it once a second may have left it out before.
    assert levels == [logging.WARNING, logging.INFO] * (len(levels) // 2) and levels
    assert PASSWORDS["gaia_app"] not in caplog.text


def test_a_replica_that_gets_nothing_any_more_does_not_pass_for_fresh(pair: Pair) -> None:
    manager = pair.reading(**SOON)
    pair.warm(manager)
    with pair.cut_off():
        rename(manager, "unseen")
        time.sleep(1.2)  # it has replayed all that it received, so by itself it seems to be up to date
        assert elsewhere(read, manager) is False
    pair.catch_up()
    pair.warm(manager)
    assert elsewhere(read, manager, NAME) == "unseen"


@both
def test_a_replica_that_is_not_there_leaves_its_reads_to_the_primary_with_one_warning(
    pair: Pair, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = "postgresql://gaia_app:hush@127.0.0.1:1/gaia"
    manager = pair.manager(DATABASE_REPLICA_URL=nowhere)
    assert [read(manager) for _ in range(10)] == [False] * 10
    (health,) = manager.check_sync().replicas
    assert not health.ok and "no connection" in str(health.reason) and health.lag_s is None
    assert len([one for one in caplog.records if one.name == "db.replicas"]) == 1
    assert "hush" not in caplog.text + str(health)
    two = pair.manager(DATABASE_REPLICA_URL=f"{nowhere},{pair.standby.url(pair.database.name, 'gaia_app')}")
    pair.warm(two)
    assert all(read(two) for _ in range(5))
    assert [one.ok for one in two.check_sync().replicas] == [False, True]


def test_a_replica_that_hangs_is_passed_over_while_it_does(pair: Pair) -> None:
    manager = pair.reading(DATABASE_REPLICA_LAG_MAX_S="60")
    pair.warm(manager)
    looking = pair.at_standby("SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT CASE WHEN pg_is_in_recovery%'")
    os.kill(int(str(looking)), signal.SIGSTOP)
    try:
        assert eventually(lambda: read(manager) is False)
        started = time.monotonic()
        assert [read(manager) for _ in range(5)] == [False] * 5
        assert time.monotonic() - started < 20
        assert "hasn't answered for 1 s" in str(manager.check_sync().replicas[0].reason)
    finally:
        os.kill(int(str(looking)), signal.SIGCONT)
    pair.warm(manager)


def test_a_read_sends_the_replica_as_little_as_it_would_the_primary_and_the_primary_nothing(pair: Pair) -> None:
    async def asynchronous(manager: DatabaseManager) -> object:
        return await read_async(manager)

    async def synchronous(manager: DatabaseManager) -> object:
        return await asyncio.to_thread(read, manager)

    async def run(reading: Callable[[DatabaseManager], Awaitable[object]]) -> None:
        ports = pair.primary.port, pair.standby.port
        async with counting(ports[0]) as primary, counting(ports[1]) as standby:
            urls = pair.database.url_as("gaia_app"), pair.standby.url(pair.database.name, "gaia_app")
            through = [
                url.replace(f":{port}/", f":{counted.port}/")
                for url, port, counted in zip(urls, ports, (primary, standby), strict=True)
            ]
            manager = pair.manager(DATABASE_URL=through[0], DATABASE_REPLICA_URL=through[1])
            await asyncio.to_thread(pair.warm, manager)
            for _ in range(7):
                await reading(manager)
            counts: list[tuple[int, int]] = []
            while counts.count((0, 3)) <= 10 and len(counts) < 500:
                primary.sent.clear()
                standby.sent.clear()
                assert await reading(manager) is True
                counts.append((len(primary.sent), len(standby.sent)))
            await manager.aclose()
        assert min(counts) == (0, 3)  # once a second, both are looked at in between
        assert counts.count((0, 3)) > 10, counts

    for reading in (asynchronous, synchronous):
        asyncio.run(run(reading))


def test_the_primary_itself_as_a_replica_is_no_replica(pair: Pair) -> None:
    url = pair.database.url_as("gaia_app")
    manager = pair.manager(DATABASE_REPLICA_URL=f"{url},{pair.standby.url(pair.database.name, 'gaia_app')}")
    pair.warm(manager)
    assert all(read(manager) for _ in range(6))
    first, second = asyncio.run(manager.check_async()).replicas
    assert not first.ok and "no standby" in str(first.reason)
    assert second.ok and second.lag_s is not None and second.lag_s < manager.settings.replica_lag_max_s


def test_closing_leaves_no_connection_and_no_thread_and_it_can_be_used_again(pair: Pair) -> None:
    manager = pair.reading()
    for _ in range(2):
        pair.warm(manager)
        assert asyncio.run(read_async(manager)) in (True, False)
        assert [one.name for one in threading.enumerate() if one.name.startswith("look at")]
        manager.close()
        assert not [one.name for one in threading.enumerate() if one.name.startswith("look at")]
        assert eventually(lambda: pair.connections() == [])
        assert eventually(lambda: pair.at_standby(OURS) == 0)

    async def run() -> None:
        await read_async(manager)
        await manager.aclose()
        assert await asyncio.to_thread(eventually, lambda: pair.connections() == [])

    asyncio.run(run())


def in_child(manager: DatabaseManager, results: "multiprocessing.SimpleQueue[object]") -> None:
    results.put(eventually(lambda: read(manager)))
    manager.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_looks_for_itself(pair: Pair) -> None:
    manager = pair.reading()
    pair.warm(manager)
    context = multiprocessing.get_context("fork")
    results: multiprocessing.SimpleQueue[object] = context.SimpleQueue()
    child = context.Process(target=in_child, args=(manager, results))
    child.start()
    child.join(60)
    assert child.exitcode == 0 and results.get() is True
    assert eventually(lambda: read(manager))
