"""The one `db_manager` of a process: sessions on demand, engines made when the first one is opened."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import UUID

from db import retry
from db.errors import DatabaseError
from db.health import CHECK, Health
from db.lifetime import Engines
from db.settings import Settings, from_environment

if TYPE_CHECKING:
    from db import engines
    from db.sessions import AsyncSession, Session

Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
Found = TypeVar("Found")


class DatabaseManager:
    """Opens sessions. Safe in threads, after a fork and in every event loop; usable again after it was closed."""

    def __init__(self, settings: Settings | None = None) -> None:
        """`settings` instead of the environment, as tests want it. Nothing is read or connected here."""
        self._settings = settings
        self._engines = Engines()

    @property
    def settings(self) -> Settings:
        """What counts, read once; raises SettingsError."""
        if self._settings is None:
            self._settings = from_environment(os.environ)
        return self._settings

    @asynccontextmanager
    async def get_async_session(
        self, user_id: UUID | str | None = None, *, isolation: Isolation | None = None
    ) -> "AsyncIterator[AsyncSession]":
        """A session of asyncpg, in one transaction: committed at the end of the block, undone if it raises.

        Bound to `user_id`, each of its transactions acts for that user; without, row-level security shows nothing.
        Raises the errors of db.errors.
        """
        made = await self._own_engines().of_this_loop(self.settings)
        session = _open_async(made, self.settings, user_id, isolation)
        try:
            yield session
            await session.commit()
        except BaseException:
            # Finished even if this task is being cancelled: the connection goes back to the pool clean.
            await asyncio.shield(asyncio.ensure_future(session.close()))
            raise
        session.sync_session.close()  # nothing is left to be said to the server

    @contextmanager
    def get_sync_session(
        self, user_id: UUID | str | None = None, *, isolation: Isolation | None = None
    ) -> "Iterator[Session]":
        """The same with psycopg, for scripts: committed at the end of the block, undone if it raises."""
        session = _open_sync(self._own_engines().sync(self.settings), self.settings, user_id, isolation)
        try:
            yield session
            session.commit()
        finally:
            session.close()

    async def async_transaction(
        self,
        work: "Callable[[AsyncSession], Awaitable[Found]]",
        user_id: UUID | str | None = None,
        *,
        isolation: Isolation | None = None,
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
                async with self.get_async_session(user_id, isolation=isolation) as session:
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
        attempts: int = retry.ATTEMPTS,
    ) -> Found:
        """The same with psycopg."""
        attempt = 1
        while True:
            commits: list[bool] = []
            try:
                with self.get_sync_session(user_id, isolation=isolation) as session:
                    retry.note_commits(session, commits)
                    return work(session)
            except DatabaseError as error:
                if not retry.may_run_again(error, attempt=attempt, attempts=attempts, committed=bool(commits)):
                    raise
            time.sleep(retry.pause_s(attempt))
            attempt += 1

    async def check_async(self) -> Health:
        """Whether asyncpg gets an answer; never raises for a database that doesn't give one."""
        pool, started, reason = (await self._own_engines().of_this_loop(self.settings)).pool, time.monotonic(), None
        in_use = pool.checkedout()
        try:
            async with self.get_async_session() as session:
                await session.execute(CHECK)
        except DatabaseError as error:
            reason = str(error)
        return _health(started, reason, pool.size(), in_use)

    def check_sync(self) -> Health:
        """The same with psycopg."""
        pool, started, reason = self._own_engines().sync(self.settings).pool, time.monotonic(), None
        in_use = pool.checkedout()
        try:
            with self.get_sync_session() as session:
                session.execute(CHECK)
        except DatabaseError as error:
            reason = str(error)
        return _health(started, reason, pool.size(), in_use)

    async def aclose(self) -> None:
        """Close every connection of this event loop and of psycopg, those in use too."""
        await self._own_engines().aclose()

    def close(self) -> None:
        """Close every connection of this process; for scripts, outside of an event loop."""
        self._own_engines().close()

    def _own_engines(self) -> Engines:
        self._engines = self._engines.after_fork()
        return self._engines


def _open_async(
    made: "engines.Async", settings: Settings, user_id: UUID | str | None, isolation: Isolation | None
) -> "AsyncSession":
    from db.sessions import AsyncSession, BoundSession, signer

    engine = made.engine if isolation is None else made.engine.execution_options(isolation_level=isolation)
    more: dict[str, Any] = {"expire_on_commit": False, "settings": settings}
    if user_id is not None:
        more |= {"sync_session_class": BoundSession, "signer": signer(settings, user_id)}
    return AsyncSession(engine, **more)


def _open_sync(
    made: "engines.Sync", settings: Settings, user_id: UUID | str | None, isolation: Isolation | None
) -> "Session":
    from db.sessions import BoundSession, Session, signer

    engine = made.engine if isolation is None else made.engine.execution_options(isolation_level=isolation)
    more: dict[str, Any] = {"expire_on_commit": False, "settings": settings}
    return (
        Session(engine, **more) if user_id is None else BoundSession(engine, signer=signer(settings, user_id), **more)
    )


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
