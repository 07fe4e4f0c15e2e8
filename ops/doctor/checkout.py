"""The checkout: its files, its engine, the stack's state, and who holds the stack."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.folder import NAME as BACKUPS
from engine import locks, pin
from engine.acquire import Engine, present
from engine.checkout import has_own_backend
from engine.errors import EngineError
from engine.stack import Stack
from ops import stacks
from ops.doctor.finding import UP, Finding, Mend, span
from ops.doctor.scene import Scene

AHEAD_MIN_S = 300
"""A file from so far in the future was written while the clock was wrong."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What the stack's state file tells without the engine."""

    made: bool
    """Whether there is a database in it."""
    damaged: str = ""
    pending: tuple[str, ...] = ()
    """``creating server``: what a killed run began."""
    elsewhere: bool = False
    """In a backend of the user's own, which only the engine reads."""


ELSEWHERE = State(made=True, elsewhere=True)


def look(scene: Scene, found: State) -> Iterator[Finding]:
    """Everything that lies in the checkout; ``found`` is its state."""
    passed_over: list[str] = []
    yield engine(present(say=passed_over.append, environ=scene.environ), passed_over)
    yield Finding(name="settings", found=scene.settings_fault, way="correct the file that is named")
    yield readable(unreadable(_files(scene)))
    yield owned(_owner(scene.checkout.own), os.geteuid())
    yield passphrase(scene)
    yield from whole(found, scene.stack)
    yield from held(locks.backend_locks(scene.checkout, scene.stack), locks.last_run(scene.checkout, scene.stack))
    yield from stamped(_stamps(scene), time.time())


def engine(found: Engine | None, passed_over: Sequence[str]) -> Finding:
    """Rule: an engine is at hand, of the version that this repository runs with."""
    why = f" ({'; '.join(passed_over)})" if passed_over else ""
    missing = f"no Pulumi engine {pin.VERSION} or newer is at hand{why}" if found is None else ""
    return Finding(name="Pulumi engine", found=missing, way="run ./gaia setup, which downloads or builds it")


def unreadable(files: Iterable[Path]) -> list[Path]:
    """Those of the files that this user can't read."""
    effective = os.access in os.supports_effective_ids
    return [file for file in files if not os.access(file, os.R_OK, effective_ids=effective)]


def readable(closed: Sequence[Path]) -> Finding:
    """Rule: migrations, stack files and the stack's own files can be read."""
    names = " ".join(str(file) for file in closed[:3]) + (f" and {len(closed) - 3} more" if len(closed) > 3 else "")
    return Finding(
        name="files can be read",
        found=f"permission denied: {names}" if closed else "",
        way=f"run chmod u+r,a+r {' '.join(str(file) for file in closed[:3])}",
    )


def owned(owner: int | None, user: int) -> Finding:
    """Rule: the checkout's own folder belongs to who works in it."""
    name = _name(owner) if owner is not None else ""
    return Finding(
        name="checkout is ours",
        found=f".gaia belongs to {name}, not to {_name(user)}" if owner not in (None, user) else "",
        way=f"run this as {name}, or work in a clone of your own",
    )


def passphrase(scene: Scene) -> Finding:
    """Rule: where there is a state, there is its passphrase; whether it is the right one the engine tells."""
    set_by_hand = any(name.startswith("PULUMI_CONFIG_PASSPHRASE") for name in scene.environ)
    gone = not set_by_hand and not scene.checkout.passphrase.exists() and _state_file(scene).exists()
    return Finding(
        name="passphrase",
        found=f"{scene.checkout.passphrase} is gone, and with it the way to the stack's secrets" if gone else "",
        way=f"put it back, or move {scene.checkout.state} away and run ./gaia up, which takes the database over",
    )


def state(scene: Scene) -> State:
    """Read the state file, which the engine isn't needed for."""
    if not has_own_backend(scene.checkout, scene.environ):
        return ELSEWHERE
    stack = _unopened(scene)
    try:
        pending = tuple(f"{entry.operation} {entry.name}" for entry in stack.pending())
        return State(made=stacks.is_up(stack), pending=pending)
    except (EngineError, OSError) as error:
        return State(made=True, damaged=str(error).partition(";")[0])


def whole(found: State, stack: str) -> Iterator[Finding]:
    """Rules: the state can be read, holds a database, and nothing in it was left unfinished."""
    yield Finding(name="state", found=found.damaged, way="run ./gaia up --restore-state")
    yield Finding(
        name="stack is up",
        found="" if found.made else f"stack {stack} has no database yet",
        way=f"run ./gaia up --stack {stack}",
        mend=UP,
    )
    yield Finding(
        name="no pending operations",
        found=f"a killed run left unfinished: {', '.join(found.pending)}" if found.pending else "",
        way="run ./gaia up, which looks at it again",
        level="warning",
        mend=UP,
    )


def held(backend: Sequence[locks.BackendLock], run: locks.Run | None) -> Iterator[Finding]:
    """Rules: no lock of a dead run is left; who works on the stack now is good to know."""
    dead = [lock.holder for lock in backend if lock.state == "dead"]
    yield Finding(
        name="no stale lock",
        found=f"a dead run's lock is left: {'; '.join(dead)}" if dead else "",
        way="run ./gaia doctor --fix; the next ./gaia up releases it too",
        level="warning",
        mend=Mend(kind="lock", title="release the lock of a run that is dead") if dead else None,
    )
    for lock in backend:
        if lock.state in ("elsewhere", "unreadable"):
            yield Finding(
                name="lock of another host" if lock.state == "elsewhere" else "lock can be read",
                found=f"the stack is held by {lock.holder}" if lock.state == "elsewhere" else lock.holder,
                way='once no other run goes on, run eval "$(./gaia env)"; pulumi cancel',
                level="warning" if lock.state == "elsewhere" else "fault",
            )
    if run is not None and run.alive() and run.pid != os.getpid():
        busy = f"{run.command} works on it (pid {run.pid}, {run.user})"
        yield Finding(name="stack is held", found=busy, way="wait for it to end", level="note")
    elif run is not None and not run.alive():
        killed = f"{run.command} (pid {run.pid}) did not come to its end"
        yield Finding(
            name="last run ended", found=killed, way="run ./gaia up, which goes on from there", level="warning", mend=UP
        )


def stamped(stamps: Sequence[tuple[str, float]], now: float) -> Iterator[Finding]:
    """Rule: no file of ours is from the future; one is where the clock was ahead while it was written."""
    ahead = [(name, stamp - now) for name, stamp in stamps if stamp - now > AHEAD_MIN_S]
    found = ", ".join(f"{name} by {span(by)}" for name, by in ahead[:3])
    yield Finding(
        name="no file from the future",
        found=f"written later than now: {found}; the clock was ahead then, or is behind now" if ahead else "",
        way="compare date -u with a clock you trust, set it with timedatectl set-ntp true",
        level="warning",
    )


def _files(scene: Scene) -> Iterator[Path]:
    root = scene.checkout.root
    yield from sorted((root / "migrations").rglob("*.py"))
    yield from (root / "migrations" / "guards.json", root / "uv.lock", scene.checkout.stack_file(scene.stack))
    yield from (file for file in (scene.checkout.passphrase, _state_file(scene)) if file.exists())


def _stamps(scene: Scene) -> list[tuple[str, float]]:
    backups = sorted((scene.checkout.root / BACKUPS).glob("*"))
    files = [file for file in (_state_file(scene), *backups) if file.exists()]
    return [(file.name, file.stat().st_mtime) for file in files]


def _state_file(scene: Scene) -> Path:
    return _unopened(scene).state_file


def _unopened(scene: Scene) -> Stack:
    """The stack for what its files tell: there may be no engine."""
    return Stack(name=scene.stack, checkout=scene.checkout, engine=Path("pulumi"), environ=scene.environ)


def _owner(folder: Path) -> int | None:
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
