"""``./gaia restore --drill``: a backup restored into a scratch PostgreSQL 16, timed, and the result recorded."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops import restore, throwaway
from ops.backups import place_of
from ops.checks import Check
from ops.exits import FAILED, FINE
from ops.report import Report

if TYPE_CHECKING:
    from backup.drill import Drill
    from backup.folder import Entry
    from ops.report import Working

PARAMETERS: dict[str, str | int] = {
    # Rows that are copied into a new table need no log where nobody follows it.
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "max_wal_size": "4GB",
    "max_locks_per_transaction": 256,
}


def drill(report: Report, *, file: str | None, jobs: int, place: Path | None = None) -> int:
    """Restore the newest verified backup, or ``file``, where nothing can be lost; exit code 1 where that fails."""
    from backup import drill as backup
    from backup.errors import BackupDamaged, BackupRefused, RestoreFailed

    place = place_of(place)
    entry = restore.chosen(report, place, file or restore.NEWEST, "./gaia restore --drill")
    began, started = datetime.now(UTC), time.monotonic()
    fault = None
    try:
        with report.working("reading the backup") as working:
            _restore(report, entry, jobs, working)
    except (BackupDamaged, BackupRefused, RestoreFailed) as error:
        fault = str(error)
    done = backup.Drill(
        time=began,
        backup=entry.name,
        ok=fault is None,
        seconds=round(time.monotonic() - started, 2),
        age_s=round((began - entry.manifest.made_at).total_seconds(), 1) if entry.manifest else None,
        fault=fault,
    )
    backup.record(place, done)
    report.result(_sentence(done, entry), _document(done))
    return FINE if done.ok else FAILED


def check(place: Path) -> Check:
    """For ``./gaia verify``: whether the last good drill is young enough, where there are backups."""
    from backup import drill as backup
    from backup import folder

    name = f"a backup was restored within {backup.FRESH.days} days"
    if not folder.entries(place):
        return Check(name, True, "there are no backups yet: ./gaia backup makes one")
    good = backup.last_good(place)
    if good is not None and abs(datetime.now(UTC) - good.time) < backup.FRESH:
        return Check(name, True)
    found = f"the last good drill is {restore.age(good.time)} old" if good else "no drill has gone well yet"
    return Check(name, False, f"{found}: run ./gaia restore --drill")


def _restore(report: Report, entry: Entry, jobs: int, working: Working) -> None:
    from backup import drill as backup
    from infra.local import postgres

    source = restore.verified(report, entry, working)
    working.now("starting PostgreSQL")
    with throwaway.running(PARAMETERS) as server:
        backup.rehearse(
            server.url(),
            source,
            binaries=postgres.packaged_binaries(),
            jobs=jobs,
            say=working.step,
            now=working.now,
        )


def _sentence(done: Drill, entry: Entry) -> str:
    if not done.ok:
        return f"the drill FAILED after {done.seconds:.1f} s: {done.fault}"
    if entry.manifest is None:
        return f"{done.backup} can be restored in {done.seconds:.1f} s; nothing says whether its rows are right"
    rows, tables = entry.manifest.rows, len(entry.manifest.tables)
    return "\n".join(
        [
            f"{done.backup} can be restored: {rows:,} rows in {tables} tables, as its manifest says",
            f"  recovery time (RTO)  {done.seconds:.1f} s",
            f"  age of data (RPO)    {restore.age(entry.manifest.made_at, done.time)}",
        ]
    )


def _document(done: Drill) -> dict[str, Any]:
    return {
        "ok": done.ok,
        "backup": done.backup,
        "time": done.time.isoformat(timespec="seconds"),
        "recovery_s": done.seconds,
        "age_s": done.age_s,
        "fault": done.fault,
    }
