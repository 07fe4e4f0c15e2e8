"""Room on the disks that the database and its backups need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup.folder import NAME as BACKUPS
from ops.doctor.finding import Finding, size

FULL_BYTES = 256 * 1024**2
"""A checkpoint, or one write-ahead log segment after the other, needs so much at once."""
LOW_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True)
class Volume:
    """What is left on the volume of a folder."""

    what: str
    """``data directory``, ``backups``, ``checkout``."""
    folder: str
    free_bytes: int
    total_bytes: int
    free_files: int = 1
    """Inodes; 0 is full, whatever the bytes say."""


def volume(what: str, folder: Path) -> Volume | None:
    """Look at the volume that a folder lies on, or will lie on; None where that can't be seen."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
    try:
        found = os.statvfs(there)
    except OSError:
        return None
    return Volume(
        what=what,
        folder=str(there),
        free_bytes=found.f_bavail * found.f_frsize,
        total_bytes=found.f_blocks * found.f_frsize,
        # Some file systems (btrfs) count none at all.
        free_files=found.f_favail if found.f_files else 1,
    )


def look(checkout: Path, data: Path | None = None) -> Iterator[Finding]:
    """The volumes of the data directory, where it is on this machine, of the backups and of the checkout."""
    folders = [("backups", checkout / BACKUPS), ("checkout", checkout)]
    if data is not None:
        folders.insert(0, ("data directory", data))
    return findings([found for what, folder in folders if (found := volume(what, folder)) is not None])


def findings(volumes: list[Volume]) -> Iterator[Finding]:
    """Rule: a volume that is nearly full is told of before the server stops."""
    for one in volumes:
        full = one.free_bytes < FULL_BYTES or not one.free_files
        low = full or (one.free_bytes < LOW_BYTES and one.free_bytes < 0.2 * one.total_bytes)
        left = f"{size(one.free_bytes)} of {size(one.total_bytes)} free" if one.free_files else "no inode is free"
        yield Finding(
            name=f"room for the {one.what}",
            found=f"{left} on the volume of {one.folder}" if low else "",
            way=f"free space there (du -xah {one.folder} | sort -h | tail shows what fills it), then run ./gaia up",
            level="fault" if full else "warning",
        )
