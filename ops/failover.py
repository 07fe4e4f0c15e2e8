"""``./gaia failover``: the standby takes the primary's place; the old primary becomes its standby."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine import locks, warm_provider
from ops import preflight, stacks
from ops.exits import Refused, UsageFault
from ops.progress import Progress
from ops.report import Report

if TYPE_CHECKING:
    from infra.local.failover import Outcome, Outlook
    from infra.local.replication import Pair
    from ops.report import Working

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
        outcome, down_s = _finished(pair, working)
        report.say(f"  promoted: {_address(pair)} takes writes again after {down_s:.1f} s; {_loss(outcome)}")
        working.now("making the old primary a standby")
        stack.run("up", run.run_id, "--refresh", provider=provider, on_event=Progress(working))
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


def _finished(pair: Pair, working: Working) -> tuple[Outcome, float]:
    from infra.local import failover as library

    began = time.monotonic()
    with _undisturbed():
        outcome = library.finish(pair.primary.home, working.step)
    assert outcome is not None
    return outcome, time.monotonic() - began


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
    from infra.local import postgres

    return f"{postgres.ADDRESS}:{pair.primary_port}"
