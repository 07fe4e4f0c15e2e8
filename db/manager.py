"""The one `db_manager` of a process: sessions on demand, engines made when the first one is opened."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from db import health, retry, routing, wal, writes
from db.errors import DatabaseError
from db.health import Health
from db.lifetime import Engines
from db.routing import Isolation
from db.settings import Settings, from_environment

if TYPE_CHECKING:
    from db.replicas import Replicas
    from db.sessions import AsyncSession, Session

Found = TypeVar("Found")


class DatabaseManager:
    """Opens sessions. Safe in threads, after a fork and in every event loop; usable again after it was closed."""

    def __init__(self, settings: Settings | None = None) -> None:
        """`settings` instead of the environment, as tests want it. Nothing is read or connected here."""
        self._settings = settings
        self._engines = Engines()
        self._replicas: dict[int, Replicas] = {}
        """By process: a fork doesn't take along the threads that look, and the parent's stay the parent's."""

    @property
    def settings(self) -> Settings:
        """What counts, read once; raises SettingsError."""
        if self._settings is None:
            self._settings = from_environment(os.environ)
        return self._settings

    @asynccontextmanager
    async def get_async_session(
        self,
        user_id: UUID | str | None = None,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        after: str | None = None,
    ) -> "AsyncIterator[AsyncSession]":
        """A session of asyncpg, in one transaction: committed at the end of the block, undone if it raises.

        Bound to `user_id`, each of its transactions acts for that user; without, row-level security shows nothing.
        With `read_only` it writes nothing, and a replica may serve it: one that shows what this context wrote before,
        and what was written before last_write_async or last_write_sync gave `after`. Raises the errors of db.errors.
        """
        session = await self._open_async(routing.Wish(user_id, isolation, read_only, after))
        try:
            yield session
            await session.commit()
        except BaseException as error:
            # Finished even if this task is being cancelled: the connection goes back to the pool clean.
            await asyncio.shield(asyncio.ensure_future(session.close()))
            writes.note_unless_undone(error)
            raise
        session.sync_session.close()  # nothing is left to be said to the server

    @contextmanager
    def get_sync_session(
        self,
        user_id: UUID | str | None = None,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        after: str | None = None,
    ) -> "Iterator[Session]":
        """The same with psycopg, for scripts: committed at the end of the block, undone if it raises."""
        session = self._open_sync(routing.Wish(user_id, isolation, read_only, after))
        try:
            yield session
            session.commit()
        except BaseException as error:
            writes.note_unless_undone(error)
            raise
        finally:
            session.close()

    async def async_transaction(
        self,
        work: "Callable[[AsyncSession], Awaitable[Found]]",
        user_id: UUID | str | None = None,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        after: str | None = None,
        attempts: int = retry.ATTEMPTS,
    ) -> Found:
        """Run `work` in a transaction, and again as a whole when it lost a conflict or, before COMMIT, its connection.

        `work` must do nothing but through its session, which is a new one each time. Once it commits by itself it is
        not run again. Raises the last error; OutcomeUnknown at once.
        """
        attempt = 1
        while True:
            commits: list[bool] = []
            try:
                async with self.get_async_session(
                    user_id, isolation=isolation, read_only=read_only, after=after
                ) as session:
                    retry.note_commits(session.sync_session, commits)
                    return await work(session)
            except DatabaseError as error:
                if not retry.may_run_again(error, attempt=attempt, attempts=attempts, committed=bool(commits)):
                    raise
            await asyncio.sleep(retry.pause_s(attempt))
            attempt += 1

    def sync_transaction(
        self,
        work: "Callable[[Session], Found]",
        user_id: UUID | str | None = None,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        after: str | None = None,
        attempts: int = retry.ATTEMPTS,
    ) -> Found:
        """The same with psycopg."""
        attempt = 1
        while True:
            commits: list[bool] = []
            try:
                with self.get_sync_session(user_id, isolation=isolation, read_only=read_only, after=after) as session:
                    retry.note_commits(session, commits)
                    return work(session)
            except DatabaseError as error:
                if not retry.may_run_again(error, attempt=attempt, attempts=attempts, committed=bool(commits)):
                    raise
            time.sleep(retry.pause_s(attempt))
            attempt += 1

    async def last_write_async(self) -> str | None:
        """What this context committed last, as a mark for `after` in another request or process; None without any."""
        if not writes.any_yet():
            return None
        async with self.get_async_session() as session:
            return wal.mark(*(await session.execute(wal.ASK)).one())

    def last_write_sync(self) -> str | None:
        """The same with psycopg."""
        if not writes.any_yet():
            return None
        with self.get_sync_session() as session:
            return wal.mark(*session.execute(wal.ASK).one())

    async def check_async(self) -> Health:
        """Whether asyncpg gets an answer; never raises for a database that doesn't give one."""
        pool, started, reason = (await self._own_engines().of_this_loop(self.settings)).pool, time.monotonic(), None
        in_use = pool.checkedout()
        try:
            async with self.get_async_session() as session:
                reason = health.verdict(self.settings, await session.scalar(*health.question(self.settings)))
        except Exception as error:
            reason = health.trouble(error)
        found = _health(started, reason, pool.size(), in_use)
        if (replicas := self._own_replicas()) is None:
            return found
        await routing.pausing(replicas.looking())
        return replace(found, replicas=replicas.health())

    def check_sync(self) -> Health:
        """The same with psycopg."""
        pool, started, reason = self._own_engines().sync(self.settings).pool, time.monotonic(), None
        in_use = pool.checkedout()
        try:
            with self.get_sync_session() as session:
                reason = health.verdict(self.settings, session.scalar(*health.question(self.settings)))
        except Exception as error:
            reason = health.trouble(error)
        found = _health(started, reason, pool.size(), in_use)
        if (replicas := self._own_replicas()) is None:
            return found
        routing.sleeping(replicas.looking())
        return replace(found, replicas=replicas.health())

    async def aclose(self) -> None:
        """Close every connection of this event loop and of psycopg, those in use too."""
        await self._own_engines().aclose()
        if (replicas := self._replicas.get(os.getpid())) is not None:
            await asyncio.to_thread(replicas.close_watches)
            for one in replicas.each:
                await one.engines.aclose()

    def close(self) -> None:
        """Close every connection of this process; for scripts, outside of an event loop."""
        self._own_engines().close()
        if (replicas := self._replicas.get(os.getpid())) is not None:
            replicas.close_watches()
            for one in replicas.each:
                one.engines.close()

    async def _open_async(self, wish: routing.Wish) -> "AsyncSession":
        replicas = self._own_replicas() if wish.anywhere else None
        if replicas is not None and (session := await routing.on_replica_async(replicas, wish)) is not None:
            return session
        return routing.open_async(await self._own_engines().of_this_loop(self.settings), self.settings, wish)

    def _open_sync(self, wish: routing.Wish) -> "Session":
        replicas = self._own_replicas() if wish.anywhere else None
        if replicas is not None and (session := routing.on_replica_sync(replicas, wish)) is not None:
            return session
        return routing.open_sync(self._own_engines().sync(self.settings), self.settings, wish)

    def _own_engines(self) -> Engines:
        self._engines = self._engines.after_fork()
        return self._engines

    def _own_replicas(self) -> "Replicas | None":
        if not self.settings.replicas:
            return None
        if (known := self._replicas.get(os.getpid())) is None:
            from db.replicas import Replicas

            known = self._replicas.setdefault(os.getpid(), Replicas(self.settings))
        return known


def _health(started: float, reason: str | None, pool_size: int, in_use: int) -> Health:
    return Health(
        ok=reason is None,
        latency_ms=round((time.monotonic() - started) * 1000, 2),
        reason=reason,
        pool_size=pool_size,
        pool_in_use=in_use,
    )


db_manager = DatabaseManager()
"""The backend's."""
