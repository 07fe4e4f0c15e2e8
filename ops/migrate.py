"""``./gaia migrate``: Alembic's commands against a stack's database, through the runner that ``up`` uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import locks
from ops import stacks
from ops.exits import FAILED, FINE
from ops.report import Report

if TYPE_CHECKING:
    from migrations.runner import Event, Result


def upgrade(report: Report, *, stack_name: str | None, revision: str) -> int:
    """Migrate up, roles and grants included."""
    from migrations import bootstrap, runner

    stack = stacks.open_stack(stack_name, report.long)
    logins = stacks.logins(stack)
    url = logins.superuser.url
    with locks.held(stack.checkout, stack.name, "./gaia migrate", report.say):
        if revision == "head":
            keys = logins.identity_keys
            applied = bootstrap.apply(url, passwords={}, identity_keys=keys, on_event=_teller(report))
            return _moved(report, stack.name, applied.result, list(applied.roles))
        return _moved(report, stack.name, runner.upgrade(url, revision, on_event=_teller(report)), [])


def downgrade(report: Report, *, stack_name: str | None, revision: str, yes: bool) -> int:
    """Migrate down. The tables that go take their rows with them: that needs a yes."""
    from migrations import runner

    stack = stacks.open_stack(stack_name, report.long)
    url = stacks.logins(stack).superuser.url
    with locks.held(stack.checkout, stack.name, "./gaia migrate", report.say):
        if not yes and (lost := runner.losses(url, revision)):
            stacks.confirm(f"This deletes the rows of {', '.join(lost)} in stack {stack.name}, for good.", stack.name)
        return _moved(report, stack.name, runner.downgrade(url, revision, on_event=_teller(report)), [])


def current(report: Report, *, stack_name: str | None) -> int:
    """Which revision the database is at."""
    from migrations import runner

    stack = stacks.open_stack(stack_name, report.long)
    at, head = runner.current(stacks.logins(stack).superuser.url), runner.head()
    text = f"{at or 'base'}{' (head)' if at == head else f', head is {head}'}"
    report.result(text, {"ok": True, "stack": stack.name, "revision": at, "head": head})
    return FINE


def history(report: Report) -> int:
    """The revisions of this checkout, newest first."""
    from migrations import runner

    line = list(reversed(runner.history()))
    text = "\n".join(f"{revision.id}  {revision.title}" for revision in line)
    report.result(text, {"ok": True, "revisions": [{"id": item.id, "title": item.title} for item in line]})
    return FINE


def check(report: Report, *, stack_name: str | None) -> int:
    """Whether the database agrees with the models."""
    from migrations import runner

    stack = stacks.open_stack(stack_name, report.long)
    differences = list(runner.check(stacks.logins(stack).superuser.url))
    text = "\n".join(differences) if differences else "models and migrations agree"
    report.result(text, {"ok": not differences, "stack": stack.name, "differences": differences})
    return FAILED if differences else FINE


def plan(report: Report, *, stack_name: str | None, revision: str) -> int:
    """What an upgrade would do, without doing it."""
    from migrations import plan as plans

    stack = stacks.open_stack(stack_name, report.long)
    pending = plans.plan(stacks.logins(stack).superuser.url, revision)
    report.result(plans.text(pending), {"ok": True, "stack": stack.name, **plans.document(pending)})
    return FINE


def new(report: Report, *, stack_name: str | None, title: str) -> int:
    """Write a new revision from what the models have and the database hasn't."""
    from migrations import runner
    from ops import develop

    stack = stacks.open_stack(stack_name, report.long)
    develop.require_tools(stack.checkout)  # a new revision is formatted as the others are
    written = runner.new(stacks.logins(stack).superuser.url, title)
    file = str(written.relative_to(stack.checkout.root)) if written else None
    text = (
        f"wrote {file}: read it, then ./gaia migrate upgrade" if file else "models and database agree: nothing to write"
    )
    report.result(text, {"ok": True, "stack": stack.name, "file": file})
    return FINE


def _moved(report: Report, stack: str, result: Result, roles: list[str]) -> int:
    before, after = result.before or "base", result.after or "base"
    text = f"revision {before} → {after}" if result.applied else f"at revision {after}, nothing to do"
    for line in (*roles, *result.grants):
        report.say(line)
    document: dict[str, Any] = {
        "ok": True,
        "stack": stack,
        "before": result.before,
        "revision": result.after,
        "applied": list(result.applied),
        "seconds": report.seconds,
    }
    report.result(text, document)
    return FINE


def _teller(report: Report) -> Any:
    def tell(event: Event) -> None:
        if event.kind in ("waiting", "upgrading", "downgrading", "retrying"):
            report.say(event.message)

    return tell
