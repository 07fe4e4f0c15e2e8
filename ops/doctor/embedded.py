"""The embedded server: its process, its data directory, its port."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local import ports, postgres
from infra.local.errors import LocalError, PortTaken
from ops.doctor import disk, serverlog
from ops.doctor.finding import UP, Finding
from ops.doctor.scene import Scene

_OWNED = ("", "PG_VERSION", "base", "global", "pg_wal", "postgresql.conf")
"""What of a data directory shows whose it is."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What is there of the server."""

    status: str
    """``running``, ``stopped``, ``absent``."""
    expected: bool
    """Whether the stack's state says that there is one."""
    killed: bool = False
    """It is stopped, but never said that it stops."""
    last_words: str = ""
    version: str = ""
    """Of the data directory."""
    binaries: str = "16"
    """Major version of the binaries."""
    data: Path = Path()
    owners: tuple[str, ...] = ()
    """Who owns parts of the data directory."""
    user: str = ""
    """Whom the server runs as."""
    port_taken: str = ""
    """Who has the port, and the way out."""


def look(scene: Scene, *, expected: bool) -> Iterator[Finding]:
    """Everything of a server that needs no login."""
    home = postgres.home_for(scene.checkout.root, scene.stack)
    yield from disk.look(scene.checkout.root, data=home / "data")
    try:
        server = postgres.locate(home)
    except LocalError as error:
        yield Finding(name="PostgreSQL binaries", found=str(error).partition(": run")[0], way="run ./gaia setup")
        return
    yield Finding(name="PostgreSQL binaries")
    log = serverlog.read(server.log)
    yield from findings(_facts(scene, server, log, expected=expected))
    yield from serverlog.findings(log, scene.settings.database.tuning.shared_buffers)


def findings(found: Embedded) -> Iterator[Finding]:
    """Rules on the server's process, data and port."""
    yield _process(found)
    yield port(found.port_taken)
    if found.status == "absent":
        return
    yield Finding(
        name="data directory's version",
        found=f"{found.data} is of PostgreSQL {found.version or 'no known version'}, the binaries are {found.binaries}"
        if found.version != found.binaries
        else "",
        way=f"dump it with version {found.version or 'that made it'} and restore it here, or move it away and run "
        "./gaia up, which begins with an empty one",
    )
    wrong = [owner for owner in found.owners if owner != found.user]
    yield Finding(
        name="data directory's owner",
        found=f"permission denied: {found.data} belongs to {' and '.join(found.owners)}, and the server runs as "
        f"{found.user}"
        if wrong
        else "",
        way=f"run chown -R {found.user} {found.data}, then ./gaia up",
    )


def port(taken: str) -> Finding:
    """Rule: nobody else has the port. What is given is the sentence of ``PortTaken``."""
    found, _, way = taken.partition("; ")
    return Finding(name="port", found=found, way=way)


def _process(found: Embedded) -> Finding:
    if found.status == "running" or (found.status == "absent" and not found.expected):
        return Finding(name="server process")
    said = f"; its last words: {found.last_words}" if found.last_words else ""
    what = "its data directory is gone" if found.status == "absent" else f"it is stopped{said}"
    if found.killed:
        what = "it was killed: it ended without a word (kill -9, out of memory, or the machine went down)"
    way = "run ./gaia up" + (", which begins with an empty one" if found.status == "absent" else "")
    return Finding(
        name="server process",
        found=what,
        way=way,
        mend=UP if found.status == "stopped" and not found.port_taken else None,
    )


def _facts(scene: Scene, server: postgres.Server, log: serverlog.ServerLog, *, expected: bool) -> Embedded:
    status = postgres.status(server)
    running = status == "running"
    return Embedded(
        status=status,
        expected=expected,
        killed=status == "stopped" and (server.data / "postmaster.pid").exists(),
        last_words=log.last_words,
        version=_version(server.data),
        binaries=_major(server),
        data=server.data,
        owners=_owners(server.data),
        user=server.user or pwd.getpwuid(os.geteuid()).pw_name,
        port_taken="" if running else taken(*scene.address),
    )


def taken(address: str, number: int, *, holder_name: str | None = None) -> str:
    """Who has a port, as ``ports.require_free`` says it; empty where nobody does."""
    try:
        ports.require_free(address, number, holder_name=holder_name)
    except PortTaken as error:
        return str(error)
    except OSError as error:
        return f"port {number} on {address} can't be had ({error.strerror}); choose another: --set database.port=5433"
    return ""


def _version(data: Path) -> str:
    try:
        return (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _major(server: postgres.Server) -> str:
    try:
        return postgres.version(server).partition(".")[0]
    except OSError:
        return "unknown"


def _owners(data: Path) -> tuple[str, ...]:
    owners: dict[str, None] = {}
    for part in _OWNED:
        try:
            user = (data / part).stat().st_uid
        except OSError:
            continue
        try:
            owners[pwd.getpwuid(user).pw_name] = None
        except KeyError:
            owners[f"user {user}"] = None
    return tuple(owners)
