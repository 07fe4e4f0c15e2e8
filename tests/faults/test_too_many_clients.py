"""500 clients on 200 connections: each is served, queued or refused in words; the server and its superuser stay."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import psycopg
import pytest

from db.errors import DatabaseError, PoolExhausted, TooManyConnections
from db.manager import DatabaseManager
from db.settings import from_environment
from migrations import bootstrap
from tests import postgres
from tests.postgres import PASSWORDS, Database

pytestmark = pytest.mark.postgres

MAX_CONNECTIONS, CLIENTS = 200, 500
POOLS, POOL_SIZE = 15, 20
"""300 connections, which is what 300 of the clients ask for at once."""
RAW = CLIENTS - POOLS * POOL_SIZE
"""The others have no pool, and no patience either."""
HOLD_S = 0.2
FULL, RESERVED = "sorry, too many clients already", "remaining connection slots are reserved"
"""What PostgreSQL says to those for whom there is none left."""
LONGEST_WAIT_S = 10
"""In a rush those that are about to be refused hold even the superuser's slots, for the moment until they are."""


@pytest.fixture
def crowded() -> Iterator[Database]:
    """A migrated database on a server of its own with 200 connections."""
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with postgres.running(max_connections=str(MAX_CONNECTIONS)) as server:
        database = server.create("gaia")
        bootstrap.apply(database.url, passwords=PASSWORDS)
        yield database


class Superuser(threading.Thread):
    """Logs in anew again and again, as an administrator would, in a rush it tries again."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.ended = threading.Event()
        self.failures: list[str] = []
        self.logins = 0
        self.most = 0
        self.longest_wait_s = 0.0

    def run(self) -> None:
        asked = time.monotonic()
        while not self.ended.wait(0.02):
            try:
                with psycopg.connect(self._url, connect_timeout=10) as connection:
                    row = connection.execute(
                        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    ).fetchone()
                self.logins += 1
                self.most = max(self.most, int(row[0]) if row else 0)
                self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - asked)
                asked = time.monotonic()
            except psycopg.OperationalError as error:
                if FULL not in str(error):
                    self.failures.append(str(error))


async def pooled(manager: DatabaseManager) -> str:
    """One client of a pool: what became of it."""
    try:
        async with manager.get_async_session() as session:
            await session.execute(f"SELECT pg_sleep({HOLD_S})")
    except (TooManyConnections, PoolExhausted) as error:
        return type(error).__name__ if "max_connections" in str(error) else str(error)
    return "served"


async def raw(url: str) -> str:
    """One client of its own."""
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=60) as connection:
            await connection.execute(f"SELECT pg_sleep({HOLD_S})".encode())
    except psycopg.OperationalError as error:
        return "refused" if FULL in str(error) or RESERVED in str(error) else str(error)
    return "served"


async def crowd(database: Database, managers: list[DatabaseManager]) -> Counter[str]:
    """All at once."""
    pool_clients = [pooled(manager) for manager in managers for _ in range(POOL_SIZE)]
    return Counter(await asyncio.gather(*pool_clients, *(raw(database.url_as("gaia_app")) for _ in range(RAW))))


async def healthy(managers: list[DatabaseManager]) -> bool:
    """Whether each pool, with nobody else there, gets a connection again."""
    return all([(await manager.check_async()).ok for manager in managers])


@pytest.mark.timeout(900)
def test_who_gets_no_connection_is_told_so_and_the_superuser_always_gets_one(
    crowded: Database, counts: Callable[[int, int], int], record: Callable[[str, str], None]
) -> None:
    _allow_open_files(2 * CLIENTS + 200)
    superuser, outcomes = Superuser(crowded.url), Counter[str]()
    environment = {"DATABASE_URL": crowded.url_as("gaia_app"), "DATABASE_CONNECT_TIMEOUT_S": "60"}

    async def run() -> None:
        for _ in range(counts(1, 10)):
            managers = [DatabaseManager(from_environment(environment)) for _ in range(POOLS)]
            outcomes.update(await crowd(crowded, managers))
            for manager in managers[1:]:
                await manager.aclose()
            assert await healthy(managers[:1]), "the pool recovers where it is"
            await managers[0].aclose()

    superuser.start()
    asyncio.run(run())
    superuser.ended.set()
    superuser.join()
    assert superuser.failures == []
    assert superuser.logins > 10
    assert superuser.longest_wait_s < LONGEST_WAIT_S
    assert superuser.most >= MAX_CONNECTIONS - 5, "it was as crowded as it can be"
    assert outcomes.total() == counts(1, 10) * CLIENTS
    assert set(outcomes) <= {"served", "refused", "TooManyConnections"}, "nobody meets anything else"
    assert outcomes["served"] > MAX_CONNECTIONS / 2
    assert outcomes["refused"] + outcomes["TooManyConnections"] > 0
    assert "PANIC" not in crowded.server.log.read_text()
    said = ", ".join(f"{count} {what}" for what, count in outcomes.most_common())
    superuser_said = f"superuser in {superuser.logins} times, within {superuser.longest_wait_s:.1f} s"
    record(f"{CLIENTS} clients on {MAX_CONNECTIONS} connections", f"{said}; {superuser_said}")


def test_clients_beyond_the_pool_queue_and_are_served(crowded: Database, record: Callable[[str, str], None]) -> None:
    """Within their pools, which fit, nobody is refused."""
    environment = {"DATABASE_URL": crowded.url_as("gaia_app"), "DATABASE_POOL_SIZE": "18"}

    async def run() -> Counter[str]:
        managers = [DatabaseManager(from_environment(environment)) for _ in range(10)]
        clients = [pooled(manager) for manager in managers for _ in range(CLIENTS // len(managers))]
        try:
            return Counter(await asyncio.gather(*clients))
        finally:
            for manager in managers:
                await manager.aclose()

    started = time.monotonic()
    assert asyncio.run(run()) == {"served": CLIENTS}
    took = f"in {time.monotonic() - started:.1f} s"
    record(f"{CLIENTS} clients of pools that fit into {MAX_CONNECTIONS}", f"{CLIENTS} queued and served {took}")


def test_an_error_of_the_sync_pool_is_the_same(crowded: Database) -> None:
    """psycopg is refused in the same words, and whoever is superuser gets in at once."""
    held = [psycopg.connect(crowded.url_as("gaia_app")) for _ in range(MAX_CONNECTIONS - 3)]
    manager = DatabaseManager(from_environment({"DATABASE_URL": crowded.url_as("gaia_app")}))
    try:
        with pytest.raises(DatabaseError) as caught, manager.get_sync_session() as session:
            session.execute("SELECT 1")
        assert type(caught.value) is TooManyConnections
        for _ in range(20):
            _hang_up(psycopg.connect(crowded.url))
        _hang_up(held.pop())
        assert manager.check_sync().ok
    finally:
        for connection in held:
            connection.close()
        manager.close()


def _hang_up(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Close a connection, and wait until the server has its slot back: its process is gone a moment later."""
    serving = connection.info.backend_pid
    connection.close()
    ends = time.monotonic() + 60
    while psutil.pid_exists(serving) and time.monotonic() < ends:
        time.sleep(0.005)


def _allow_open_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        if hard != resource.RLIM_INFINITY and hard < number:
            pytest.skip(f"this user may open {hard} files at once, and needs {number}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
