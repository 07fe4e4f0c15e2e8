"""What the server's log says of the last day, since its last start: killed processes, a full disk, its last words."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.doctor.finding import Finding

TAIL_BYTES = 512 * 1024
"""How much of the log's end is read: a log of a busy server says the rest in its older part."""
_STARTED = "LOG:  starting PostgreSQL"
_KILLED = re.compile(r"(?P<what>[\w ]+) \(PID (?P<pid>\d+)\) was terminated by signal 9")
_NO_SPACE = "No space left on device"
_BAD = re.compile(r"(?:FATAL|PANIC):  ")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_LOGIN = re.compile(
    r"\] \S*@\S* FATAL:|FATAL:  (?:the database system is|sorry, too many|remaining connection|password auth|no pg_hba"
    r"|(?:role|database) \".*\" does not exist|terminating connection)"
)
"""A login that was refused is the client's fault, and not the server's last words."""


@dataclass(frozen=True, kw_only=True)
class ServerLog:
    """What matters of a log. Moments as the log writes them."""

    killed: tuple[str, ...] = ()
    """``2026-11-23 12:00:01 server process (PID 4711)``, oldest first."""
    no_space: tuple[str, ...] = ()
    """When the server met a full disk, oldest first."""
    panic: str = ""
    last_words: str = ""
    """Its last FATAL or PANIC, or else its last line."""


def parse(lines: Sequence[str], now: dt.datetime) -> ServerLog:
    """Read lines: those of the last day, since the last start."""
    began = max((index for index, line in enumerate(lines) if _STARTED in line), default=0)
    since = f"{now - dt.timedelta(days=1):%Y-%m-%d %H:%M:%S}"
    recent = [line for line in lines[began:] if _stamp(line) >= since]
    # What keeps a server from starting is said before it says that it starts.
    bad = [line for line in lines if _BAD.search(line) and not _LOGIN.search(line)]
    return ServerLog(
        killed=tuple(_killed(recent)),
        no_space=tuple(_stamp(line) for line in recent if _NO_SPACE in line),
        panic=next((line for line in reversed(recent) if "PANIC:  " in line), ""),
        last_words=(bad or [line for line in lines if line.strip()] or [""])[-1].strip(),
    )


def read(file: Path) -> ServerLog:
    """Read a log file's end; one that can't be read says nothing."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - TAIL_BYTES))
            return parse(log.read().decode("utf-8", errors="replace").splitlines(), dt.datetime.now(dt.UTC))
    except OSError:
        return ServerLog()


def findings(log: ServerLog, shared_buffers: str) -> Iterator[Finding]:
    """Rules on a log."""
    times = f"{len(log.killed)} times, last " if len(log.killed) > 1 else ""
    yield Finding(
        name="no process was killed",
        found=f"the kernel or somebody ended a server process with signal 9 ({times}{log.killed[-1]}); out of memory "
        "is the usual reason, and every session was cut off"
        if log.killed
        else "",
        way=f"make room: ./gaia up --set database.tuning.shared_buffers={_less(shared_buffers)} (starts the server "
        "anew), or end what else takes the memory",
    )
    yield Finding(
        name="no write met a full disk",
        found=f"the server ran out of space {len(log.no_space)} times since its start, last {log.no_space[-1]}"
        if log.no_space
        else "",
        way="what it was to write then was refused, not lost; keep more room free",
        level="note",
    )
    if log.panic:
        yield Finding(
            name="server did not panic", found=_short(log.panic), way="run ./gaia logs, then ./gaia restore --drill"
        )


def _killed(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if found := _KILLED.search(line):
            yield f"{_stamp(line)} {found['what'].strip()} (PID {found['pid']})"


def _stamp(line: str) -> str:
    found = _STAMP.match(line)
    return found[0] if found else ""


def _less(shared_buffers: str) -> str:
    """Half of a memory setting, and never less than the smallest that is sensible."""
    from infra.setting_types import size_in_bytes

    return f"{max(16, size_in_bytes(shared_buffers) // 2**21)}MB"


def _short(line: str) -> str:
    return line if len(line) <= 200 else f"{line[:199]}…"
