"""Which replica serves a read-only session: one that is known to be fresh enough, and shows what was written here."""

import itertools
import logging
import math
import os
import time
from collections.abc import Container, Generator

from db import wal, writes
from db.errors import DatabaseError
from db.health import ReplicaHealth
from db.lifetime import Engines
from db.settings import Settings
from db.watch import Watch

LONGEST_INTERVAL_S = 1.0
"""Between two looks at a server, while there are sessions that need them."""
RETRY_S = 2.0
"""Until a replica that didn't answer is tried again."""
WAIT_S = 0.05
"""How long a session waits for a replica to catch up; then the primary serves it."""
POLL_S = 0.001
SILENCE_S = 1.0
"""A replica that lets a look wait for so long would let sessions wait."""

log = logging.getLogger("db.replicas")
Steps = Generator[float, None, "Replica | None"]
"""Yields how long to pause; returns the replica, or None for the primary."""


class Replica:
    """One standby: its engines, and what is known of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engines = Engines()
        self.watch = Watch(settings)


class Replicas:
    """The replicas of one process. A child of a fork makes its own."""

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        self.each = tuple(map(Replica, settings.replicas))
        self._lag_max_s = settings.replica_lag_max_s
        self._interval_s = min(LONGEST_INTERVAL_S, self._lag_max_s / 4)
        self._history = wal.History(self._lag_max_s)
        self._primary = Watch(settings, self._note)
        self._turns = itertools.count()
        self._gave_up_at = -math.inf
        self._serving = True

    def choosing(self, after: int = 0, tried: "Container[Replica]" = ()) -> Steps:
        """A replica that shows what this context wrote and everything up to `after`; none of `tried`."""
        began, written = time.monotonic(), writes.last()
        target: int | None = None
        again = False
        while True:
            now = time.monotonic()
            if target is None:
                target = self._target(written, after)
            self._look_again(now, eager=again)
            if target is not None:
                able = [one for one in self.each if one not in tried and self._refusal(one, now, target) is None]
                if able:
                    self._serves()
                    return able[next(self._turns) % len(able)]
            if not self._worth_waiting(began, now):
                self._warn(now)
                return None
            yield POLL_S
            again = True

    def looking(self) -> Generator[float, None, None]:
        """Look at all servers, as long as that helps to tell how far behind they are."""
        began = time.monotonic()
        while (now := time.monotonic()) - began < WAIT_S:
            self._primary.want(began)
            self._look_again(now, eager=True)
            target = self._history.target(began)
            if target is not None and all(
                one.watch.failure or (one.watch.last and one.watch.last.lsn >= target) for one in self.each
            ):
                return
            yield POLL_S

    def health(self) -> tuple[ReplicaHealth, ...]:
        """What is known of each."""
        now = time.monotonic()
        found: list[ReplicaHealth] = []
        for one in self.each:
            refusal, look = self._refusal(one, now, 0), one.watch.last
            fresh_at = self._history.fresh_at(look.lsn) if look is not None and look.standby else None
            lag_s = None if fresh_at is None else round(now - fresh_at, 3)
            found.append(ReplicaHealth(where=one.settings.where, ok=refusal is None, lag_s=lag_s, reason=refusal))
        return tuple(found)

    def close_watches(self) -> None:
        """End the threads that look; whoever asks again gets new ones. The engines are closed elsewhere."""
        ended = self._watches()
        self._primary = Watch(self._primary.settings, self._note)
        for one in self.each:
            one.watch = Watch(one.settings)
        for watch in ended:
            watch.close()

    def _watches(self) -> tuple[Watch, ...]:
        return (self._primary, *(one.watch for one in self.each))

    def _note(self, look: wal.Look) -> None:
        if look.standby:
            raise DatabaseError("it is a standby, as after a failover")
        self._history.add(look)

    def _target(self, written: float, after: int) -> int | None:
        """What has to be replayed; None while the primary hasn't said where it is since the last write."""
        if written == -math.inf:
            return after
        self._primary.want(written)
        own = self._history.target(written)
        return None if own is None else max(own, after)

    def _look_again(self, now: float, *, eager: bool) -> None:
        """Want a look where the last one is old; `eager` at the replicas in any case."""
        for watch in self._watches():
            if watch.pending or (watch.failure and now - watch.failed_at < RETRY_S):
                continue
            old = watch.last is None or now - watch.last.at >= self._interval_s
            if old or (eager and watch is not self._primary):
                watch.want(now)

    def _refusal(self, replica: Replica, now: float, target: int) -> str | None:
        """Why it doesn't serve; None if it does."""
        look = replica.watch.last
        if replica.watch.failure is not None:
            return replica.watch.failure
        if look is None:
            return "it hasn't answered yet"
        if replica.watch.silent_s(now) > SILENCE_S:
            return f"it hasn't answered for {SILENCE_S:g} s"
        if not look.standby:
            return "it is no standby: it takes writes itself"
        fresh_at = self._history.fresh_at(look.lsn)
        if fresh_at is None or now - fresh_at > self._lag_max_s:
            return f"nothing shows that it is less than {self._lag_max_s:g} s behind the primary"
        return None if look.lsn >= target else "it has yet to replay the last write"

    def _worth_waiting(self, began: float, now: float) -> bool:
        """Not for long, not with nobody to wait for, and not again just after it was in vain."""
        if self._primary.failure or all(one.watch.failure for one in self.each):
            return False
        if now - began < WAIT_S:
            return now - self._gave_up_at > LONGEST_INTERVAL_S or began < self._gave_up_at
        self._gave_up_at = now
        return False

    def _serves(self) -> None:
        if not self._serving:
            self._serving = True
            log.info("a replica serves read-only sessions again")

    def _warn(self, now: float) -> None:
        """Say once that none serves, when that is certain."""
        known = self._history.covers(now - self._lag_max_s)
        certain = all(
            one.watch.failure or ((look := one.watch.last) and (known or not look.standby)) for one in self.each
        )
        if not self._serving or not certain:
            return
        refusals = [(one, self._refusal(one, now, 0)) for one in self.each]
        if all(refusal for _, refusal in refusals):
            self._serving = False
            told = "; ".join(f"{one.settings.where}: {refusal}" for one, refusal in refusals)
            log.warning("no replica serves, so the primary does until one can again: %s", told)
