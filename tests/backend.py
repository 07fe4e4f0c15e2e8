"""A backend in miniature for tests: a pool of the ``db`` package that works on and on, and notes what fails."""

from __future__ import annotations

import asyncio
import threading

from db.errors import DatabaseError
from db.manager import DatabaseManager
from db.settings import from_environment

RECYCLE_S = 1
"""Connections are made anew so often: each is a login."""


class Backend:
    """Runs from ``start`` to ``stop`` with the login that it was given, as a process does."""

    def __init__(self, url: str, *, workers: int = 3) -> None:
        self.failures: list[str] = []
        self.worked = 0
        self._manager = DatabaseManager(
            from_environment({"DATABASE_URL": url, "DATABASE_POOL_RECYCLE_S": str(RECYCLE_S)})
        )
        self._workers = workers
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> Backend:
        """Begin to work; returns itself once the first transaction is through."""
        self._thread.start()
        while self._thread.is_alive() and not self.worked and not self.failures:
            self._stopped.wait(0.01)
        return self

    def stop(self) -> None:
        """End, and hang up."""
        self._stopped.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._work() for _ in range(self._workers)))

    async def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                async with self._manager.get_async_session() as session:
                    await session.execute("SELECT 1")
                self.worked += 1
            except DatabaseError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.02)
