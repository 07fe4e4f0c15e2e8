"""``./gaia preview``: what ``up`` would do."""

from __future__ import annotations

from engine import checkout as places
from engine import locks
from ops import preflight, stacks
from ops.progress import Progress
from ops.report import Report


def preview(report: Report, *, stack_name: str | None, refresh: bool) -> None:
    """What ``up`` would do; with ``refresh`` the server is looked at first."""
    checkout = places.here()
    places.prepare(checkout)
    name = stack_name or preflight.choose(checkout, report)
    with report.working("settings") as working:
        settings = stacks.read_settings(checkout, name)
        stack = stacks.with_engine(checkout, name, report.long)
        preflight.require_target(stack, settings, report)
        with locks.held(checkout, name, "./gaia preview", report.say) as run:
            stack.make()
            progress = Progress(working, preview=True)
            working.now("starting the engine")
            flags = ["--refresh"] if refresh else []
            summary = stack.run("preview", run.run_id, *flags, on_event=progress)
    lines = [*(f"drift: {line}" for line in progress.drift), *progress.steps]
    text = "\n".join(lines) if lines else "no changes"
    document = {
        "ok": True,
        "stack": name,
        "target": settings.target,
        "changes": dict(summary.changes),
        "drift": progress.drift,
        "steps": progress.steps,
        "seconds": report.seconds,
    }
    report.result(text, document)
