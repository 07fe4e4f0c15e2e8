"""A dump into an empty database, with PostgreSQL's own programs; what they say becomes progress, or one sentence."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from backup.errors import RestoreFailed
from backup.source import Source

Say = Callable[[str], None]

_SESSION = {
    # What is written here counts only once the names are swapped, and that commit waits for all of it.
    "synchronous_commit": "off",
    "maintenance_work_mem": "256MB",
    # A statement of a run that was killed ends within a second.
    "client_connection_check_interval": "1s",
}
_TOLD = re.compile(r"pg_restore: (?:processing data for (table .*)|creating INDEX \"(.*)\")")
_CHUNK_BYTES = 1 << 20


def load(url: str, source: Source, *, binaries: Path, jobs: int, now: Say) -> None:
    """Fill the database of ``url``. Raises RestoreFailed; the database is then half full."""
    if source.packed:
        _load_text(url, source.archive, binaries, now)
    else:
        _load_archive(url, source.archive, binaries, jobs, now)


def _load_archive(url: str, dump: Path, binaries: Path, jobs: int, now: Say) -> None:
    flags = ["--jobs", str(jobs), "--exit-on-error", "--no-password", "--verbose"]
    variables = environment_of(url, **_SESSION)
    # Without a name after --dbname it writes the SQL instead; the login comes by the environment.
    command = [binaries / "pg_restore", *flags, "--dbname", variables["PGDATABASE"], dump]
    with _running(command, variables, stdin=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        said = _listened(process.stderr, now)
        _require_fine(process.wait(), "pg_restore", said)


def _load_text(url: str, dump: Path, binaries: Path, now: Say) -> None:
    """Plain SQL in one transaction: a file that ends early leaves nothing."""
    flags = ["--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1", "--no-password"]
    command = [binaries / "psql", *flags, "--output", os.devnull]
    with _running(command, environment_of(url, **_SESSION), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        said: list[str] = []
        listener = threading.Thread(target=lambda err: said.extend(_listened(err, now)), args=(process.stderr,))
        listener.start()
        try:
            _unpack(dump, process.stdin, now)
        finally:
            # An interrupt must not look like the end of the file, at which psql would commit.
            if process.poll() is None and not process.stdin.closed:
                process.kill()
            listener.join()
        _require_fine(process.wait(), "psql", said)


def _unpack(dump: Path, into: IO[bytes], now: Say) -> None:
    total, done = dump.stat().st_size, 0
    with dump.open("rb") as packed, gzip.open(packed) as text, contextlib.suppress(BrokenPipeError):
        # psql said why it ended: a broken pipe is no news.
        while chunk := text.read(_CHUNK_BYTES):
            into.write(chunk)
            if packed.tell() != done:
                done = packed.tell()
                now(f"{100 * done // max(total, 1)} % of {dump.name}")
        into.close()


def environment_of(url: str, **settings: str) -> dict[str, str]:
    """A login for PostgreSQL's programs, who take the password from their environment; and the session's settings."""
    from psycopg.conninfo import conninfo_to_dict

    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    given = conninfo_to_dict(url)
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return {
        "PATH": os.environ.get("PATH", ""),
        "LC_ALL": "C",
        "PGAPPNAME": "gaia restore",
        "PGOPTIONS": options,
        **{names[key]: str(value) for key, value in given.items() if key in names},
    }


@contextlib.contextmanager
def _running(command: list[str | Path], variables: dict[str, str], *, stdin: int) -> Iterator[subprocess.Popen[bytes]]:
    """The program, which ends with us: also by what it writes to us, when we were killed."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env=variables,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Ctrl-C is ours to handle: a program of its own group is ended below, its workers with it.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _end(process)
        for stream in (process.stdin, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listened(stream: IO[bytes], now: Say) -> list[str]:
    """What a program says: its progress goes on, the rest is returned."""
    said: list[str] = []
    for raw in stream:
        line = raw.decode(errors="replace").rstrip()
        if found := _TOLD.fullmatch(line):
            now(found[1].replace('"', "") if found[1] else f"index {found[2]}")
        elif "error" in line.lower() or "detail" in line.lower() or line.startswith("psql:"):
            said.append(line)
    return said


def _require_fine(code: int, program: str, said: list[str]) -> None:
    if code != 0:
        reason = "; ".join(said[:2]) or f"exit code {code}"
        raise RestoreFailed(f"{program} gave up ({reason}): the database is as it was before")
