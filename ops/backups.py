"""``./gaia backups``: list them, read them in full, remove the older ones."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import checkout as places
from ops.exits import FAILED, FINE
from ops.report import Report

if TYPE_CHECKING:
    from backup.folder import Entry


def listed(report: Report, *, folder: Path | None) -> int:
    """Which there are, newest first."""
    from backup import folder as backups

    place = place_of(folder)
    clear(place, report)
    found = backups.entries(place)
    report.result(table(found, place), {"ok": True, "folder": str(place), "backups": [document(e) for e in found]})
    return FINE


def verify(report: Report, *, name: str | None, folder: Path | None) -> int:
    """Read one in full, or all."""
    from backup import folder as backups

    place = place_of(folder)
    clear(place, report)
    chosen = [backups.find(place, name)] if name else [e for e in backups.entries(place) if e.state != "no manifest"]
    found = [_verified(report, entry) for entry in chosen]
    faults = [fault for _, fault in found if fault]
    lines = [fault or f"{entry.name} is whole: {size(_bytes(entry))} read" for entry, fault in found]
    documents = [{**document(entry), "fault": fault} for entry, fault in found]
    report.result("\n".join(lines) or _none(place), {"ok": not faults, "folder": str(place), "backups": documents})
    return FAILED if faults else FINE


def prune(report: Report, *, keep: int, damaged: bool, folder: Path | None) -> int:
    """Remove those that are more than ``keep``; the damaged ones only where that is said."""
    from backup import folder as backups

    place = place_of(folder)
    with backups.locked(place, "./gaia backups prune"):
        backups.clear(place, report.say)
        removed = backups.prune(place, keep, report.say)
        bad = [entry for entry in backups.entries(place) if entry.state == "damaged"]
        for entry in bad if damaged else []:
            backups.remove(entry)
    gone = [*removed, *(entry.name for entry in bad if damaged)]
    left = [] if damaged else [entry.name for entry in bad]
    lines = [f"removed {name}" for name in gone] or [f"nothing to remove: the last {keep} are kept"]
    lines += [f"{name} is damaged and stays: ./gaia backups prune --damaged removes it" for name in left]
    report.result("\n".join(lines), {"ok": True, "folder": str(place), "removed": gone, "damaged": left})
    return FINE


def place_of(folder: Path | None) -> Path:
    """The folder of the backups: the one that was named, else ``backups`` in the checkout."""
    from backup import folder as backups

    return folder.absolute() if folder else places.here().root / backups.NAME


def clear(place: Path, report: Report) -> None:
    """Remove what killed commands left, unless somebody works in the folder now."""
    from backup import folder as backups
    from backup.errors import BackupBusy

    if place.is_dir():
        with contextlib.suppress(BackupBusy, PermissionError), backups.locked(place, "./gaia backups"):
            backups.clear(place, report.say)


def table(found: list[Entry], place: Path) -> str:
    """The list for people, newest first."""
    if not found:
        return _none(place)
    heads = ("backup", "made (UTC)", "age", "rows", "size", "revision", "state")
    rows = [heads, *(_row(entry) for entry in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"  {entry.fault}" for entry in found if entry.fault)])


def document(entry: Entry) -> dict[str, Any]:
    """One backup for programs."""
    known = entry.manifest
    document: dict[str, Any] = {
        "name": entry.name,
        "path": str(entry.path),
        "state": entry.state,
        "fault": entry.fault,
        "made_at": entry.made_at.isoformat(),
        "age_s": round((datetime.now(UTC) - entry.made_at).total_seconds()),
    }
    if known is None:
        return document
    return {
        **document,
        "stack": known.stack,
        "database": known.database,
        "format": known.dump_format,
        "postgres_version": known.postgres_version,
        "revision": known.revision,
        "rows": known.rows,
        "table_bytes": known.table_bytes,
        "bytes": known.bytes,
        "duration_s": known.duration_s,
        "bytes_per_s": rate(known.table_bytes, known.duration_s),
        "verified_at": known.verified_at.isoformat() if known.verified_at else None,
    }


def age(entry: Entry) -> str:
    """How long ago its snapshot was taken, in one unit."""
    seconds = (datetime.now(UTC) - entry.made_at).total_seconds()
    if seconds < 0:
        return "in the future"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _row(entry: Entry) -> tuple[str, ...]:
    known = entry.manifest
    rows, revision = (f"{known.rows:,}", known.revision or "base") if known else ("-", "-")
    return (
        entry.name,
        f"{entry.made_at:%Y-%m-%d %H:%M:%S}",
        age(entry),
        rows,
        size(_bytes(entry)),
        revision,
        entry.state,
    )


def _verified(report: Report, entry: Entry) -> tuple[Entry, str | None]:
    """The backup once it is read, and what is wrong with it."""
    from backup import archive
    from backup import folder as backups
    from backup.errors import BackupError
    from infra.local.postgres import packaged_binaries

    report.long(f"reading {entry.name}")
    read = 0

    def count(more: int) -> None:
        nonlocal read
        read += more
        report.long(f"reading {entry.name}: {size(read)} of {size(_bytes(entry))}")

    try:
        whole = backups.verify(entry, count)
        if whole.manifest and not whole.packed:
            archive.require_tables(packaged_binaries(), whole.archive, whole.manifest.tables)
    except BackupError as error:
        return backups.look(entry.path), str(error)
    return whole, None


def _bytes(entry: Entry) -> int:
    if entry.manifest:
        return entry.manifest.bytes
    try:
        return entry.path.stat().st_size if entry.path.is_file() else 0
    except OSError:
        return 0


def _none(place: Path) -> str:
    return f"no backups in {place}: make one with ./gaia backup"


def rate(amount: int, seconds: float) -> int:
    """Bytes a second."""
    return round(amount / max(seconds, 0.001))


def size(amount: int) -> str:
    """In the largest unit that leaves a number above one."""
    size = float(amount)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
