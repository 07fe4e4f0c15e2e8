"""``./gaia failover``: the standby takes the primary's place; the old primary becomes its standby."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engine import locks, warm_provider
from ops import preflight, stacks
from ops.exits import Refused, UsageFault
from ops.progress import Progress
from ops.report import Report

if TYPE_CHECKING:
    from engine.stack import Stack
    from infra.local.failover import Outcome, Outlook
    from infra.local.replication import Pair
    from ops.report import Working

LOOK_EVERY_S = 0.1
CATCH_UP_S = 60
CATCH_UP_BYTES = 16 * 1024 * 1024
"""What the old primary may have left to send when it is stopped: it ends once its standby has all."""


def failover(report: Report, *, stack_name: str | None, yes: bool) -> None:
    """Fence, promote, take over the port, rebuild; a failover that was interrupted is finished first."""
    from infra.local import failover as library

    stack = stacks.open_stack(stack_name, report.long)
    settings = stacks.read_settings(stack.checkout, stack.name)
    if settings.target == "gcp":
        raise UsageFault(
            f"stack {stack.name} is in Google Cloud, whose regional instance fails over by itself; "
            "to try it: gcloud sql instances failover"
        )
    with (
        report.working("looking at both servers") as working,
        locks.held(stack.checkout, stack.name, "./gaia failover", report.say) as run,
        warm_provider.started(stack.checkout.root, run.run_id, os.environ) as provider,
    ):
        stack.make()
        pair = stacks.pair(stack)
        preflight.settle(stack, run.run_id, report)
        if library.under_way(pair.primary.home):
            report.say("finishing the failover that was interrupted")
        else:
            seen = _sure(report, library.outlook(pair), pair, stack.name, yes=yes)
            library.begin(pair, seen)
        outage = Outage(pair)
        outcome = _finished(stack, pair, working)
        with outage.watched(lambda down_s: report.say(_promoted(pair, outcome, down_s))):
            working.now("making the old primary a standby")
            stack.run("up", run.run_id, "--refresh", provider=provider, on_event=Progress(working))
        down_s = outage.seconds
    document: dict[str, Any] = {
        "ok": True,
        "stack": stack.name,
        "address": _address(pair),
        "lost_bytes": outcome.lost_bytes,
        "synchronous": outcome.synchronous,
        "down_s": round(down_s, 2),
        "seconds": report.seconds,
    }
    text = (
        f"stack {stack.name} failed over in {report.seconds:.1f} s, {down_s:.1f} s of them without a primary: "
        f"{_loss(outcome)}\n  {_address(pair)} is the former standby; the old primary follows it"
    )
    report.result(text, document)


def _sure(report: Report, seen: Outlook, pair: Pair, stack: str, *, yes: bool) -> Outlook:
    """Raise ``Refused`` where the standby may not be promoted, or where rows may be lost and nobody agreed to that."""
    if seen.primary == "running":
        _caught_up(report, pair)
    elif not seen.ready:
        raise Refused(
            f"the primary is {seen.primary}, and its standby isn't known to have what it had, so it isn't promoted: "
            f"./gaia up --stack {stack} starts the primary again and mends the standby"
        )
    elif seen.ahead_bytes != 0 and not seen.synchronous and not yes:
        missing = "an unknown amount" if seen.ahead_bytes is None else f"{seen.ahead_bytes} bytes"
        whole = f" (./gaia up --stack {stack} starts it again, without loss)" if seen.primary == "stopped" else ""
        stacks.confirm(f"The primary is {seen.primary}, with {missing} of log that its standby lacks{whole}.", stack)
    return seen


def _caught_up(report: Report, pair: Pair) -> None:
    from infra.local import replication

    deadline = time.monotonic() + CATCH_UP_S
    while True:
        now = replication.look(pair)
        if now.status != "streaming" or replication.follows(pair.standby) is None:
            raise Refused(f"the primary serves, and its standby is {now.status}: run ./gaia up first, which mends it")
        if (now.lag_bytes or 0) <= CATCH_UP_BYTES:
            return
        if time.monotonic() > deadline:
            raise Refused(
                f"the primary serves, and its standby is {now.lag_bytes} bytes behind: end what holds it up, or wait"
            )
        report.long(f"waiting for the standby: {now.lag_bytes} bytes behind")
        time.sleep(0.5)


class Outage:
    """How long nobody serves at the primary's port: from now on."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.began = time.monotonic()
        self.seconds = 0.0

    @contextlib.contextmanager
    def watched(self, tell: Callable[[float], None]) -> Iterator[None]:
        """Look for its end, and tell of it: an embedded server serves already, containers are being made meanwhile."""
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(tell, done))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, tell: Callable[[float], None], done: threading.Event) -> None:
        while not self._over():
            if done.wait(LOOK_EVERY_S):
                self.seconds = time.monotonic() - self.began
                return
        self.seconds = time.monotonic() - self.began
        tell(self.seconds)

    def _over(self) -> bool:
        from infra.local import replication
        from infra.local.errors import NotReachable

        try:
            replication.session(self.pair, self.pair.primary_port).close()
        except NotReachable:
            return False
        return True


def _finished(stack: Stack, pair: Pair, working: Working) -> Outcome:
    from infra.local import failover as library

    with _undisturbed():
        contained = preflight.finish_failover(stack.checkout, stack.name, working.step)
        outcome = contained or library.finish(pair.primary.home, working.step)
    assert outcome is not None
    return outcome


def _promoted(pair: Pair, outcome: Outcome, down_s: float) -> str:
    return f"  promoted: {_address(pair)} takes writes again after {down_s:.1f} s; {_loss(outcome)}"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C wait: between the fence and the promotion nobody serves."""
    arrived: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


def _loss(outcome: Outcome) -> str:
    if outcome.lost_bytes == 0:
        return "nothing is lost"
    if outcome.synchronous:
        return "nothing that was acknowledged is lost"
    if outcome.lost_bytes is None:
        return "how much is lost is unknown, as the old primary's data is gone"
    return f"the last {outcome.lost_bytes} bytes of the old primary's log are lost"


def _address(pair: Pair) -> str:
    return f"{pair.address}:{pair.primary_port}"
