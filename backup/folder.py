"""The folder of the backups: which are there, whether they are whole, which go, and who works in it.

A backup is ``gaia_backup_20261123_120000/`` with ``manifest.json`` and ``dump/``, or a file
``gaia_backup_20261123_120000.sql.gz`` with ``gaia_backup_20261123_120000.manifest.json`` beside it; times are UTC.
What is being made or removed has a hidden name, and is cleared away by the next command when its own was killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup import files, manifest
from backup.errors import BackupBusy, BackupDamaged, BackupError, BackupMissing
from backup.manifest import DumpFormat, Manifest

NAME = "backups"
"""Of the folder, in a checkout."""
KEPT, KEPT_LEAST = 10, 2
FRESH = timedelta(days=1)
"""For so long a verified backup counts as whole without being read again."""

MANIFEST, DUMP = "manifest.json", "dump"
_STEM = re.compile(r"gaia_backup_\d{8}_\d{6}")
_PACKED, _BESIDE = ".sql.gz", ".manifest.json"
_LOCK = ".lock"
_PARTIAL = ".partial"
_UNFINISHED = ".unfinished"
"""What has a visible name already, or still, doesn't count: it is about to get its other file, or to go."""
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One backup of the list."""

    path: Path
    """Its folder, or its ``.sql.gz``."""
    manifest: Manifest | None
    fault: str | None
    """Why it is no good, as far as one sees without reading it in full."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def archive(self) -> Path:
        """What ``pg_restore`` reads, or ``psql`` once it is unpacked."""
        return self.path if self.packed else self.path / DUMP

    @property
    def packed(self) -> bool:
        """Whether it is SQL text, packed by gzip."""
        return self.path.name.endswith(_PACKED)

    @property
    def manifest_file(self) -> Path:
        return _manifest_file(self.path)

    @property
    def verified(self) -> bool:
        """Whether it counts: it was read in full and found good, and nothing was seen since that isn't."""
        return self.manifest is not None and self.manifest.verified_at is not None and self.fault is None

    @property
    def state(self) -> str:
        """``verified``, ``damaged``, or ``no manifest`` for one that another program made."""
        if self.verified:
            return "verified"
        return "no manifest" if self.manifest is None and self.fault is None else "damaged"

    @property
    def made_at(self) -> datetime:
        """By its manifest; by the file's own time where it has none."""
        if self.manifest is not None:
            return self.manifest.made_at
        with contextlib.suppress(OSError):
            return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
        return datetime.fromtimestamp(0, UTC)

    def file(self, relative: str) -> Path:
        """Where a file of the manifest lies."""
        return self.path if self.packed else self.path / relative


def entries(place: Path) -> list[Entry]:
    """The backups in a folder, newest first by their manifests; those that are being made or removed aren't."""
    try:
        names = sorted(path.name for path in place.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    hidden = {_hidden_stem(name) for name in names if name.endswith(_UNFINISHED)}
    shown = {_path(place, name) for name in names if _stem(name) and _stem(name) not in hidden}
    found = [look(path) for path in shown]
    return sorted(found, key=lambda entry: (entry.made_at, entry.name), reverse=True)


def look(path: Path) -> Entry:
    """The backup at a path, with what is wrong with it at first sight: its manifest, a file that lacks, a size."""
    try:
        known = manifest.read(_manifest_file(path))
    except BackupMissing as error:
        foreign = path.name.endswith(_PACKED)  # as a script leaves it that knows of no manifests
        return Entry(path=path, manifest=None, fault=None if foreign else str(error))
    except BackupDamaged as error:
        return Entry(path=path, manifest=None, fault=str(error))
    entry = Entry(path=path, manifest=known, fault=None)
    return dataclasses.replace(entry, fault=_fault(entry, known))


def find(place: Path, what: str) -> Entry:
    """The backup of this name in the folder, or at this path. Raises ``BackupMissing``."""
    given = Path(what.removesuffix("/"))
    candidates = [place / given.name] if given.name == str(given) else []
    for path in [*candidates, given]:
        for one in (path, path.with_name(path.name + _PACKED)):
            whole = one.parent if one.name in (MANIFEST, DUMP) else one
            if whole.is_dir() or (whole.is_file() and whole.name.endswith(_PACKED)):
                return look(whole)
    raise BackupMissing(f"there is no backup {what} (looked in {place}): ./gaia backups list shows those that are")


def newest(place: Path) -> Entry:
    """The newest verified backup. Raises ``BackupMissing``."""
    for entry in entries(place):
        if entry.verified:
            return entry
    raise BackupMissing(f"there is no verified backup in {place}: make one with ./gaia backup")


def check(entry: Entry, on_bytes: Callable[[int], None] = lambda _bytes: None, *, unpacking: bool = True) -> Manifest:
    """Read every file in full: its size, its SHA-256, its gzip. Raises ``BackupDamaged``, ``BackupMissing``.

    ``on_bytes`` is told after each file how many bytes were read. Without ``unpacking`` the SHA-256 alone says that
    they are the bytes which were unpacked when the backup was made.
    """
    if entry.manifest is None:
        if entry.fault is None:
            raise BackupMissing(f"{entry.name} has no manifest: nothing can be said of it")
        raise BackupDamaged(entry.fault)
    for relative, expected in entry.manifest.files.items():
        file = entry.file(relative)
        try:
            found = files.content(file, packed=unpacking and file.suffix == ".gz")
        except (OSError, BackupDamaged) as error:
            raise BackupDamaged(f"{entry.name} is damaged: {relative}: {_said(error)}; {_ANOTHER}") from None
        if found != expected:
            raise BackupDamaged(f"{entry.name} is damaged: {relative} isn't what was written; {_ANOTHER}")
        on_bytes(found.bytes)
    return entry.manifest


def verify(entry: Entry, on_bytes: Callable[[int], None] = lambda _bytes: None) -> Entry:
    """``check``, and note in the manifest what came of it. Raises as ``check`` does."""
    try:
        known = check(entry, on_bytes)
    except BackupDamaged:
        _note(entry, None)
        raise
    return dataclasses.replace(entry, manifest=_note(entry, datetime.now(UTC)) or known, fault=None)


def to_remove(there: Iterable[Entry], keep: int = KEPT) -> list[Entry]:
    """Which backups go when the last ``keep`` are kept.

    Only verified ones count, and only they go. Kept are the newest by the time of their manifests and, as a clock may
    have jumped, the two that were made last by their number, too.
    """
    good = [entry for entry in there if entry.verified]
    keep = max(keep, KEPT_LEAST)
    by_time = sorted(good, key=lambda entry: (entry.made_at, _number(entry), entry.name), reverse=True)
    by_number = sorted(good, key=lambda entry: (_number(entry), entry.made_at, entry.name), reverse=True)
    kept = {entry.path for entry in (*by_time[:keep], *by_number[:KEPT_LEAST])}
    return [entry for entry in reversed(by_time) if entry.path not in kept]


def prune(place: Path, keep: int = KEPT, say: Say = lambda _line: None) -> list[str]:
    """Remove what ``to_remove`` says; returns the names. Call it with the folder locked.

    Before anything goes, those that stay are read in full, unless they were within a day: none goes for the sake of
    one that turns out to be damaged.
    """
    while True:
        there = entries(place)
        going = to_remove(there, keep)
        if not going or not _found_damaged([e for e in there if e.verified and e not in going], say):
            break
    for entry in going:
        remove(entry)
    return [entry.name for entry in going]


def remove(entry: Entry) -> None:
    """Remove a backup; it leaves the list at once and as a whole. Call it with the folder locked."""
    place, stem = entry.path.parent, _stem(entry.path.name) or entry.path.name
    aside = place / f".{stem}{_UNFINISHED}"
    aside.mkdir(mode=files.FOLDER_MODE, exist_ok=True)
    files.sync_folder(place)
    _remove_all(place, stem)
    shutil.rmtree(aside, ignore_errors=True)
    files.sync_folder(place)


@contextlib.contextmanager
def locked(place: Path, command: str) -> Iterator[None]:
    """Hold the folder, which is made if it isn't there. Raises ``BackupBusy``, which names the holder."""
    place.mkdir(mode=files.FOLDER_MODE, parents=True, exist_ok=True)
    descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT, files.FILE_MODE)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupBusy(f"{_holder(lock.read())} in {place}; wait for it to end") from None
        lock.truncate(0)
        lock.write(json.dumps({"command": command, "pid": os.getpid(), "since": time.strftime("%H:%M:%S")}))
        lock.flush()
        yield


def clear(place: Path, say: Say = lambda _line: None) -> None:
    """Remove what killed commands left. Call it with the folder locked: so nobody else is at it."""
    for path in sorted(place.glob(".gaia_backup_*")):
        if stem := _hidden_stem(path.name):
            _end_dump_into(path)
            if path.name.endswith(_UNFINISHED):
                _remove_all(place, stem)
            _remove_tree(path)
            say(f"removed what a killed command left: {path.name}")


def reserve(place: Path, moment: datetime) -> tuple[str, Path]:
    """A name that is free, and the hidden folder to make the backup in. Call it with the folder locked.

    The name is of this second or, where that is taken, of the next free one.
    """
    while True:
        name = f"gaia_backup_{moment.astimezone(UTC):%Y%m%d_%H%M%S}"
        taken = [path for path in place.iterdir() if _stem(path.name) == name or _hidden_stem(path.name) == name]
        if not taken:
            partial = place / f".{name}{_PARTIAL}"
            partial.mkdir(mode=files.FOLDER_MODE)
            return name, partial
        moment += timedelta(seconds=1)


def next_number(place: Path) -> int:
    """One more than any backup's that is there."""
    return 1 + max((_number(entry) for entry in entries(place)), default=0)


def publish(partial: Path, made: Manifest) -> Entry:
    """Give a backup that is whole, and its manifest, their names: from then on it is on the list."""
    place = partial.parent
    manifest.write(made, partial / MANIFEST)
    path = place / made.name
    if made.dump_format == "sql.gz":
        unfinished = partial.rename(partial.with_suffix(_UNFINISHED))
        (unfinished / made.name).rename(path)
        (unfinished / MANIFEST).rename(_manifest_file(path))
        files.sync_folder(place)
        unfinished.rmdir()
    else:
        partial.rename(path)
    files.sync_folder(place)
    return look(path)


def name_of(stem: str, dump_format: DumpFormat) -> str:
    """What a backup is called on the disk."""
    return f"{stem}{_PACKED}" if dump_format == "sql.gz" else stem


_ANOTHER = "take another backup"


def _found_damaged(staying: list[Entry], say: Say) -> bool:
    found = False
    now = datetime.now(UTC)
    for entry in staying:
        read = entry.manifest.verified_at if entry.manifest else None
        if read is not None and abs(now - read) < FRESH:
            continue
        say(f"reading {entry.name} again before older ones go")
        try:
            verify(entry)
        except BackupError as error:
            say(str(error))
            found = True
    return found


def _fault(entry: Entry, known: Manifest) -> str | None:
    for relative, expected in known.files.items():
        try:
            size = entry.file(relative).stat().st_size
        except OSError:
            return f"{entry.name} is damaged: {relative} is missing; {_ANOTHER}"
        if size != expected.bytes:
            return f"{entry.name} is damaged: {relative} has {size:,} bytes instead of {expected.bytes:,}; {_ANOTHER}"
    if known.verified_at is None:
        return f"{entry.name} is damaged: so it was found when it was read last; {_ANOTHER}"
    return None


def _note(entry: Entry, moment: datetime | None) -> Manifest | None:
    if entry.manifest is None:
        return None
    noted = dataclasses.replace(entry.manifest, verified_at=moment)
    with contextlib.suppress(OSError):  # a folder that can be read and not written: the check itself holds
        manifest.write(noted, entry.manifest_file)
    return noted


def _number(entry: Entry) -> int:
    return entry.manifest.number if entry.manifest else 0


def _manifest_file(path: Path) -> Path:
    if path.name.endswith(_PACKED):
        return path.with_name(path.name.removesuffix(_PACKED) + _BESIDE)
    return path / MANIFEST


def _stem(name: str) -> str | None:
    """The part of a visible name that says when it was made; None for what is no backup's."""
    found = _STEM.match(name)
    return found[0] if found and name[found.end() :] in ("", _PACKED, _BESIDE) else None


def _hidden_stem(name: str) -> str | None:
    found = _STEM.match(name[1:]) if name.startswith(".") else None
    return found[0] if found and name[found.end() + 1 :] in (_PARTIAL, _UNFINISHED) else None


def _path(place: Path, name: str) -> Path:
    """Where the backup lies whose visible name, or whose manifest's, this is."""
    return place / (f"{name.removesuffix(_BESIDE)}{_PACKED}" if name.endswith(_BESIDE) else name)


def _remove_all(place: Path, stem: str) -> None:
    for name in (f"{stem}{_BESIDE}", f"{stem}{_PACKED}"):
        (place / name).unlink(missing_ok=True)
    if (place / stem).exists():
        shutil.rmtree(place / stem)


def _remove_tree(path: Path) -> None:
    for _attempt in range(20):  # a dump that goes on for a moment adds files meanwhile
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.1)


def _end_dump_into(path: Path) -> None:
    """End the pg_dump of a killed command. Most end by themselves: nobody hears what they say any more."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name().startswith("pg_dump") and any(str(path) in word for word in process.cmdline()):
                process.kill()
                process.wait(timeout=10)


def _holder(record: str) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        held = json.loads(record)
        return f"{held['command']} (pid {held['pid']}, since {held['since']}) works"
    return "another command works"


def _said(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
