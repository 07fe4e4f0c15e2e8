"""Who holds a stack, and what a killed run left behind.

Two locks guard a stack. Ours, ``.gaia/run/<stack>.lock``, ends with the process that holds it. Pulumi's, a file in
the backend, doesn't: it is removed here only when its holder ran on this host and is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil

from engine.checkout import PROJECT, Checkout, write
from engine.errors import StackBusy

RUN_MARK = "GAIA_RUN"
"""Environment variable that marks every process of a run, down to the providers."""
END_TIMEOUT_S = 10
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The record of one run, kept until the next one."""

    run_id: str
    pid: int
    started: float
    """When the process was started, seconds since 1970: tells it from a later one with the same id."""
    command: str
    user: str

    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, ValueError, TypeError, OverflowError):
            return False


@contextlib.contextmanager
def held(checkout: Checkout, stack: str, command: str, say: Say, *, keep_record: bool = False) -> Iterator[Run]:
    """Hold the stack for one command. Raises ``StackBusy``, which names the holder.

    ``keep_record`` is for a process that goes on as another program.

    First ends what a killed run left: its processes, and its lock in the backend.
    """
    file = checkout.run_file(stack, "lock")
    with file.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackBusy(_busy(stack, last_run(checkout, stack))) from None
        yield begin(checkout, stack, command, say)
        # Reached only at a good end: after any other, the next run looks for what this one left.
        if not keep_record:
            checkout.run_file(stack, "json").unlink(missing_ok=True)


def begin(checkout: Checkout, stack: str, command: str, say: Say) -> Run:
    """Clean up after a killed run and record this one. Raises ``StackBusy`` where a lock's holder may be alive."""
    before = last_run(checkout, stack)
    if before and not before.alive():
        end_leftovers(before.run_id, say)
    release_dead_locks(checkout, stack, say)
    me = psutil.Process()
    run = Run(run_id=uuid.uuid4().hex, pid=me.pid, started=me.create_time(), command=command, user=_user())
    write(checkout.run_file(stack, "json"), json.dumps(asdict(run)), mode=0o600)
    return run


def last_run(checkout: Checkout, stack: str) -> Run | None:
    """The record of the run that holds the stack, or held it last."""
    try:
        return Run(**json.loads(checkout.run_file(stack, "json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def end_leftovers(run_id: str, say: Say) -> None:
    """End the processes of a killed run: politely first, so that the engine can write its state."""
    left = marked(run_id)
    if not left:
        return
    names = ", ".join(sorted({_name(process) for process in left}))
    say(f"ending what the killed run left behind: {names}")
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=END_TIMEOUT_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=END_TIMEOUT_S)


def marked(run_id: str) -> list[psutil.Process]:
    """The processes that carry a run's mark, but for this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(RUN_MARK) == run_id:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def release_dead_locks(checkout: Checkout, stack: str, say: Say) -> None:
    """Remove Pulumi's locks of this checkout's backend whose holders are dead. Raises ``StackBusy`` for any other."""
    found = backend_locks(checkout, stack)
    for lock in found:
        if lock.state == "unreadable":
            raise StackBusy(
                f"stack {stack} has a lock that can't be read ({lock.file}: {lock.holder}); "
                "make sure that no other run goes on, then: pulumi cancel"
            )
        if lock.state == "elsewhere":
            raise StackBusy(
                f"stack {stack} is held by {lock.holder}, on another host; wait for it, or, "
                "once that run has surely ended: pulumi cancel"
            )
        if lock.state == "alive":
            raise StackBusy(f"stack {stack} is held by {lock.holder}; wait for it to end")
    if found:  # while their locks still keep others out
        for half in half_written(checkout.state, stack):
            half.unlink(missing_ok=True)
    for lock in found:
        lock.file.unlink(missing_ok=True)
        say(f"released the lock of a dead run: {lock.holder}")


@dataclass(frozen=True, kw_only=True)
class BackendLock:
    """A lock of Pulumi's in the checkout's backend."""

    file: Path
    state: Literal["alive", "dead", "elsewhere", "unreadable"]
    """Of its holder: ``elsewhere`` is on another host, where nobody here can look."""
    holder: str
    """Who holds it since when; why, where it is unreadable."""


def half_written(state: Path, stack: str) -> Iterator[Path]:
    """What a killed engine was writing for this stack, aside and never renamed."""
    pulumi = state / ".pulumi"
    yield from (pulumi / "stacks" / PROJECT).glob(f"{stack}.json*.tmp")
    for folder in ("history", "backups"):
        yield from (pulumi / folder / PROJECT / stack).glob("*.tmp")


def backend_locks(checkout: Checkout, stack: str) -> list[BackendLock]:
    """Pulumi's locks of this checkout's backend, and whether their holders live."""
    files = sorted(lock_folder(checkout.state, stack).glob("*.json"))
    return [lock for file in files if (lock := _backend_lock(file))]


def _backend_lock(file: Path) -> BackendLock | None:
    try:
        lock = json.loads(file.read_text(encoding="utf-8"))
        host, pid, since = lock["hostname"], int(lock["pid"]), lock["timestamp"]
        if not isinstance(since, str):
            raise TypeError("its timestamp is no text")
    except FileNotFoundError:
        return None  # released meanwhile
    except (OSError, ValueError, KeyError, TypeError) as error:
        return BackendLock(file=file, state="unreadable", holder=str(error))
    holder = f"{lock.get('username', 'somebody')}@{host} (pid {pid}) since {since}"
    if host != socket.gethostname():
        return BackendLock(file=file, state="elsewhere", holder=holder)
    return BackendLock(file=file, state="alive" if _lives_since(pid, since) else "dead", holder=holder)


def _lives_since(pid: int, timestamp: str) -> bool:
    """Whether the lock's process lives: one that was started after the lock was taken is another."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        taken = datetime.fromisoformat(timestamp).timestamp()
        return process.create_time() <= taken + 1
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, ValueError):
        return True  # in doubt it lives


def _busy(stack: str, run: Run | None) -> str:
    if run is None:
        return f"stack {stack} is held by another command; wait for it to end"
    since = time.strftime("%H:%M:%S", time.localtime(run.started))
    return f"stack {stack} is held by {run.command} (pid {run.pid}, {run.user}, since {since}); wait for it to end"


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _name(process: psutil.Process) -> str:
    try:
        return f"{process.name()} (pid {process.pid})"
    except psutil.Error:
        return f"pid {process.pid}"


def lock_folder(state: Path, stack: str) -> Path:
    """Where Pulumi keeps a stack's locks in a file backend."""
    return state / ".pulumi" / "locks" / "organization" / PROJECT / stack
