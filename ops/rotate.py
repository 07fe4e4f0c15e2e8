"""``./gaia rotate``: the app's two logins take turns, by the plan that production declares.

Handing over gives the idle login a new password and makes it the app's; the other one keeps its own until nobody uses
it, and is then retired. Each step is a change of the stack's settings and an ``up``: whatever ends a rotation in the
middle, the next ``rotate`` or ``up`` goes on from there, and none goes back to an earlier turn.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from engine import checkout as places
from ops import access, env_files, stacks, up
from ops.exits import FAILED, FINE, Missing, OpsError, UsageFault
from ops.report import Report

if TYPE_CHECKING:
    from engine.stack import Stack
    from infra.rotation import Rotation
    from infra.settings import Settings

LOOK_EVERY_S = 0.5
QUIET_S = 2.0
"""How long nobody may have used a login before it is retired: a pool may let go of a connection and take another."""


@dataclass(frozen=True, kw_only=True)
class Counter:
    """One of the two things that are rotated, by its keys in the settings."""

    turn: str
    retired: str

    def of(self, rotation: Rotation) -> tuple[int, bool]:
        """The turn, and whether what was before it is retired."""
        return getattr(rotation, self.turn), getattr(rotation, self.retired)

    def set(self, rotation: Rotation, turn: int, *, retired: bool) -> Rotation:
        """The rotation on another turn."""
        return replace(rotation, **{self.turn: turn, self.retired: retired})


PASSWORD = Counter(turn="turn", retired="retire_previous")
IDENTITY = Counter(turn="identity_turn", retired="retire_previous_identity")


def rotate(report: Report, *, stack_name: str | None, retire: bool, now: bool, wait_s: float, identity: bool) -> int:
    """Hand over, then retire what was before; with ``retire`` only that. Returns the exit code."""
    if identity and now:
        raise UsageFault("--now: who signs with a key can't be seen, nor be ended; use --identity --retire")
    checkout = places.here()
    places.prepare(checkout)
    name = stack_name or stacks.chosen(checkout)
    if name is None:
        raise Missing("no stack is up yet: run ./gaia up")
    counter = IDENTITY if identity else PASSWORD
    _require_local(stacks.read_settings(checkout, name), counter)
    stack = stacks.with_engine(checkout, name, report.long)
    handed = _hand_over(report, stack, counter, begin=not retire)
    if handed is None:
        return _tell(report, stack, counter, users={}, files=[], asked=retire)
    files = _renew_files(report, stack)
    users: dict[str, int] = {}
    if identity:
        # Who still signs with the key before can't be seen: somebody has to say that nobody does.
        if retire:
            _retire(report, stack, counter, handed)
    else:
        users = {} if now else _users(report, stack, wait_s)
        if not users:
            _retire(report, stack, counter, handed)
        if now:
            _end_sessions(stack)
    return _tell(report, stack, counter, users=users, files=files, asked=retire)


def handed_over(there: Rotation, wanted: Rotation, counter: Counter, *, begin: bool) -> Rotation | None:
    """How the stack is to be before anything is retired; None where there is nothing to do.

    ``there`` is what was carried out last, ``wanted`` what the settings say: they differ after a run that was killed.
    A rotation that isn't over is finished first, since another turn takes the old login's password from who uses it.
    """
    turn, retired = counter.of(wanted)
    if turn > 1 and not (retired and counter.of(there) == (turn, True)):
        return counter.set(wanted, turn, retired=False)
    return counter.set(wanted, turn + 1, retired=False) if begin else None


def _hand_over(report: Report, stack: Stack, counter: Counter, *, begin: bool) -> Rotation | None:
    """Bring the stack to where something can be retired, and return its turns; None where there is nothing."""
    there, wanted = stacks.rotation(stack), stacks.read_settings(stack.checkout, stack.name).rotation
    after = handed_over(there, wanted, counter, begin=begin)
    if after is None:
        return None
    if after != there:
        _bring(report, stack, wanted, after)
    elif after != wanted:
        _set(stack, wanted, after)
    return after


def _retire(report: Report, stack: Stack, counter: Counter, handed: Rotation) -> None:
    _bring(report, stack, handed, counter.set(handed, counter.of(handed)[0], retired=True))


def _bring(report: Report, stack: Stack, before: Rotation, after: Rotation) -> None:
    @contextlib.contextmanager
    def changed() -> Iterator[Settings]:
        # Unlike what `up --set` sets it stays if the run fails: what was handed out is never taken back.
        yield _set(stack, before, after)

    up.bring_up(report, stack.checkout, stack.name, command="./gaia rotate", chosen=changed())


def _set(stack: Stack, before: Rotation, after: Rotation) -> Settings:
    """Change the rotation in the settings of this checkout, all of it at once."""
    from engine import working_copy

    settings = stacks.read_settings(stack.checkout, stack.name)
    if settings.rotation != before:
        raise OpsError(f"another run has rotated stack {stack.name} meanwhile: run ./gaia rotate again to go on")
    old, new = asdict(before), asdict(after)
    texts = [(f"{settings.target}.rotation.{key}", str(new[key]).lower()) for key in new if new[key] != old[key]]
    working_copy.set_values(stack.checkout, stack.name, texts)
    return stacks.read_settings(stack.checkout, stack.name)


def _renew_files(report: Report, stack: Stack) -> list[str]:
    """Write the files of ``env --file`` anew. Raises ``OpsError``: with one that is out of date nothing is retired."""
    renewed = env_files.renew(stack, access.document_lines)
    for path in renewed.written:
        report.say(f"  wrote {path} anew")
    if renewed.failed:
        raise OpsError(f"{'; '.join(renewed.failed)}: mend that or remove it, then run ./gaia rotate again to finish")
    return renewed.written


def _users(report: Report, stack: Stack, wait_s: float) -> dict[str, int]:
    """The sessions of the login whose turn is over, by application: none, or who is left after ``wait_s``."""
    from migrations import connection as connections

    login = stacks.rotation(stack).other
    deadline, quiet_since = time.monotonic() + wait_s, None
    with connections.connect(stacks.logins(stack).superuser.url) as connection:
        while True:
            users, moment = _sessions(connection, login), time.monotonic()
            quiet_since = None if users else (quiet_since or moment)
            if quiet_since and moment - quiet_since >= min(QUIET_S, wait_s):
                return {}
            if users and moment >= deadline:
                return users
            left_s = max(0.0, deadline - moment)
            waiting = f"{_counted(users)} of {login} left; waiting up to {left_s:.0f} s for their end"
            report.long(waiting if users else f"nobody uses {login}: making sure")
            time.sleep(LOOK_EVERY_S)


def _sessions(connection: Any, login: str) -> dict[str, int]:
    query = "SELECT coalesce(nullif(application_name, ''), 'unnamed'), count(*) FROM pg_stat_activity"
    return dict(connection.execute(f"{query} WHERE usename = %s GROUP BY 1 ORDER BY 2 DESC", (login,)).fetchall())


def _end_sessions(stack: Stack) -> None:
    from migrations import connection as connections

    with connections.connect(stacks.logins(stack).superuser.url) as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
        connection.execute(query, (stacks.rotation(stack).other,))


def _counted(users: dict[str, int]) -> str:
    count = sum(users.values())
    return f"{count} session{'' if count == 1 else 's'}"


def _tell(
    report: Report, stack: Stack, counter: Counter, *, users: dict[str, int], files: list[str], asked: bool
) -> int:
    """Say how it ended; returns the exit code: asked to retire, it fails where it couldn't."""
    there = stacks.rotation(stack)
    turn, retired = counter.of(there)
    over = turn == 1 or retired
    document = {
        "ok": over or not asked,
        "stack": stack.name,
        "rotated": "identity" if counter is IDENTITY else "password",
        "turn": turn,
        "retired": over,
        "app_user": there.current,
        "sessions": users,
        "files": files,
        "seconds": report.seconds,
    }
    report.result(_identity_text(turn, over) if counter is IDENTITY else _password_text(there, over, users), document)
    return FINE if document["ok"] else FAILED


def _password_text(there: Rotation, over: bool, users: dict[str, int]) -> str:
    first = f"the app's login is {there.current} (turn {there.turn})"
    if there.turn == 1:
        return f"{first}, and no other has a password"
    if over:
        return f"{first}; {there.other} is retired"
    named = ", ".join(f"{name} {count}" for name, count in users.items())
    return (
        f"{first}; {there.other} keeps its password for {_counted(users)} ({named})\n"
        f"next: restart them with the URL of ./gaia url --as app, then ./gaia rotate --retire"
    )


def _identity_text(turn: int, over: bool) -> str:
    first = f"identities are signed with the key of turn {turn}"
    if over:
        return f"{first}, and no other counts"
    return (
        f"{first}; the one before it counts as well\n"
        "next: restart the backend with the GAIA_IDENTITY_KEY of now, then ./gaia rotate --identity --retire"
    )


def _require_local(settings: Settings, counter: Counter) -> None:
    if settings.target != "gcp":
        return
    turn, _ = counter.of(settings.rotation)
    raise UsageFault(
        f"stack {settings.stack} is in Google Cloud, which only pulumi itself changes, after showing its preview: "
        f"raise gcp.rotation.{counter.turn} in Pulumi.{settings.stack}.yaml to {turn + 1}, then pulumi up "
        f"-s {settings.stack}"
    )
