"""The server is killed under writers: what was acknowledged is there, nothing twice, and the pools heal."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar
from uuid import UUID

import psycopg
import pytest

from db import messages
from db.errors import DatabaseError, OutcomeUnknown, TryAgain, Unreachable
from db.manager import DatabaseManager
from db.messages import NewMessage
from db.sessions import AsyncSession
from db.settings import from_environment
from migrations import bootstrap
from tests import postgres
from tests.faults.late import late
from tests.postgres import DURABLE, IDENTITY_KEY, PASSWORDS, Database, Server

pytestmark = pytest.mark.postgres

Found = TypeVar("Found")
WRITERS = 20
HEAL_TIMEOUT_S = 60
HELD_S = 0.1
"""So long an answer is on its way. On loopback it is none: no kill would fall between a commit and its answer."""
USER, CAMPAIGN = UUID(int=0xA), UUID(int=0xCA)
FILL = f"""
INSERT INTO auth.users (user_id, username, email) VALUES ('{USER}', 'ada', 'ada@gaia.local');
INSERT INTO game.campaigns (campaign_id, owner_id, name) VALUES ('{CAMPAIGN}', '{USER}', 'Dawn');
"""


@pytest.fixture
def durable() -> Iterator[Database]:
    """A migrated database on a server of its own that keeps what it acknowledged."""
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with postgres.running(**DURABLE) as server:
        database = server.create("gaia")
        bootstrap.apply(database.url, passwords=PASSWORDS, identity_keys=[IDENTITY_KEY])
        with database.connect() as connection:
            connection.execute(FILL.encode())
        yield database


class Writers:
    """Twenty who write messages, one after another, each in a transaction that runs again as `db` runs it."""

    def __init__(self, url: str) -> None:
        environment = {"DATABASE_URL": url, "GAIA_IDENTITY_KEY": IDENTITY_KEY}
        self._manager = DatabaseManager(from_environment(environment))
        self.acknowledged: list[str] = []
        self.looked = 0
        self.found = 0
        self.again = 0
        self.ended = False

    async def run(self) -> None:
        """Write until `ended`. Raises the first error that isn't one of those that a backend has to expect."""
        async with asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(self._write(writer))
        await self._manager.aclose()

    async def _write(self, writer: int) -> None:
        number = 0
        while not self.ended:
            number += 1
            await self._one(f"writer {writer}, message {number}")

    async def _one(self, content: str) -> None:
        try:
            await self._patiently(lambda session: insert(session, content))
        except OutcomeUnknown:
            self.looked += 1
            if not await self._patiently(lambda session: there(session, content), OutcomeUnknown):
                return  # and so it isn't acknowledged
            self.found += 1
        self.acknowledged.append(content)

    async def _patiently(self, work: Callable[[AsyncSession], Awaitable[Found]], *more: type[DatabaseError]) -> Found:
        """As often as it takes: a recovery may last longer than the attempts of `async_transaction`.

        After `more` again too: for what only reads.
        """
        while True:
            try:
                return await self._manager.async_transaction(work, USER)
            except (TryAgain, Unreachable, *more):
                self.again += 1


async def insert(session: AsyncSession, content: str) -> None:
    await messages.insert(session, [NewMessage(CAMPAIGN, content, user_id=USER)])


async def there(session: AsyncSession, content: str) -> bool:
    query = "SELECT exists (SELECT FROM game.chat_history WHERE content = :content)"
    return bool(await session.scalar(query, {"content": content}))


def processes(server: Server) -> list[int]:
    """The server's processes, the postmaster first."""
    import psutil

    postmaster = psutil.Process(int((server.folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
    return [postmaster.pid, *(child.pid for child in postmaster.children())]


async def kill_once(server: Server, *, postmaster: bool) -> None:
    """Kill the postmaster, and start it again; or a child of it, of which it recovers by itself."""
    first, *children = processes(server)
    os.kill(first if postmaster else random.choice(children), signal.SIGKILL)
    if postmaster:
        await asyncio.to_thread(postgres.start_again, server, **DURABLE)


async def healed(writers: Writers) -> float:
    """Wait until each writer has written again; how long that took."""
    started, target = time.monotonic(), len(writers.acknowledged) + 2 * WRITERS
    async with asyncio.timeout(HEAL_TIMEOUT_S):
        while len(writers.acknowledged) < target:
            await asyncio.sleep(0.01)
    return time.monotonic() - started


@pytest.mark.timeout(1800)
def test_no_acknowledged_message_is_lost_none_is_there_twice_and_the_pools_heal(
    durable: Database, counts: Callable[[int, int], int], record: Callable[[str, str], None]
) -> None:
    kills = counts(3, 30)
    url = durable.url_as("gaia_app")

    async def run() -> tuple[Writers, float, int]:
        worst, port = 0.0, durable.server.port
        async with late(port, HELD_S) as proxy, asyncio.TaskGroup() as group:
            writers = Writers(url.replace(f":{port}/", f":{proxy.port}/"))
            group.create_task(writers.run())
            await healed(writers)
            for number in range(kills):
                await asyncio.sleep(random.uniform(0.05, 0.5))
                while not proxy.held_commits:
                    await asyncio.sleep(0)
                await kill_once(durable.server, postmaster=number % 2 == 0)
                worst = max(worst, await healed(writers))
            writers.ended = True
        return writers, worst, proxy.lost_commits

    writers, worst, unanswered = asyncio.run(run())
    with psycopg.connect(durable.url) as connection:
        rows = connection.execute("SELECT content FROM game.chat_history").fetchall()
    written = Counter(str(content) for (content,) in rows)
    assert set(writers.acknowledged) - set(written) == set(), "lost"
    assert [content for content, times in written.items() if times > 1] == [], "twice"
    assert unanswered > 0, "no kill fell between a commit and its answer"
    assert writers.found > 0, "nobody asked whether it was there, and it was"
    record(
        "kill -9 of the server under 20 writers",
        f"{kills} kills, {unanswered} times between a commit and its answer, {len(writers.acknowledged)} messages "
        f"acknowledged, 0 lost, 0 twice, {writers.looked} looked for after COMMIT ({writers.found} were there), "
        f"{writers.again} begun anew, healed within {worst:.1f} s",
    )
