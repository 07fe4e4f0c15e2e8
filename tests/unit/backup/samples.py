"""Backups made up for tests: their manifests, and small ones on the disk, as a dump would leave them."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backup import files, folder
from backup.contents import TableContent
from backup.files import FileContent
from backup.folder import Entry
from backup.manifest import DumpFormat, Manifest

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def manifest(**changes: Any) -> Manifest:
    """One that is whole."""
    values: dict[str, Any] = {
        "name": "gaia_backup_20261123_120000",
        "number": 1,
        "stack": "local",
        "database": "gaia",
        "made_at": NOON,
        "duration_s": 1.5,
        "postgres_version": "16.14",
        "revision": "0009",
        "roles": ("gaia_backup", "gaia_owner"),
        "extensions": {"plpgsql": "1.0"},
        "tables": {"auth.users": TableContent(rows=3, hash="0123456789abcdef" * 2)},
        "left_out": ("auth.identity_keys",),
        "sequences": {"game.chat_history_message_id_seq": 7},
        "table_bytes": 8192,
        "files": {"dump/toc.dat": FileContent(bytes=5, sha256="ab" * 32)},
        "dump_format": "directory",
        "compression": "gzip:1",
        "verified_at": NOON + timedelta(seconds=2),
    }
    return Manifest(**{**values, **changes})


def entry(number: int, made_at: datetime = NOON, *, fault: str | None = None) -> Entry:
    """One of a list, of which nothing is on the disk."""
    path = Path("backups") / f"gaia_backup_{number}"
    return Entry(path=path, manifest=manifest(number=number, made_at=made_at), fault=fault)


def put(place: Path, made_at: datetime, dump_format: DumpFormat = "directory", **changes: Any) -> Entry:
    """One on the disk, published as a dump's is."""
    with folder.locked(place, "a test"):
        stem, partial = folder.reserve(place, made_at)
        name = folder.name_of(stem, dump_format)
        contents = {"dump/toc.dat": b"toc", "dump/1.dat.gz": gzip.compress(b"rows" * 99)}
        if dump_format == "sql.gz":
            contents = {name: gzip.compress(b"SELECT 1;" * 99)}
        for relative, content in contents.items():
            (partial / relative).parent.mkdir(exist_ok=True)
            (partial / relative).write_bytes(content)
        known = {relative: files.content(partial / relative) for relative in contents}
        number = folder.next_number(place)
        values = {"name": name, "number": number, "made_at": made_at, "files": known, "dump_format": dump_format}
        return folder.publish(partial, manifest(**{"verified_at": datetime.now(UTC), **values, **changes}))
