"""The process that runs a Pulumi program, seen from the language host.

One engine starts two hosts, one after the other: it asks the first about packages, ends it, and lets the second run
the program, half a second later. The program's process outlives the first, so that its imports are done when the
second takes it over: it listens on a socket in a folder of its user alone, whose name both know from the engine's
process number.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = Path(__file__).with_name("program.py")
_FOLDER_MOST = 50
"""Bytes: of the 103 that a socket's path may have (macOS; 107 on Linux), its name and folder here take up to 48."""

ALREADY_EXPLAINED = 32
"""Exit code of a program whose failure was logged already, as with the official executor."""


@dataclass(eq=False)
class ProgramProcess:
    """A program's process. It imports the SDK when it starts, and runs the program when it is told to.

    The connection carries the request and our standard output and error, then stays open: when it closes, which is
    when this process ends in whatever way, the program ends too.
    """

    connection: socket.socket
    python: str
    process: subprocess.Popen[bytes] | None = None
    """Where we started it."""

    @classmethod
    def take_over_or_start(cls, python: str, engine: int) -> ProgramProcess:
        """The process that an earlier host of this engine left, or a new one under ``python``, which has the SDK."""
        try:
            path = address(engine, python)
        except OSError:
            return cls.start(python, engine)
        with contextlib.suppress(OSError):
            return cls(_connected(path), python)
        path.unlink(missing_ok=True)  # of a process that was killed
        return cls._listening(path, python, engine)

    @classmethod
    def start(cls, python: str, engine: int) -> ProgramProcess:
        """A process of our own, which no other host takes over."""
        with tempfile.TemporaryDirectory(prefix="gaia-program-", dir=_temporary()) as folder:
            return cls._listening(Path(folder) / "socket", python, engine)

    @classmethod
    def _listening(cls, path: Path, python: str, engine: int) -> ProgramProcess:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            # By path and with -P: the program's environment needn't have this package, and our folder isn't searched.
            command = [python, "-u", "-P", str(_PROGRAM), str(listener.fileno()), str(engine), str(path)]
            # In a session of its own, without our output: the engine ends the first host's process group, and waits
            # until nobody holds its pipes.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
            return cls(_connected(path), python, process)

    def run(self, request: bytes) -> int | None:
        """Send a serialized ``RunRequest`` and wait; return the exit code (negative: the signal that ended it).

        None: it ended without a word, and was another host's child.
        """
        with self.connection, contextlib.suppress(ConnectionError):
            socket.send_fds(self.connection, [len(request).to_bytes(8, "big")], [1, 2])
            self.connection.sendall(request)
            if code := self.connection.recv(1):
                return code[0]
        return self.process.wait() if self.process else None

    def stop(self) -> None:
        """End the process, if it still runs."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def address(engine: int, python: str) -> Path:
    """The socket of the process that waits for the program of the engine with this process number.

    Raises PermissionError where somebody else made its folder.
    """
    folder = _temporary() / f"gaia-programs-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone: remove it")
    # Two containers may share the folder, and have the same numbers.
    where = "\0".join((python, os.getcwd(), _namespace()))
    return folder / f"{engine}-{hashlib.sha256(where.encode()).hexdigest()[:12]}"


def _temporary() -> Path:
    """Where sockets lie: the temporary folder, unless their paths would be too long there."""
    folder = Path(tempfile.gettempdir())
    return folder if len(os.fsencode(folder)) <= _FOLDER_MOST else Path("/tmp")


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection
