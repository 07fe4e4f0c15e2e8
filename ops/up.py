"""``./gaia up``: the engine's update, with what a person needs around it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from engine import checkout as places
from engine import locks, warm_provider
from ops import preflight, stacks
from ops.exits import UsageFault
from ops.progress import Progress
from ops.report import Report

if TYPE_CHECKING:
    from engine.checkout import Checkout
    from engine.stack import Stack, Summary
    from infra.settings import Settings

_COUNTED = (
    ("create", "created"),
    ("update", "updated"),
    ("replace", "replaced"),
    ("delete", "deleted"),
    ("import", "taken over"),
)


def up(report: Report, *, stack_name: str | None, changes: list[str], restore_state: bool) -> None:
    """Bring the stack up, or back up: see ``cli`` for what a person reads."""
    checkout = places.here()
    places.prepare(checkout)
    name = stack_name or preflight.choose(checkout, report)
    pairs = [pair(change) for change in changes]
    if name not in checkout.stacks():
        raise UsageFault(f"there is no stack {name}: no file Pulumi.{name}.yaml; known: {', '.join(checkout.stacks())}")
    chosen = _with_changes(checkout, name, pairs)
    stack, settings, summary = bring_up(
        report, checkout, name, command="./gaia up", chosen=chosen, restore_state=restore_state
    )
    _renew_files(report, stack, summary)
    _tell_up(report, stack, settings, summary)


def bring_up(
    report: Report,
    checkout: Checkout,
    name: str,
    *,
    command: str,
    chosen: AbstractContextManager[Settings],
    restore_state: bool = False,
) -> tuple[Stack, Settings, Summary]:
    """Bring a stack to the ``chosen`` settings, which are read while it is held for ``command``."""
    with (
        report.working("settings") as working,
        locks.held(checkout, name, command, report.say) as run,
        warm_provider.started(checkout.root, run.run_id, os.environ) as provider,
        _after_failover(checkout, name, report, chosen) as settings,
    ):
        stack = stacks.with_engine(checkout, name, report.long)
        if restore_state:
            kept = stack.restore_state()
            report.say(f"went back to the state before the last change; the damaged one is kept: {kept}")
        preflight.require_same_database(stack, settings)
        preflight.require_no_earlier_turn(stack, settings)
        with ThreadPoolExecutor() as aside:
            # Deriving a new stack's key takes half a second, which is as long as asking Docker.
            made = aside.submit(stack.make)
            preflight.require_target(stack, settings, report)
            preflight.require_place(stack, settings, report)
            made.result()
        stacks.remember(checkout, name)
        preflight.settle(stack, run.run_id, report)
        working.now("starting the engine")
        summary = stack.run("up", run.run_id, "--refresh", provider=provider, on_event=Progress(working))
    return stack, settings, summary


@contextlib.contextmanager
def _after_failover(
    checkout: Checkout, name: str, report: Report, chosen: AbstractContextManager[Settings]
) -> Iterator[Settings]:
    if preflight.finish_failover(checkout, name, report.say):
        report.say("finished the failover that was interrupted")
    with chosen as settings:
        yield settings


def _renew_files(report: Report, stack: Stack, summary: Summary) -> None:
    """Write anew what ``env --file`` wrote, where the logins may have changed since."""
    from ops import access, env_files

    renewed = env_files.renew(stack, access.document_lines, changed=summary.changed > 0)
    for path in renewed.written:
        report.say(f"  wrote {path} anew")
    for said in renewed.failed:
        report.say(f"  {said}: it still has the logins of before; write it again with ./gaia env --file")


def _tell_up(report: Report, stack: Stack, settings: Settings, summary: Summary) -> None:
    outputs = summary.outputs
    revision = outputs.get("schema_revision")
    seconds = report.seconds
    where = f"postgresql://{settings.database.user}:***@{outputs['host']}:{outputs['port']}/{outputs['database']}"
    counted = ", ".join(f"{summary.changes[key]} {word}" for key, word in _COUNTED if summary.changes.get(key))
    lines = [
        f"stack {stack.name} is up ({settings.target}): {counted or 'nothing to change'}",
        f"  {where}",
        f"  schema at revision {revision}; {seconds:.1f} s",
        'next: ./gaia psql · ./gaia verify · eval "$(./gaia env)"',
    ]
    document = {
        "ok": True,
        "stack": stack.name,
        "target": settings.target,
        "revision": revision,
        "changes": {key: summary.changes.get(key, 0) for key, _ in _COUNTED},
        "seconds": seconds,
    }
    report.result("\n".join(lines), document)


@contextlib.contextmanager
def _with_changes(checkout: Checkout, name: str, pairs: list[tuple[str, str]]) -> Iterator[Settings]:
    """The settings with ``--set``, which is kept unless what follows fails: then all values are as before."""
    from engine import working_copy

    if not pairs:
        yield stacks.read_settings(checkout, name)
        return
    working_copy.refresh(checkout, name)
    before = checkout.working_copy(name).read_text(encoding="utf-8")
    try:
        working_copy.set_values(checkout, name, pairs)
        yield stacks.read_settings(checkout, name)
    except Exception:
        working_copy.take_back(checkout, name, before)
        raise


def pair(change: str) -> tuple[str, str]:
    """``KEY=VALUE`` of ``--set``. Raises ``UsageFault``."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise UsageFault(f"--set {change}: must be KEY=VALUE, such as database.port=5433")
    return path.removeprefix("gaia-db:"), text
