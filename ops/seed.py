"""``./gaia seed``: made-up data for a stack on this machine."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engine import locks
from ops import stacks
from ops.exits import FINE, OpsError, Refused, UsageFault
from ops.report import Report

if TYPE_CHECKING:
    import psycopg

    from db.seed.plan import Plan

Step = Callable[[str, int], None]


def seed(
    report: Report,
    *,
    stack_name: str | None,
    users: int,
    messages: int,
    campaigns: int | None = None,
    number: int = 0,
    until: str | None = None,
    add: bool = False,
) -> int:
    """Make the rows that the numbers ask for, all in one transaction."""
    asked = _plan(users, messages, campaigns, number, until)
    _refuse_cloud(stack_name)
    stack = stacks.open_stack(stack_name, report.long)
    url = stacks.logins(stack).superuser.url
    with locks.held(stack.checkout, stack.name, "./gaia seed", report.say):
        counts = fill(report, url, asked, add=add)
    span = {"since": str(asked.since), "until": str(asked.until), "seed": asked.seed}
    report.result(
        _sentence(counts, asked, report.seconds),
        {"ok": True, "stack": stack.name, "rows": counts, **span, "seconds": report.seconds},
    )
    return FINE


def _plan(users: int, messages: int, campaigns: int | None, number: int, until: str | None) -> Plan:
    """What the command line asks for. Raises ``UsageFault``."""
    from db.seed.plan import Plan

    try:
        return Plan.of(users=users, messages=messages, campaigns=campaigns, until=_day(until), seed=number)
    except ValueError as error:
        raise UsageFault(str(error)) from None


def _sentence(counts: dict[str, int], made: Plan, seconds: float) -> str:
    """What was made: one line for each table, its number right-aligned."""
    width = max(len(f"{count:,}") for count in counts.values())
    rows = [f"  {count:>{width},}  {table}" for table, count in counts.items()]
    return "\n".join([f"made in {seconds} s, from {made.since} until {made.until}, seed {made.seed}:", *rows])


def _refuse_cloud(stack_name: str | None) -> None:
    """Before anything else is asked for. Raises ``Refused``."""
    if name := stacks.in_cloud(stack_name):
        raise Refused(f"stack {name} is in Google Cloud: made-up people have no place among real ones")


def fill(report: Report, url: str, asked: Plan, *, add: bool) -> dict[str, int]:
    """Load the plan's rows; returns how many went into each table."""
    from dataclasses import replace

    from db.seed import load
    from migrations import connection as connections
    from migrations import partitions

    with connections.connect(url) as connection:
        _require_head(connections.revision_of(connection))
        connections.become_owner(connection)
        there = _users(connection)
        if there and not add:
            raise Refused(f"the database has {there} users already: add to them with --add, or start with an empty one")
        partitions.maintain(url, since=asked.since)
        counts = dict.fromkeys(load.TABLES, 0)
        with _bar(report, asked.messages) as step, _said_plainly():
            load.load(connection, replace(asked, batch=there), _counting(counts, step))
            step("what the planner knows", 0)
            load.analyze(connection)
    return counts


def _users(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM auth.users").fetchone()
    return int(row[0]) if row else 0


def _counting(counts: dict[str, int], step: Step) -> Step:
    def count(table: str, rows: int) -> None:
        counts[table] += rows
        step(table, rows if table == "game.chat_history" else 0)

    return count


def _require_head(revision: str | None) -> None:
    from migrations import runner

    if revision != runner.head():
        raise OpsError(f"the database is at {revision or 'base'}, head is {runner.head()}: run ./gaia migrate upgrade")


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    """What PostgreSQL refuses, as a sentence; nothing was changed then."""
    import psycopg

    try:
        yield
    except psycopg.errors.UniqueViolation:
        raise OpsError("rows of this seed are there already, nothing was changed: take another --seed") from None
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        raise OpsError(f"nothing was changed: {said}") from None


@contextlib.contextmanager
def _bar(report: Report, messages: int) -> Iterator[Step]:
    """Show how far the messages are: a bar in a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(report, messages)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("making rows", total=messages)
        yield lambda table, rows: progress.update(task, description=table, advance=rows)


def _lines(report: Report, messages: int) -> Step:
    done = 0

    def step(table: str, rows: int) -> None:
        nonlocal done
        done += rows
        report.long(f"{done:,} of {messages:,} messages" if done else f"making rows of {table}")

    return step


def _day(until: str | None) -> dt.date:
    """The first day without messages: today in UTC where nothing is said. Raises ``UsageFault``."""
    today = dt.datetime.now(dt.UTC).date()
    try:
        day = dt.date.fromisoformat(until) if until else today
    except ValueError:
        raise UsageFault(f"--until {until}: must be a date such as {today}") from None
    if day > today:
        raise UsageFault(f"--until {until}: must not be after today, {today} in UTC")
    return day
