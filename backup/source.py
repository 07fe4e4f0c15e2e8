"""A backup that is about to be restored: read in full first, so that a damaged one touches nothing."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backup import files, folder
from backup.errors import BackupDamaged
from backup.folder import Entry
from backup.manifest import Manifest

_HEADER_BYTES = 4096
_VERSION = re.compile(rb"^-- Dumped from database version (\d+)", re.MULTILINE)
_END = b"PostgreSQL database dump complete"
"""What pg_dump writes last: a file of plain SQL that was cut has it no more, though psql would take it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A backup whose files were found to be whole."""

    name: str
    archive: Path
    """pg_dump's folder, or a packed file of plain SQL."""
    packed: bool
    manifest: Manifest | None
    """None for a packed file that came without one: then nothing says what should be in it."""
    major_version: int | None
    """Of the server that it was dumped from, where anything says so."""


def verified(entry: Entry, on_bytes: Callable[[int], None] = lambda _bytes: None) -> Source:
    """Read every byte and compare it with the manifest. Raises BackupDamaged, BackupMissing."""
    known = None if _foreign(entry) else folder.check(entry, on_bytes, unpacking=False)
    if known is None:
        _require_whole(entry)
    return Source(
        name=entry.name,
        archive=entry.archive,
        packed=entry.packed,
        manifest=known,
        major_version=known.major_version if known else _major_version(entry),
    )


def _foreign(entry: Entry) -> bool:
    """A file as the source document's backup.sh leaves it: no manifest."""
    return entry.packed and entry.manifest is None and entry.fault is None


def _require_whole(entry: Entry) -> None:
    digest = files.Digest(packed=True)
    try:
        with entry.archive.open("rb") as file:
            while block := file.read(files.BLOCK_BYTES):
                digest.add(block)
        digest.result()
    except BackupDamaged as error:
        raise BackupDamaged(f"{entry.name} is damaged: {error}; take another backup") from None
    if _END not in digest.tail:
        raise BackupDamaged(f"{entry.name} is damaged: pg_dump's last line is missing; take another backup")


def _major_version(entry: Entry) -> int | None:
    with gzip.open(entry.archive) as text:
        found = _VERSION.search(text.read(_HEADER_BYTES))
    return int(found[1]) if found else None
