"""Files that must last: written as a whole, on the disk when that is said, and read back from there."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO

from backup.errors import BackupDamaged

FILE_MODE, FOLDER_MODE = 0o600, 0o700
BLOCK_BYTES = 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileContent:
    """What is in one file."""

    bytes: int
    sha256: str


class Digest:
    """The content of a file that is read or written a block at a time; a gzip file is unpacked on the way."""

    def __init__(self, *, packed: bool = False) -> None:
        self._sha256, self._bytes = hashlib.sha256(), 0
        self._unpacking = zlib.decompressobj(wbits=31) if packed else None  # 31: gzip, its checksum included
        self.tail = b""
        """The end of what was unpacked."""

    def add(self, block: bytes) -> None:
        """Raises ``BackupDamaged`` where the block isn't what gzip writes."""
        self._sha256.update(block)
        self._bytes += len(block)
        if self._unpacking is not None:
            self._unpack(block)

    def result(self) -> FileContent:
        """Once all was added. Raises ``BackupDamaged`` where a gzip file ends too early."""
        if self._unpacking is not None and not self._unpacking.eof:
            raise BackupDamaged("its end is missing")
        return FileContent(bytes=self._bytes, sha256=self._sha256.hexdigest())

    def _unpack(self, block: bytes) -> None:
        assert self._unpacking is not None
        try:
            while block:
                unpacked = self._unpacking.decompress(block, BLOCK_BYTES)
                self.tail = (self.tail + unpacked[-200:])[-200:]
                block = self._unpacking.unconsumed_tail
        except zlib.error as error:
            raise BackupDamaged(f"gzip can't unpack it ({error})") from None
        if self._unpacking.unused_data:
            raise BackupDamaged("something follows its end")


def content(file: Path, *, packed: bool = False, from_disk: bool = False) -> FileContent:
    """Read a file in full; ``packed`` also unpacks it. Raises ``BackupDamaged``, ``OSError``.

    ``from_disk``: what the machine remembers of it is written and, where the system lets us, forgotten first.
    """
    digest = Digest(packed=packed)
    with file.open("rb") as source:
        if from_disk:
            forget(source.fileno())
        while block := source.read(BLOCK_BYTES):
            digest.add(block)
    return digest.result()


def forget(descriptor: int) -> None:
    """Bring a file to the disk, then drop it from the memory of the machine."""
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # advice: not every file system takes it
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def create(file: Path) -> BinaryIO:
    """A new file to write, readable by its owner alone."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb")


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(file: Path, text: bytes) -> None:
    """Write a file as a whole, or not at all, readable by its owner alone; on the disk when this returns."""
    descriptor, aside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # its mode is 0600
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(text)
            out.flush()
            os.fsync(descriptor)
        Path(aside).replace(file)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    sync_folder(file.parent)
