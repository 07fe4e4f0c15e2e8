"""When a transaction that failed may run again, and after how long: rules on plain data."""

import random
from typing import TYPE_CHECKING

from db.errors import TryAgain, Unreachable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

ATTEMPTS = 3
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


def may_run_again(error: BaseException, *, attempt: int, attempts: int, committed: bool) -> bool:
    """Whether a whole transaction may run again after `error`; `attempt` counts from 1.

    Only if nothing of it can have been written: never once a part was committed, and never after OutcomeUnknown.
    """
    return isinstance(error, TryAgain | Unreachable) and attempt < attempts and not committed


def pause_s(attempt: int) -> float:
    """How long to wait after the attempt that failed: by chance, so that two that collided don't meet again."""
    return random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt))


def note_commits(session: "Session", commits: list[bool]) -> None:
    """Add to `commits` whenever `session` commits; the end of a savepoint is none."""
    from sqlalchemy import event

    @event.listens_for(session, "after_commit")
    def note(ended: "Session") -> None:
        if not ended.in_nested_transaction():
            commits.append(True)
