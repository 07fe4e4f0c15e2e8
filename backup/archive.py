"""pg_dump and pg_restore: what they are told, what they say, and which files they have finished."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from backup.errors import BackupDamaged, DumpFailed, TableLocked
from backup.moment import LOCK_TIMEOUT_MS, ROLE, Moment, locked, server_gone

COMPRESSION = "gzip:4"
"""Why this: docs/decisions/backup-format.md."""
_STARTED = re.compile(r'dumping contents of table "(.*)"$')
_SAID_KEPT = 20
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")


class Dump:
    """A pg_dump that runs. It is heard all the time: when its listener is killed, it ends at its next word."""

    def __init__(self, binaries: Path, moment: Moment, *, folder: Path | None) -> None:
        """To ``folder``, or else to ``output``. Raises ``OSError``."""
        how = ("--format=plain",) if folder is None else ("--format=directory", f"--file={folder}")
        self.process = subprocess.Popen(
            [binaries / "pg_dump", *how, *_options(moment)],
            env=environment(moment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if folder is None else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us, who then end it
            umask=0o077,
        )
        self.started: list[str] = []
        """The tables whose rows it has begun with."""
        self._said: list[str] = []

    def listen(self) -> None:
        """Until it ends. Raises ``DumpFailed`` where it failed."""
        assert self.process.stderr
        for line in self.process.stderr:
            text = line.decode(errors="replace").rstrip()
            if found := _STARTED.search(text):
                self.started.append(found[1])
            elif "error:" in text or "FATAL:" in text or "DETAIL:" in text or "ERROR:" in text:
                self._said = [*self._said, text][:_SAID_KEPT]
        if code := self.process.wait():
            raise failure("\n".join(self._said), code)

    def end(self) -> None:
        """End it now, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Once nobody reads from it any more."""
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()


def _options(moment: Moment) -> tuple[str, ...]:
    return (
        f"--compress={COMPRESSION}",
        f"--snapshot={moment.snapshot}",
        f"--role={ROLE}",
        "--enable-row-security",
        "--no-large-objects",
        f"--lock-wait-timeout={LOCK_TIMEOUT_MS}",
        "--no-sync",  # each file is brought to the disk while the next is written
        "--verbose",
    )


def environment(moment: Moment) -> dict[str, str]:
    """The login, for this child alone: an argument could be read by every user of the machine."""
    login = moment.connection.info
    return {
        "PATH": os.environ.get("PATH", ""),
        "LC_ALL": "C",
        "PGHOST": login.host,
        "PGPORT": str(login.port),
        "PGUSER": login.user,
        "PGPASSWORD": login.password,
        "PGDATABASE": login.dbname,
        "PGAPPNAME": "gaia-backup",
        "PGCONNECT_TIMEOUT": "10",
    }


# A result that breaks off has no other reason in pg_dump's words, where the server said no more.
_GONE = ("connection", "FATAL:", "PQgetCopyData() failed", "PQgetResult() failed")


def failure(said: str, code: int) -> DumpFailed:
    """What pg_dump said when it ended with ``code``, as a sentence with the way out."""
    lines = [line.partition("error:")[2].strip() or line.strip() for line in said.splitlines()]
    reason = next((line for line in lines if line), f"it ended with {code}")
    if any(words in said for words in _FULL):
        return DumpFailed(f"the disk is full ({reason}), and no backup was made: make room, or take another with --dir")
    if "statement timeout" in said:  # which pg_dump sets while it waits for a lock
        return TableLocked(locked(reason))
    if "permission denied" in said:
        return DumpFailed(
            f"{ROLE} may not read everything ({reason}): run ./gaia up, or grant it where the table isn't ours"
        )
    if any(words in said for words in _GONE):
        return DumpFailed(server_gone(reason))
    return DumpFailed(f"pg_dump failed, and no backup was made: {reason}")


def require_tables(binaries: Path, archive: Path, names: Iterable[str]) -> None:
    """Read a folder's table of contents: each of the tables must be in it, with its file. Raises ``BackupDamaged``."""
    done = subprocess.run(
        [binaries / "pg_restore", "--list", archive], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
    )
    if done.returncode:
        raise BackupDamaged(f"pg_restore can't read {archive.parent.name}: {done.stderr.strip()}")
    rows = [line for line in done.stdout.splitlines() if " TABLE DATA " in line and not line.startswith(";")]
    for name in names:
        schema, _, table = name.partition(".")
        row = next((row for row in rows if f" TABLE DATA {schema} {table} " in row), None)
        if row is None or not (archive / f"{row.partition(';')[0]}.dat.gz").exists():
            raise BackupDamaged(f"{archive.parent.name} lacks the rows of {name}")
