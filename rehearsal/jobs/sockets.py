"""The folder ``/cloudsql`` of one container: a way into each instance that it names, for whoever may connect.

Cloud Run lets a container start without the right to connect, and cuts off each connection: so does this. The words
are those of its log, https://cloud.google.com/sql/docs/postgres/connect-run#troubleshooting.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

FILE = ".s.PGSQL.5432"
_TROUBLE = "Cloud SQL connection failed. Please see https://cloud.google.com/sql/docs/postgres/connect-run for details:"


@contextlib.contextmanager
def mounted(
    folder: Path, ways: Mapping[str, Path], refused: Mapping[str, str], *, tell: Callable[[str], None]
) -> Iterator[Path]:
    """The folder, with the sockets of ``ways`` in it; those of ``refused`` end each connection and tell why."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for name, way in ways.items():
            (folder / name).mkdir(mode=0o755, exist_ok=True)
            link = folder / name / FILE
            link.unlink(missing_ok=True)
            link.symlink_to(way.resolve() / FILE)
        for name, why in refused.items():
            stack.enter_context(_refusing(folder / name, f"{_TROUBLE} {why}", tell))
        yield folder


@contextlib.contextmanager
def _refusing(folder: Path, why: str, tell: Callable[[str], None]) -> Iterator[None]:
    folder.mkdir(mode=0o755, exist_ok=True)
    path = folder / FILE
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        os.chmod(path, 0o777)
        listener.listen()
        thread = threading.Thread(target=_cut_off, args=(listener, why, tell), daemon=True)
        thread.start()
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        listener.close()


def _cut_off(listener: socket.socket, why: str, tell: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.close()
            tell(why)
