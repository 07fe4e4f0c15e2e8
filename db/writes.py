"""When this logical context last committed: an asyncio task with the tasks that it starts, or a thread."""

import math
import time
from contextvars import ContextVar

from db.errors import OutcomeUnknown

_last: ContextVar[float] = ContextVar("gaia_last_write", default=-math.inf)


def note() -> None:
    """A commit was answered; whether it wrote anything isn't known without asking."""
    _last.set(time.monotonic())


def note_unless_undone(error: BaseException) -> None:
    """A block ended with `error`: was cancelled, which may have been during COMMIT, or lost the answer to it."""
    if isinstance(error, OutcomeUnknown) or not isinstance(error, Exception):
        note()


def any_yet() -> bool:
    """Whether there was one."""
    return _last.get() != -math.inf


def last() -> float:
    """By time.monotonic(); minus infinity without one."""
    return _last.get()
