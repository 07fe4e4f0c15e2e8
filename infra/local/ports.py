"""Who listens on a port of this machine."""

from __future__ import annotations

import errno
import socket

import psutil

from infra.local.errors import PortTaken


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def holder(port: int) -> str:
    """Name and process id of whoever listens on the port, as far as this user may see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        connections = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return _named(connection.pid)
    return "a process that this user can't see"


def require_free(address: str, port: int, *, holder_name: str | None = None, setting: str = "database.port") -> None:
    """Raise ``PortTaken``, which names the holder and the setting, unless a server could listen there."""
    if not is_free(address, port):
        raise PortTaken(
            f"port {port} on {address} is taken by {holder_name or holder(port)}; "
            f"end that, or choose another port: ./gaia up --set {setting}={_next_free(address, port)}"
        )


def _named(pid: int | None) -> str:
    if pid is None:
        return "a process that this user can't see"
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def _next_free(address: str, port: int) -> int:
    return next((other for other in range(port + 1, port + 100) if other < 65536 and is_free(address, other)), port + 1)
