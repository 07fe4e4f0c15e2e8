"""What a backup says of itself: where it comes from, what is in it, and the hash of each of its files.

A manifest is one JSON document, written one way only and with a checksum of its own: whatever byte of it is changed,
reading it fails.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from backup import files
from backup.contents import TableContent
from backup.errors import BackupDamaged, BackupMissing
from backup.files import FileContent

FORMAT = 1
DumpFormat = Literal["directory", "sql.gz"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that is known of one backup."""

    name: str
    number: int
    """One more than the largest in its folder when it was made: order that no clock can change."""
    stack: str
    database: str
    made_at: datetime
    """Just before its snapshot was taken: all that was committed by then is in it."""
    duration_s: float
    postgres_version: str
    """The server's, such as ``16.14``."""
    revision: str | None
    """Alembic's; None before any."""
    roles: tuple[str, ...]
    """Those that own something in it or are granted something."""
    extensions: Mapping[str, str]
    """Name → version."""
    tables: Mapping[str, TableContent]
    """Every plain table and every partition that holds rows, as ``schema.table``."""
    left_out: tuple[str, ...]
    """Tables of which only the definition is in it."""
    sequences: Mapping[str, int]
    """Sequence → a value that it had reached when the backup began; 0 where it was never used."""
    guards: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Each function, trigger and policy → its fingerprint (``migrations.guards``)."""
    table_bytes: int
    """What the tables took on the server's disk, without indexes."""
    files: Mapping[str, FileContent]
    """Path below the backup's folder → its content."""
    dump_format: DumpFormat
    compression: str
    """As pg_dump's ``--compress`` takes it."""
    verified_at: datetime | None
    """When every file was last read in full and found to be this; None since one wasn't."""

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    @property
    def major_version(self) -> int:
        return int(self.postgres_version.split(".")[0])


def write(manifest: Manifest, file: Path) -> None:
    """Write it as a whole or not at all, readable by its owner alone."""
    files.write(file, render(manifest))


def read(file: Path) -> Manifest:
    """Raises ``BackupMissing`` where there is none, ``BackupDamaged`` where it isn't as it was written."""
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupMissing(f"{file}: there is no manifest, so nothing can be said of this backup") from None
    except OSError as error:
        raise BackupDamaged(f"{file} can't be read ({error.strerror}): take another backup") from None
    return parse(content, str(file))


def render(manifest: Manifest) -> bytes:
    """The one way in which this manifest is written."""
    document = {"format": FORMAT, **_plain(dataclasses.asdict(manifest))}
    return _lines({**document, "checksum": hashlib.sha256(_lines(document)).hexdigest()})


def parse(content: bytes, what: str) -> Manifest:
    """The manifest that ``content`` is. Raises ``BackupDamaged``, naming it as ``what``."""
    try:
        document = json.loads(content)
        newer = document["format"] > FORMAT
        manifest = None if newer else _manifest(document)
        same = manifest is not None and render(manifest) == content
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise BackupDamaged(f"{what} is damaged ({type(error).__name__}): take another backup") from None
    if manifest is None:
        raise BackupDamaged(f"{what} is damaged, or has a format that is newer than this checkout: update the checkout")
    if not same:
        raise BackupDamaged(f"{what} was changed since it was written: take another backup")
    return manifest


def _manifest(document: dict[str, Any]) -> Manifest:
    fields = {field.name: document[field.name] for field in dataclasses.fields(Manifest)}
    verified = fields["verified_at"]
    read: dict[str, Any] = {
        **fields,
        "made_at": _moment(fields["made_at"]),
        "verified_at": _moment(verified) if verified is not None else None,
        "roles": tuple(fields["roles"]),
        "left_out": tuple(fields["left_out"]),
        "tables": {name: TableContent(**table) for name, table in fields["tables"].items()},
        "files": {name: FileContent(**file) for name, file in fields["files"].items()},
    }
    return Manifest(**read)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def _lines(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n").encode()
