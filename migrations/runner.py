"""Brings a database to a revision: the one way for ``up``, for ``python -m migrations`` and for the deploy's job."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrations import connection as connections
from migrations import grants, indexes, lock, paths, revisions, roles
from migrations.compare import check, losses, new
from migrations.errors import LockTimeout
from migrations.paths import Step
from migrations.perform import performing
from migrations.revisions import DIRECTORY, content_hash, head, history

if TYPE_CHECKING:
    import psycopg

    from migrations.perform import Prepare

__all__ = [
    "Applied",
    "Event",
    "Result",
    "apply",
    "check",
    "content_hash",
    "current",
    "downgrade",
    "head",
    "history",
    "losses",
    "new",
    "upgrade",
]

LOCK_ATTEMPTS = 8
"""How often a revision is tried that can't get a lock; with the pauses between, some 20 s in all."""
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something a person may want to see while it happens."""

    kind: str
    """``waiting``, ``upgrading``, ``downgrading``, ``done``, ``retrying``, ``healed``, ``roles`` or ``grants``."""
    message: str
    revision: str | None = None
    seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What :func:`upgrade` or :func:`downgrade` did. None stands for the empty schema (base)."""

    before: str | None
    after: str | None
    applied: tuple[str, ...]
    """The revisions that were applied, or undone, in that order."""
    grants: tuple[str, ...] = ()
    """The GRANT and REVOKE statements that were needed afterwards."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Applied:
    """What :func:`apply` did."""

    roles: tuple[str, ...]
    result: Result

    @property
    def changed(self) -> bool:
        """Whether anything was different before."""
        return bool(self.roles or self.result.applied or self.result.grants)


OnEvent = Callable[[Event], None]


def current(url: str) -> str | None:
    """The revision the database is at; None for base."""
    with connections.connect(url) as connection:
        connections.become_owner(connection)
        return connections.revision_of(connection)


def current_of(connection: "psycopg.Connection[Any]") -> str | None:
    """The revision of the database that a superuser's or the owner's connection leads to; None for base."""
    return connections.revision_of(connection)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _How:
    """How a run goes, whatever it does."""

    directory: Path
    on_event: OnEvent | None
    wait_s: float | None
    statement_timeout_s: float | None
    prepare: "Prepare | None" = None

    def tell(self, kind: str, message: str, revision: str | None = None, seconds: float | None = None) -> None:
        if self.on_event is not None:
            self.on_event(Event(kind=kind, message=message, revision=revision, seconds=seconds))

    def waits(self, message: str) -> None:
        self.tell("waiting", message)


def upgrade(
    url: str,
    revision: str = "head",
    *,
    on_event: OnEvent | None = None,
    directory: Path = DIRECTORY,
    wait_s: float | None = None,
    statement_timeout_s: float | None = None,
    prepare: "Prepare | None" = None,
) -> Result:
    """Go up to ``revision`` (``head``, ``+N`` or a number), one transaction each, then bring the grants in order.

    ``statement_timeout_s`` is taken from the environment where it isn't given. Raises Busy, LockLost,
    MigrationFailed, UnknownRevision, RoleError, BadSetting or ConnectionFailed; the database is then at the last
    revision that worked.
    """
    how = _How(
        directory=directory, on_event=on_event, wait_s=wait_s, statement_timeout_s=statement_timeout_s, prepare=prepare
    )
    with connections.connect(url) as connection:
        owned = connections.become_owner(connection)
        return _upgrade(connection, url, revision, owned, how)


def downgrade(
    url: str,
    revision: str,
    *,
    on_event: OnEvent | None = None,
    directory: Path = DIRECTORY,
    wait_s: float | None = None,
    statement_timeout_s: float | None = None,
    prepare: "Prepare | None" = None,
) -> Result:
    """Go down to ``revision`` (``base``, ``-N`` or a number), one transaction each; then the grants.

    Raises what upgrade raises.
    """
    how = _How(
        directory=directory, on_event=on_event, wait_s=wait_s, statement_timeout_s=statement_timeout_s, prepare=prepare
    )
    line = history(directory)
    with connections.connect(url) as connection:
        owned = connections.become_owner(connection)
        with lock.exclusive(url, wait_s=wait_s, on_wait=how.waits) as held:
            before = paths.known(line, connections.revision_of(connection))
            steps = paths.down_path(line, before, revision)
            applied = _run(connection, held, steps, how)
            granted = _grant(connection, how) if owned else ()  # a table that was made again has none
            after = connections.revision_of(connection)
            return Result(before=before, after=after, applied=applied, grants=granted)


def apply(
    url: str,
    *,
    passwords: Mapping[str, str],
    on_event: OnEvent | None = None,
    directory: Path = DIRECTORY,
    wait_s: float | None = None,
) -> Applied:
    """Roles, then all revisions, then grants: from an empty database to one the backend can use, and again.

    ``url`` is a superuser's, or that of a CREATEROLE login which owns the database. Where nothing is to be done it
    takes one connection and a few queries.
    """
    how = _How(directory=directory, on_event=on_event, wait_s=wait_s, statement_timeout_s=None)
    with connections.connect(url) as connection:
        changed = roles.apply(connection, passwords)
        for what in changed:
            how.tell("roles", what)
        owned = connections.become_owner(connection)
        return Applied(roles=changed, result=_upgrade(connection, url, "head", owned, how))


def _upgrade(connection: "psycopg.Connection[Any]", url: str, revision: str, owned: bool, how: _How) -> Result:
    line = history(how.directory)
    before = paths.known(line, connections.revision_of(connection))
    applied: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    if paths.up_path(line, before, revision):
        with lock.exclusive(url, wait_s=how.wait_s, on_wait=how.waits) as held:
            # Another runner may have been at work meanwhile; +N counts from where this one found the database.
            target = paths.target(line, before, revision)
            before = paths.known(line, connections.revision_of(connection))
            # Default privileges first: they decide with which grants, and in which order, a table begins.
            granted = _grant(connection, how) if owned else ()
            applied = _run(connection, held, paths.up_path(line, before, target), how)
    granted += _grant(connection, how) if owned else ()
    return Result(before=before, after=applied[-1] if applied else before, applied=applied, grants=granted)


def _grant(connection: "psycopg.Connection[Any]", how: _How) -> tuple[str, ...]:
    changed = grants.apply(connection)
    for what in changed:
        how.tell("grants", what)
    return changed


def _run(
    connection: "psycopg.Connection[Any]", held: "psycopg.Connection[Any]", steps: list[Step], how: _How
) -> tuple[str, ...]:
    if not steps:
        return ()
    connections.set_timeouts(connection, statement_timeout_s=how.statement_timeout_s)
    lock.mark_at_work(connection, wait_s=how.wait_s, on_wait=how.waits)
    makers = revisions.sources(how.directory, {step.revision for step in steps})
    with performing(connection, how.directory, how.prepare) as perform:
        for step in steps:
            lock.require_held(held, step.start)
            kind = "upgrading" if step.up else "downgrading"
            how.tell(kind, f"{kind} {step.revision}", step.revision)
            started = time.monotonic()
            _patiently(step, perform, lambda step: _heal(held, makers, step, how), how)
            seconds = time.monotonic() - started
            how.tell("done", f"{step.revision} in {seconds:.2f} s", step.revision, seconds)
    return tuple(step.revision for step in steps)


def _patiently(step: Step, perform: Callable[[Step], None], heal: Callable[[Step], None], how: _How) -> None:
    """Perform ``step``, again after a pause if it can't get a lock: others get their turn in between."""
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            heal(step)
            perform(step)
        except LockTimeout:
            if attempt == LOCK_ATTEMPTS:
                raise
            how.tell("retrying", f"{step.revision} waits for a lock ({attempt} of {LOCK_ATTEMPTS})", step.revision)
            time.sleep(min(_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S))
        else:
            return


def _heal(held: "psycopg.Connection[Any]", makers: str, step: Step, how: _How) -> None:
    for name in indexes.heal(held, makers, step):
        how.tell("healed", f"dropped {name}: a CREATE INDEX CONCURRENTLY had left it unusable")
