"""A PostgreSQL 16 that is there for one command: made in a temporary folder, ended and removed afterwards.

What a killed command left is removed by the next one, which knows it by the record of who made it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from infra.local import postgres
from infra.local.errors import PortTaken

SUPERUSER = "gaia"
DATABASE = "gaia"
_RECORD = "owner.json"
_START_TIMEOUT_S = 60
_PORT_ATTEMPTS = 5
_UNRECORDED_S = 60
"""A folder without a record is somebody's who is about to write it, unless it is older than this."""

# Its data is worth nothing: no time is spent on keeping it.
_PARAMETERS = {
    "listen_addresses": postgres.ADDRESS,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "shared_buffers": "128MB",
    "max_connections": 80,
}


@dataclass(frozen=True, kw_only=True)
class Throwaway:
    """A server that runs."""

    port: int
    password: str
    """Of the superuser."""
    binaries: Path
    home: Path
    """For ``postgres.locate``."""

    def url(self, user: str = SUPERUSER, password: str | None = None) -> str:
        """A login of the database as a URL; without ``password`` the superuser's is taken."""
        from migrations.connection import login_url

        return login_url(
            user=user,
            password=password or self.password,
            host=postgres.ADDRESS,
            port=self.port,
            database=DATABASE,
        )


@contextlib.contextmanager
def running(parameters: Mapping[str, str | int] = MappingProxyType({})) -> Iterator[Throwaway]:
    """Start one, with an empty database; raises what ``infra.local.postgres`` raises."""
    remove_stale()
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=_base()))
    folder.chmod(0o711)
    try:
        me = psutil.Process()
        (folder / _RECORD).write_text(json.dumps({"pid": me.pid, "started": me.create_time()}))
        yield _start(folder, parameters)
    finally:
        _remove(folder)


def remove_stale() -> None:
    """End and remove what commands left that are no more."""
    for folder in _base().glob("server-*"):
        with contextlib.suppress(OSError):
            if not _in_use(folder):
                _remove(folder)


def _start(folder: Path, parameters: Mapping[str, str | int]) -> Throwaway:
    server = postgres.locate(folder / "pg")
    password = secrets.token_hex(16)
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        port = _free_port()
        try:
            postgres.create(
                server,
                superuser=SUPERUSER,
                password=password,
                database=DATABASE,
                parameters={**_PARAMETERS, **parameters, "port": port},
                timeout_s=_START_TIMEOUT_S,
            )
        except PortTaken:  # somebody was faster
            if attempt == _PORT_ATTEMPTS:
                raise
        else:
            return Throwaway(port=port, password=password, binaries=server.binaries, home=server.home)
    raise AssertionError("unreachable")


def _remove(folder: Path) -> None:
    postgres.remove(postgres.locate(folder / "pg"))
    shutil.rmtree(folder, ignore_errors=True)


def _in_use(folder: Path) -> bool:
    try:
        record = json.loads((folder / _RECORD).read_text())
        return abs(psutil.Process(record["pid"]).create_time() - record["started"]) < 1.0
    except psutil.NoSuchProcess:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return time.time() - folder.stat().st_mtime < _UNRECORDED_S


def _base() -> Path:
    """The folder of all such servers of this user, in which nobody else may write."""
    base = Path(tempfile.gettempdir()) / f"gaia-throwaway-{os.getuid()}"
    base.mkdir(mode=0o711, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else: remove it, or set TMPDIR")
    return base


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((postgres.ADDRESS, 0))
        return int(listener.getsockname()[1])
