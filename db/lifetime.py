"""Which engines this process has: made on first use, one for each event loop, none taken along by a fork."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING

from db.settings import Settings

if TYPE_CHECKING:
    from db import engines

CLOSE_WAIT_S = 10
"""How long close() waits for an event loop in another thread."""

_of_the_parent: "list[Engines]" = []
"""Engines that a fork took along. Kept for ever: to collect them would hang up on the parent's behalf."""


class Engines:
    """The engines of one process. A child of a fork makes its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._sync: engines.Sync | None = None
        self._async: dict[asyncio.AbstractEventLoop, tuple[engines.Async, AsyncGenerator[None]]] = {}

    def after_fork(self) -> "Engines":
        """What this process may use: these, or new ones if a fork made it."""
        if self.pid == os.getpid():
            return self
        _of_the_parent.append(self)
        return Engines()

    def sync(self, settings: Settings) -> "engines.Sync":
        """The engine of psycopg; for all threads."""
        if self._sync is None:
            from db import engines

            with self._lock:
                self._sync = self._sync or engines.make_sync(settings)
        return self._sync

    async def of_this_loop(self, settings: Settings) -> "engines.Async":
        """The engine of asyncpg for the running event loop."""
        loop = asyncio.get_running_loop()
        if (known := self._async.get(loop)) is None:
            from db import engines

            self.abandon_closed_loops()
            made = engines.make_async(settings)
            known = self._async[loop] = made, self._until_the_loop_ends(loop, made)
            await anext(known[1])
        return known[0]

    async def aclose(self) -> None:
        """Close what the running event loop has open, what closed loops left, and the engine of psycopg."""
        self.abandon_closed_loops()
        if (known := self._async.pop(asyncio.get_running_loop(), None)) is not None:
            await known[0].aclose()
            await known[1].aclose()
        self._close_sync()

    def close(self) -> None:
        """Close everything, whichever event loop it belongs to; from outside of any."""
        self._close_sync()
        self.abandon_closed_loops()
        for loop, (made, _) in list(self._async.items()):
            self._async.pop(loop, None)
            if not loop.is_running():
                loop.run_until_complete(made.aclose())
            elif loop is _running_here():
                made.abandon()
            else:
                with suppress(TimeoutError):
                    asyncio.run_coroutine_threadsafe(made.aclose(), loop).result(CLOSE_WAIT_S)

    def abandon_closed_loops(self) -> None:
        """Hang up what belongs to loops that were closed without ending their asynchronous generators."""
        for loop in [loop for loop in list(self._async) if loop.is_closed()]:
            if (known := self._async.pop(loop, None)) is not None:  # another thread may have been quicker
                known[0].abandon()

    async def _until_the_loop_ends(
        self, loop: asyncio.AbstractEventLoop, made: "engines.Async"
    ) -> AsyncGenerator[None]:
        # asyncio.run ends its asynchronous generators before it closes the loop: the one moment at which connections
        # can still be closed properly, without anybody having to think of it.
        try:
            yield
        finally:
            # close() may have closed it long ago, and another one be in use since.
            if (known := self._async.get(loop)) is not None and known[0] is made:
                del self._async[loop]
                await made.aclose()

    def _close_sync(self) -> None:
        with self._lock:
            made, self._sync = self._sync, None
        if made is not None:
            made.close()


def _running_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
