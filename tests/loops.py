"""Event loops that nobody closed: those of Pulumi's SDK are closed, anybody else's are blamed on who made them.

Unclosed, a loop warns when the collector finds it, and a warning is an error: of whichever test runs then.
"""

from __future__ import annotations

import asyncio
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

_CANCELLED_S = 30.0


@contextmanager
def closing() -> Iterator[None]:
    """Give this thread a loop, as the SDK wants it, and close what was made in this block, by whichever thread.

    The Automation API makes a loop for each run of a program, and leaves it open where a task of a failed program
    answers its cancellation with an error.
    """
    made: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", noted)
        asyncio.set_event_loop(noted())
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            for loop in made:
                if not loop.is_running():
                    end(loop)


def end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is pending on the idle ``loop``, let it come to its end, and close the loop.

    A coroutine that is left to the collector runs its ``finally`` in whatever it interrupts: ``ast.parse`` dies of it.
    """
    if not loop.is_closed() and (pending := asyncio.all_tasks(loop)):
        for task in pending:
            task.cancel()
        with suppress(Exception):
            loop.run_until_complete(asyncio.wait(pending, timeout=_CANCELLED_S))
    loop.close()


@pytest.fixture(autouse=True)
def own_event_loop() -> Iterator[None]:
    """For tests in which Pulumi's Automation API, or its mocks, run a program."""
    with closing():
        yield


class Ledger:
    """The loops that were made since it was opened, and where."""

    def __init__(self) -> None:
        self._made: list[tuple[weakref.ref[Any], str]] = []

    def noting(self, make: Callable[..., None]) -> Callable[..., None]:
        """``BaseEventLoop.__init__``, which notes the loop as well."""

        def init(loop: Any, *args: Any, **kwargs: Any) -> None:
            make(loop, *args, **kwargs)
            self._made.append((weakref.ref(loop), "".join(traceback.format_stack(limit=12)[:-1])))

        return init

    def left(self) -> list[str]:
        """Where the loops were made that are idle and open, each of which is closed now, and told once."""
        found: list[str] = []
        for loop, where in [(made(), where) for made, where in self._made]:
            if loop is not None and not loop.is_closed() and not loop.is_running():
                end(loop)
                found.append(where)
        self._made = [(made, where) for made, where in self._made if (loop := made()) and not loop.is_closed()]
        return found
