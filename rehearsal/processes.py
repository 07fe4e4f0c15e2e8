"""The programs that a cloud runs: each recorded in its folder, and ended with the cloud however that ends.

A keeper, a process of its own, holds the other end of a pipe. When the cloud is no more, killed or not, the pipe ends,
and the keeper ends what the records name and removes the folder. Where the keeper was killed as well, the next cloud
of this user does so.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from infra.local import postgres
from rehearsal import process_start

_RECORDS, _OWNER = "p", "owner.json"
_UNRECORDED_S = 60
"""A folder without an owner is somebody's who is about to write it, unless it is older than this."""


@dataclass(kw_only=True)
class Program:
    """One program that was started."""

    popen: subprocess.Popen[bytes]
    record: Path

    @property
    def runs(self) -> bool:
        return self.popen.poll() is None

    def end(self, *, signals: Sequence[tuple[signal.Signals, float]]) -> int:
        """Send one signal after the other, each with its patience, until it is over; returns the exit code."""
        for how, patience_s in signals:
            if self.runs:
                with contextlib.suppress(ProcessLookupError):
                    self.popen.send_signal(how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.popen.wait(patience_s)
        code = self.popen.wait()
        self.forget()
        return code

    def forget(self) -> None:
        """It is over: end what it left in its session, and its record."""
        if not self.record.exists():
            return  # its number may be another's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.record.unlink(missing_ok=True)


@dataclass(kw_only=True)
class Processes:
    """A folder of a cloud's own, the programs that run in it, and their keeper."""

    folder: Path
    user: str | None
    """Whom root's programs run as; None for the current user."""
    _keeper: subprocess.Popen[bytes]
    _programs: list[Program] = field(default_factory=list)

    @classmethod
    def begin(cls) -> Processes:
        """Make a fresh folder, short enough for sockets, and start its keeper."""
        remove_stale()
        folder = Path(tempfile.mkdtemp(prefix="", dir=_base()))
        folder.chmod(0o711)
        me = psutil.Process()
        (folder / _OWNER).write_text(json.dumps({"pid": me.pid, "started": me.create_time()}))
        (folder / _RECORDS).mkdir()
        keeper = subprocess.Popen(
            [sys.executable, "-m", "rehearsal.keeper", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
            env={"PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )
        return cls(folder=folder, user=postgres.server_user(), _keeper=keeper)

    def start(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        folder: Path | str,
        output: IO[bytes] | int = subprocess.DEVNULL,
        ids: tuple[int, int] | None = None,
        root: Path | None = None,
        mounts: Mapping[str, str] | None = None,
    ) -> Program:
        """Start a program with this environment and nothing else of ours, as ``ids`` (user, group), in ``root``.

        What ``root`` and ``mounts`` do, ``process_start`` says.
        """
        record = self.folder / _RECORDS / secrets.token_hex(6)
        plan: dict[str, Any] = {"record": str(record), "folder": str(folder)}
        if root is not None:
            plan |= {"root": str(root), "mounts": dict(mounts or {})}
        if ids is not None:
            plan |= {"uid": ids[0], "gid": ids[1]}
        popen = subprocess.Popen(
            [sys.executable, "-I", "-S", process_start.__file__, json.dumps(plan), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=dict(environment),
        )
        program = Program(popen=popen, record=record)
        self._programs.append(program)
        return program

    @property
    def server_ids(self) -> tuple[int, int] | None:
        """Whom servers run as; None for the current user."""
        if self.user is None:
            return None
        entry = pwd.getpwnam(self.user)
        return entry.pw_uid, entry.pw_gid

    def close(self) -> None:
        """End all that runs and remove the folder; safe to repeat."""
        for program in self._programs:
            program.end(signals=((signal.SIGQUIT, 5), (signal.SIGKILL, 5)))
        self._programs.clear()
        end_recorded(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._keeper.stdin and not self._keeper.stdin.closed:
            self._keeper.stdin.close()
        self._keeper.wait()


def end_recorded(folder: Path) -> None:
    """End what the records of this folder name, and what that started."""
    running = list(_recorded(folder))
    for how, patience_s in ((signal.SIGQUIT, 3.0), (signal.SIGKILL, 5.0)):
        for process in running:
            with contextlib.suppress(psutil.Error):
                process.send_signal(how)
        deadline = time.monotonic() + patience_s
        running = [p for p in running if not postgres.ended(p, max(0.0, deadline - time.monotonic()))]
    for file in (folder / _RECORDS).glob("*"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            os.killpg(json.loads(file.read_text())["pid"], signal.SIGKILL)
    _end_in(folder)


def _recorded(folder: Path) -> Iterable[psutil.Process]:
    for file in (folder / _RECORDS).glob("*"):
        try:
            record = json.loads(file.read_text())
            process = psutil.Process(record["pid"])
            # Another process with this number would have begun after the record was written.
            if process.create_time() <= record["at"] + 0.5:
                yield process
        except (OSError, ValueError, KeyError, psutil.Error):
            continue


def _end_in(folder: Path) -> None:
    """End what still works in this folder: sessions of a server whose main process is gone."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.cwd().startswith(f"{folder}/"):
                process.kill()


def remove_stale() -> None:
    """End and remove what clouds left that are no more."""
    for folder in _base().iterdir():
        with contextlib.suppress(OSError):
            if not _in_use(folder):
                end_recorded(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _in_use(folder: Path) -> bool:
    try:
        owner = json.loads((folder / _OWNER).read_text())
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1.0
    except psutil.NoSuchProcess:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return time.time() - folder.stat().st_mtime < _UNRECORDED_S


def _base() -> Path:
    """The folder of all clouds of this user, in which nobody else may write; short, for a socket's path is."""
    base = Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()) / f"gc-{os.getuid()}"
    base.mkdir(mode=0o711, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else: remove it")
    return base
