"""``./gaia backup``: back a stack's database up, and remove what is more than the last ten."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine import locks
from ops import stacks
from ops.backups import document, place_of, rate, size
from ops.exits import FINE, Refused, UsageFault
from ops.report import Report

if TYPE_CHECKING:
    from backup.dump import OnProgress, Progress
    from backup.folder import Entry
    from backup.manifest import DumpFormat

FORMATS: tuple[DumpFormat, ...] = ("directory", "sql.gz")
COMMAND = "./gaia backup"


def backup(report: Report, *, stack_name: str | None, form: str, keep: int, folder: Path | None) -> int:
    """Make one, then remove those that are more than ``keep``."""
    from backup import dump
    from backup import folder as backups
    from infra.local.postgres import packaged_binaries

    dump_format = _format(form)
    if name := stacks.in_cloud(stack_name):
        raise Refused(
            f"stack {name} is in Google Cloud, which backs it up itself: docs/restore.md has the "
            "commands for a backup on demand, an export and a restore"
        )
    stack = stacks.open_stack(stack_name, report.long)
    url, place = stacks.logins(stack).superuser.url, place_of(folder)
    with locks.held(stack.checkout, stack.name, COMMAND, report.say), backups.locked(place, COMMAND):
        backups.clear(place, report.say)
        report.long(f"backing up stack {stack.name}")
        with _bar(report) as show:
            made = dump.make(
                place,
                url=url,
                stack=stack.name,
                binaries=packaged_binaries(),
                dump_format=dump_format,
                on_progress=show,
            )
        removed = backups.prune(place, keep, report.say)
    text = "\n".join([_made(made), *(f"  removed {name}: the last {keep} are kept" for name in removed)])
    report.result(text, {"ok": True, **document(made), "removed": removed, "seconds": report.seconds})
    return FINE


def _format(form: str) -> DumpFormat:
    for known in FORMATS:
        if known == form:
            return known
    raise UsageFault(f"--format {form}: must be one of {', '.join(FORMATS)}")


def _made(entry: Entry) -> str:
    known = entry.manifest
    assert known
    speed = size(rate(known.table_bytes, known.duration_s))
    return (
        f"{entry.name} is verified: {known.rows:,} rows of {len(known.tables)} tables, "
        f"revision {known.revision or 'base'}\n"
        f"  {size(known.table_bytes)} in {known.duration_s:.1f} s ({speed}/s), {size(known.bytes)} on the disk\n"
        f"  {entry.path}"
    )


@contextlib.contextmanager
def _bar(report: Report) -> Iterator[OnProgress]:
    """Show how far it is: a bar in a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield lambda progress: report.long(_line(progress))
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("backing up", total=1.0)
        yield lambda progress: bar.update(task, description=_line(progress), completed=progress.share)


def _line(progress: Progress) -> str:
    total = size(progress.table_bytes)
    return (
        f"dumped {size(progress.dumped_bytes)} and hashed {size(progress.hashed_bytes)} of {total}, "
        f"{size(progress.written_bytes)} read back"
    )
