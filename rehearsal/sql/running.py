"""One PostgreSQL server as Cloud SQL runs it: on a socket, with an administrator that nobody else is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local import postgres
from rehearsal.processes import Processes, Program
from rehearsal.sql.errors import OperationFailed

if TYPE_CHECKING:
    import psycopg

ADMIN = "cloudsqladmin"
START_TIMEOUT_S = 90.0
_READY = "ready"

_HBA = """\
# Whoever comes in over the socket gives a password; servers of this cloud follow each other.
local   all             all                                     scram-sha-256
local   replication     cloudsqladmin                           scram-sha-256
"""

# Durable against the end of a process, not of the machine: with that the whole cloud is gone.
_ALWAYS: dict[str, Any] = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "huge_pages": "off",
    "wal_level": "replica",
    "max_wal_senders": 10,
    "max_replication_slots": 10,
    "hot_standby": "on",
    "archive_mode": "on",
    "wal_retrieve_retry_interval": "200ms",
    "wal_receiver_status_interval": "1s",
    "log_destination": "stderr",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "password_encryption": "scram-sha-256",
}
_NOT_ARCHIVED = "/bin/true"


@dataclasses.dataclass(kw_only=True)
class Instance:
    """Where one server lies, and how it is to run."""

    home: Path
    processes: Processes
    password: str = dataclasses.field(repr=False)
    """Of the administrator."""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    archives: bool = False
    """Whether what is written is kept for a point in time."""
    primary: Instance | None = None
    """Whom it follows."""
    slot: str = ""
    collations: dict[str, str] = dataclasses.field(default_factory=dict)
    """What was asked for, by database: all are C here."""
    program: Program | None = None
    lock: threading.RLock = dataclasses.field(default_factory=threading.RLock, repr=False)

    @property
    def server(self) -> postgres.Server:
        return postgres.locate(self.home)

    @property
    def sockets(self) -> Path:
        """The folder of its socket."""
        return self.home / "s"

    @property
    def archive(self) -> Path:
        return self.home / "wal"

    @property
    def runs(self) -> bool:
        return self.program is not None and self.program.runs

    def start(self) -> None:
        """Start it and wait until it takes sessions; raises OperationFailed with the end of its log."""
        with self.lock:
            if self.runs:
                return
            self._folders()
            self._configure()
            (self.server.data / "postmaster.pid").unlink(missing_ok=True)
            with self.server.log.open("ab") as log:
                self.program = self.processes.start(
                    [self.server.binaries / "postgres", "-D", self.server.data],
                    environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                    folder=self.home,
                    output=log.fileno(),
                    ids=self.processes.server_ids,
                )
            self._wait()

    def stop(self, *, at_once: bool = False) -> None:
        """End it: sessions are cut off, what was committed is kept. ``at_once`` kills it, as a lost machine would."""
        with self.lock:
            if self.program is None:
                return
            fast = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
            self.program.end(signals=((signal.SIGKILL, 10.0),) if at_once else fast)
            self.program = None
            if at_once:
                postgres.end_orphans(self.server)

    def restart(self) -> None:
        with self.lock:
            self.stop()
            self.start()

    def reload(self) -> None:
        """Have it read its configuration again."""
        with self.lock:
            self._configure()
            if self.program is not None and self.program.runs:
                self.program.popen.send_signal(signal.SIGHUP)

    def session(self, database: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        """A session of the administrator; raises OperationFailed where there is no server."""
        import psycopg

        login = {"user": ADMIN, "password": self.password, "host": str(self.sockets), **more}
        try:
            return psycopg.connect(dbname=database, autocommit=True, connect_timeout=30, **login)
        except psycopg.OperationalError as error:
            raise OperationFailed(f"the server doesn't answer: {error}".strip()) from None

    def copied_from(self, data: Path, *, to: Path | None = None) -> None:
        """Have the data of another, stopped one or of a backup; or let it lie ready somewhere else."""
        copy = to or self.server.data
        postgres.make_home(self.server)
        shutil.rmtree(copy, ignore_errors=True)
        self._as_server("/bin/cp", "-a", data, copy)
        for name in ("postmaster.pid", "postmaster.opts", "backup_manifest", "standby.signal", "recovery.signal"):
            (copy / name).unlink(missing_ok=True)

    def backed_up_to(self, folder: Path) -> None:
        """A whole copy of the data while it runs, good on its own."""
        how = ("-X", "stream", "-w", "--checkpoint=fast", "--no-sync", "--no-manifest")
        with self.as_admin() as login:
            postgres.run(self.server, "pg_basebackup", "-D", folder, *how, environment=login)

    @contextlib.contextmanager
    def secret_file(self, text: str) -> Iterator[Path]:
        """A file that only the server's user may read."""
        file = self.home / f"{secrets.token_hex(4)}.secret"
        postgres.write_as(self.server, file, text)
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def as_admin(self) -> Iterator[dict[str, str]]:
        """The environment in which PostgreSQL's programs log in as the administrator."""
        with self.secret_file(f"*:*:*:{ADMIN}:{self.password}\n") as file:
            yield {"PGPASSFILE": str(file), "PGHOST": str(self.sockets), "PGUSER": ADMIN}

    def follow(self, primary: Instance) -> None:
        """Say from whom to stream; counts from the next start on."""
        self.primary = primary
        postgres.write_as(self.server, self.server.data / "standby.signal", "")

    def promoted(self) -> None:
        """Take writes from now on."""
        with self.lock, self.session() as session:
            session.execute("SELECT pg_promote(true, 60)")
            self.primary = None
            self._configure()

    def log_tail(self, lines: int = 15) -> str:
        try:
            return "\n".join(self.server.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def _folders(self) -> None:
        postgres.make_home(self.server)
        for folder in (self.sockets, self.archive):
            postgres.make_home(dataclasses.replace(self.server, home=folder))
        self.home.chmod(0o711)

    def _configure(self) -> None:
        kept = f"{self.archive}/%f"
        archived = f"test ! -f {kept} && cp %p {kept}.new && mv {kept}.new {kept}"
        wanted = {
            **_ALWAYS,
            **self.parameters,
            "unix_socket_directories": str(self.sockets),
            "archive_command": archived if self.archives and self.primary is None else _NOT_ARCHIVED,
            **self._following(),
        }
        lines = [f"{name} = {postgres.quoted(value)}\n" for name, value in sorted(wanted.items())]
        postgres.write_as(self.server, self.server.data / "cloudsql.conf", "".join(lines))
        postgres.write_as(self.server, self.server.data / "pg_hba.conf", _HBA)

    def _following(self) -> Mapping[str, Any]:
        if self.primary is None:
            return {}
        passfile = self.home / "primary.pass"
        postgres.write_as(self.server, passfile, f"*:*:*:{ADMIN}:{self.primary.password}\n")
        address = f"host={self.primary.sockets} user={ADMIN} passfile={passfile} application_name={self.slot}"
        return {"primary_conninfo": address, "primary_slot_name": self.slot}

    def _wait(self) -> None:
        assert self.program is not None
        pid_file, deadline = self.server.data / "postmaster.pid", time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, IndexError):
                # Its eighth line: https://github.com/postgres/postgres/blob/REL_16_STABLE/src/include/utils/pidfile.h
                if pid_file.read_text().splitlines()[7].strip() == _READY:
                    return
            if not self.program.runs:
                self.program.forget()
                self.program = None
                raise OperationFailed(f"the server did not start; the end of its log:\n{self.log_tail()}")
            time.sleep(0.005)
        raise OperationFailed(f"the server did not start within {START_TIMEOUT_S:.0f} s:\n{self.log_tail()}")

    def _as_server(self, *command: str | Path) -> None:
        program = self.processes.start(
            command, environment={"PATH": "/usr/bin:/bin"}, folder=self.home, ids=self.processes.server_ids
        )
        if program.popen.wait() != 0:
            raise OperationFailed(f"{os.path.basename(command[0])} failed with {program.popen.returncode}")
        program.forget()
