"""``./gaia restore``: a backup in the place of a stack's database, and drills of it where nothing can be lost."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import locks
from ops import stacks
from ops.backups import place_of, size
from ops.exits import FINE, Missing, Refused, UsageFault
from ops.report import Report

if TYPE_CHECKING:
    from backup.databases import Kept
    from backup.folder import Entry
    from backup.restore import Restored
    from backup.source import Source
    from ops.report import Working

NEWEST = "newest"
"""In place of a name: the newest verified backup."""
PUT_ASIDE = re.compile(r".+_before_\d{8}_\d{6}")
"""The name of a database that a restore put aside."""
SHOWN = 10
"""So many backups are listed to choose from."""


def restore(
    report: Report, *, stack_name: str | None, file: str | None, replace: bool, jobs: int, place: Path | None = None
) -> int:
    """Put a backup in the place of the stack's database."""
    from backup import restore as backup
    from infra.local import postgres

    _refuse_cloud(stack_name)
    if file is not None and PUT_ASIDE.fullmatch(file):
        return _bring_back(report, stack_name, file, replace=replace)
    entry = chosen(report, place_of(place), file, "./gaia restore")
    with report.working("reading the backup") as working:
        source = verified(report, entry, working)
        stack = stacks.open_stack(stack_name, report.long)
        logins = stacks.logins(stack)
        with locks.held(stack.checkout, stack.name, "./gaia restore", report.say):
            done = backup.restore(
                logins.superuser.url,
                source,
                binaries=postgres.packaged_binaries(),
                identity_keys=logins.identity_keys,
                replace=replace,
                jobs=jobs,
                say=working.step,
                now=working.now,
            )
    report.result(_sentence(stack.name, source, done), _document(stack.name, source, done, report))
    return FINE


def _bring_back(report: Report, stack_name: str | None, name: str, *, replace: bool) -> int:
    """The way back: the database that a restore put aside."""
    from backup import restore as backup

    stack = stacks.open_stack(stack_name, report.long)
    url = stacks.logins(stack).superuser.url
    with locks.held(stack.checkout, stack.name, "./gaia restore", report.say):
        kept = backup.bring_back(url, name, replace=replace)
    text = f"{name} is the database of stack {stack.name} again; the one before is kept as {kept}"
    report.result(text, {"ok": True, "stack": stack.name, "backup": name, "kept": kept, "seconds": report.seconds})
    return FINE


def discard_old(report: Report, *, stack_name: str | None, yes: bool) -> int:
    """Remove the databases that restores put aside."""
    from backup import databases

    _refuse_cloud(stack_name)
    stack = stacks.open_stack(stack_name, report.long)
    superuser = stacks.logins(stack).superuser
    with (
        locks.held(stack.checkout, stack.name, "./gaia restore", report.say),
        databases.alone(superuser.url) as server,
    ):
        kept = databases.kept(server, superuser.database)
        if kept and not yes:
            stacks.confirm(f"This deletes {_listed(kept)} of stack {stack.name}, for good.", stack.name)
        for one in kept:
            databases.drop(server, one.name)
    text = f"removed {_listed(kept)}" if kept else "no restore has put a database aside: nothing to remove"
    report.result(text, {"ok": True, "stack": stack.name, "removed": [one.name for one in kept]})
    return FINE


def chosen(report: Report, place: Path, file: str | None, command: str) -> Entry:
    """The backup that is meant; without ``file`` a person is asked. Raises ``UsageFault`` where there is nobody."""
    from backup import folder

    if file is not None:
        return folder.newest(place) if file == NEWEST else folder.find(place, file)
    there = folder.entries(place)
    if not there:
        raise Missing(f"there is no backup in {place}: make one with ./gaia backup")
    lines = [_line(number, entry) for number, entry in enumerate(there[:SHOWN], start=1)]
    if len(there) > SHOWN:
        lines.append(f"    and {len(there) - SHOWN} more: ./gaia backups list")
    if report.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageFault("\n".join([f"which backup? {command} {there[0].name}, or another of these:", *lines]))
    return _asked(report, there[:SHOWN], lines)


def verified(report: Report, entry: Entry, working: Working) -> Source:
    """The backup, once every byte of it was read and found to be what its manifest says."""
    from backup import source

    total = entry.manifest.bytes if entry.manifest else 0
    done, started = 0, time.monotonic()

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        if time.monotonic() - started > 1:
            report.long(f"reading {entry.name}: {100 * done // max(total, 1)} %")

    working.now(f"reading {entry.name}")
    found = source.verified(entry, on_bytes)
    if found.manifest is None:
        report.say(
            f"{found.name} has no manifest: it was read to its end, but nothing says which rows should be in it, "
            "nor whether one was changed"
        )
    else:
        report.say(f"{found.name} is whole: {size(total)} read and compared")
    return found


def age(moment: datetime, now: datetime | None = None) -> str:
    """How long ago, as people say it."""
    seconds = max(((now or datetime.now(UTC)) - moment).total_seconds(), 0)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}s"
    return f"{seconds:.0f} s"


def _refuse_cloud(stack_name: str | None) -> None:
    if name := stacks.in_cloud(stack_name):
        raise Refused(
            f"stack {name} is in Google Cloud, where nothing is restored in place: clone the instance to a point in "
            "time, as docs/restore.md says"
        )


def _asked(report: Report, there: list[Entry], lines: list[str]) -> Entry:
    import typer

    for line in lines:
        report.say(line)
    number = typer.prompt("Which one", default=1, type=int, err=True)
    if not 1 <= number <= len(there):
        raise UsageFault(f"{number} is not in the list: name a backup, or give a number from 1 to {len(there)}")
    return there[number - 1]


def _line(number: int, entry: Entry) -> str:
    rows = f", {entry.manifest.rows:,} rows" if entry.manifest else ""
    return f"{number:>4}  {entry.name}  {entry.state}, {age(entry.made_at)} old{rows}"


def _sentence(stack: str, source: Source, done: Restored) -> str:
    from migrations import runner

    proved = "as its manifest says" if source.manifest else "which nothing could be compared with"
    head = runner.head()
    at = "(head)" if done.revision == head else f", head is {head}: run ./gaia migrate upgrade"
    lines = [
        f"{source.name} is the database of stack {stack} now: {done.rows:,} rows in {done.tables} tables, {proved}; "
        f"{done.seconds:.1f} s",
        f"  revision {done.revision or 'base'} {at}".replace(" ,", ","),
    ]
    if source.manifest:
        made = source.manifest.made_at
        lines.append(f"  what was written since {made:%Y-%m-%d %H:%M:%S} UTC ({age(made)} ago) is not in it")
    if done.kept:
        lines.append(f"  the one before is kept as {done.kept}: remove it with ./gaia restore --discard-old")
    return "\n".join(lines)


def _document(stack: str, source: Source, done: Restored, report: Report) -> dict[str, Any]:
    from migrations import runner

    made = source.manifest.made_at if source.manifest else None
    return {
        "ok": True,
        "stack": stack,
        "backup": source.name,
        "compared": source.manifest is not None,
        "revision": done.revision,
        "head": runner.head(),
        "tables": done.tables,
        "rows": done.rows,
        "made_at": made.isoformat(timespec="seconds") if made else None,
        "age_s": round((datetime.now(UTC) - made).total_seconds(), 1) if made else None,
        "kept": done.kept,
        "restore_s": done.seconds,
        "seconds": report.seconds,
    }


def _listed(kept: list[Kept]) -> str:
    return ", ".join(f"{one.name} ({size(one.bytes)})" for one in kept)
