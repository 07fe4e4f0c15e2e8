"""Make one backup: dumped, counted, hashed and read back in full before anybody can see it.

Three things go on at once: pg_dump writes; the session that holds its snapshot hashes the tables; and what pg_dump has
finished is unpacked, brought to the disk, read back from there and compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

from backup import archive, files, folder, moment
from backup.archive import Dump
from backup.contents import TableContent
from backup.errors import BackupDamaged, DumpFailed, TableLocked
from backup.files import Digest, FileContent
from backup.folder import Entry
from backup.manifest import DumpFormat, Manifest
from backup.moment import Moment

LOOK_EVERY_S = 0.05
_ATTEMPTS = 3
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PLAIN_END = b"PostgreSQL database dump complete"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a backup is."""

    table_bytes: int
    """Of the server's tables in all."""
    dumped_bytes: int
    """Of those that pg_dump has done."""
    hashed_bytes: int
    written_bytes: int
    """Of files that were finished and read back."""

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return (self.dumped_bytes + self.hashed_bytes) / (2 * self.table_bytes) if self.table_bytes else 0.0


OnProgress = Callable[[Progress], None]


def make(
    place: Path,
    *,
    url: str,
    stack: str,
    binaries: Path,
    dump_format: DumpFormat = "directory",
    on_progress: OnProgress = lambda _progress: None,
) -> Entry:
    """Back up the database that ``url`` leads to, as a superuser, into ``place``, whose lock the caller holds.

    Nothing is left behind unless it succeeds. Raises ``DumpFailed``, ``ConnectionFailed``.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _full_disk_said(place), moment.taken(url) as source:
                return _make(place, source, stack, binaries, dump_format, on_progress)
        except TableLocked:
            # Whoever began to wait for our lock before pg_dump had its own keeps it from it: all begin again.
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _make(
    place: Path, source: Moment, stack: str, binaries: Path, dump_format: DumpFormat, on_progress: OnProgress
) -> Entry:
    started = time.monotonic()
    stem, partial = folder.reserve(place, source.made_at)
    try:
        work = _Work(source, binaries, partial, folder.name_of(stem, dump_format), dump_format)
        work.run(on_progress)
        made = _manifest(source, work, number=folder.next_number(place), stack=stack, started=started)
        return folder.publish(partial, made)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Work:
    """The three things that go on at once."""

    def __init__(self, source: Moment, binaries: Path, partial: Path, name: str, dump_format: DumpFormat) -> None:
        self.name = name
        self.dump_format: DumpFormat = dump_format
        self.tables: dict[str, TableContent] = {}
        self.files: dict[str, FileContent] = {}
        self._source, self._binaries, self._partial = source, binaries, partial
        self._sizes = {table.name: table.bytes for table in source.tables}
        self._stop = threading.Event()

    def run(self, on_progress: OnProgress) -> None:
        """Until all are done; the first that fails ends the others."""
        target = self._partial / folder.DUMP if self.dump_format == "directory" else None
        dump = Dump(self._binaries, self._source, folder=target)
        pool = ThreadPoolExecutor(3)
        try:
            heard = pool.submit(dump.listen)
            store = self._keep_files if target else self._keep_stream
            self._wait([heard, pool.submit(self._hash), pool.submit(store, dump, heard)], dump, on_progress)
        except BaseException:
            self._stop.set()
            self._source.hang_up()
            raise
        finally:
            dump.end()
            pool.shutdown()
            dump.close()
        self._check()

    def _wait(self, jobs: list[Future[None]], dump: Dump, on_progress: OnProgress) -> None:
        while True:
            done, going = wait(jobs, timeout=0.2, return_when=FIRST_EXCEPTION)
            # pg_dump knows best why: it is asked first.
            failed = [job for job in jobs if job in done and job.exception()]
            if failed:
                with contextlib.suppress(TimeoutError):
                    jobs[0].result(timeout=1)
                failed[0].result()
            on_progress(self._progress(dump, ended=jobs[0] in done))
            if not going:
                return

    def _progress(self, dump: Dump, *, ended: bool) -> Progress:
        dumped = dump.started if ended else dump.started[:-1]
        return Progress(
            table_bytes=self._source.bytes,
            dumped_bytes=sum(self._sizes.get(name, 0) for name in dumped),
            hashed_bytes=sum(self._sizes[name] for name in list(self.tables)),
            written_bytes=sum(file.bytes for file in list(self.files.values())),
        )

    def _hash(self) -> None:
        with moment.said_plainly():
            for table in self._source.tables:
                if self._stop.is_set():
                    return
                self.tables[table.name] = self._source.content(table)

    def _keep_files(self, dump: Dump, heard: Future[None]) -> None:
        """Of a folder: pg_dump writes one file after the other, so all but the newest are finished."""
        target, seen = self._partial / folder.DUMP, set[str]()
        while not self._stop.is_set():
            ended = heard.done()
            there = {path.name for path in target.iterdir()} if target.exists() else set[str]()
            for name in sorted((there if ended else seen if there - seen else set()) - self._kept()):
                self._keep_file(target / name)
            if ended:
                files.sync_folder(target)
                return
            seen = there
            time.sleep(LOOK_EVERY_S)

    def _kept(self) -> set[str]:
        return {Path(relative).name for relative in self.files}

    def _keep_file(self, file: Path) -> None:
        written = files.content(file, packed=file.suffix == ".gz")
        if files.content(file, from_disk=True) != written:
            raise DumpFailed(f"the disk gives {file.name} back other than it was written: nothing can be kept on it")
        self.files[f"{folder.DUMP}/{file.name}"] = written

    def _keep_stream(self, dump: Dump, heard: Future[None]) -> None:
        """Of one file: hashed and unpacked on its way to it."""
        digest, file = Digest(packed=True), self._partial / self.name
        assert dump.process.stdout
        with files.create(file) as out:
            while block := dump.process.stdout.read(files.BLOCK_BYTES):
                digest.add(block)
                out.write(block)
        heard.result()
        if _PLAIN_END not in digest.tail:
            raise DumpFailed("pg_dump ended without its last line, and no backup was made: run it again")
        if files.content(file, from_disk=True) != digest.result():
            raise DumpFailed(f"the disk gives {file.name} back other than it was written: nothing can be kept on it")
        self.files[self.name] = digest.result()

    def _check(self) -> None:
        if self.dump_format == "directory":
            archive.require_tables(self._binaries, self._partial / folder.DUMP, self.tables)


def _manifest(source: Moment, work: _Work, *, number: int, stack: str, started: float) -> Manifest:
    return Manifest(
        name=work.name,
        number=number,
        stack=stack,
        database=source.database,
        made_at=source.made_at,
        duration_s=round(time.monotonic() - started, 3),
        postgres_version=source.postgres_version,
        revision=source.revision,
        roles=source.roles,
        extensions=source.extensions,
        tables=work.tables,
        left_out=source.left_out,
        sequences=source.sequences,
        guards=source.guards,
        table_bytes=source.bytes,
        files=work.files,
        dump_format=work.dump_format,
        compression=archive.COMPRESSION,
        verified_at=datetime.now(UTC),
    )


@contextlib.contextmanager
def _full_disk_said(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DumpFailed(
                f"the disk of {place} is full, and no backup was made: make room, or name another folder with --dir"
            ) from None
        raise
    except BackupDamaged as error:  # a file that was written a moment ago
        raise DumpFailed(f"what pg_dump wrote can't be read ({error}), and no backup was made: run it again") from None
