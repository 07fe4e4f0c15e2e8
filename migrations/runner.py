"""Brings a database to a revision: the one way for ``up``, for ``python -m migrations`` and for the deploy's job."""

import dataclasses
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrations import connection as connections
from migrations import grants, lock, revisions, roles
from migrations.errors import LockTimeout, MigrationFailed, UnknownRevision
from migrations.revisions import BASE, DIRECTORY, Revision, content_hash, head, history

if TYPE_CHECKING:
    import psycopg
    from alembic.config import Config

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

_DROPPED = re.compile(
    r"^\s*(?:DROP TABLE (?:IF EXISTS )?|ALTER TABLE (?:IF EXISTS )?(?=\S+ DROP COLUMN ))([\w\".]+)", re.MULTILINE
)
LOCK_ATTEMPTS = 8
"""How often a revision is tried that can't get a lock; with the pauses between, some 20 s in all."""
_ALEMBIC = threading.RLock()
"""Alembic's environment is a global of the process: one thread at a time."""

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something a person may want to see while it happens."""

    kind: str
    """``waiting``, ``upgrading``, ``downgrading``, ``done``, ``retrying``, ``roles`` or ``grants``."""
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
        return _current(connection)


def current_of(connection: "psycopg.Connection[Any]") -> str | None:
    """The revision of the database that a superuser's or the owner's connection leads to; None for base."""
    return _current(connection)


def upgrade(
    url: str,
    revision: str = "head",
    *,
    on_event: OnEvent | None = None,
    directory: Path = DIRECTORY,
    wait_s: float | None = None,
) -> Result:
    """Go up to ``revision`` (``head``, ``+N`` or a number), one transaction each, then bring the grants in order.

    Raises Busy, MigrationFailed, UnknownRevision, RoleError or ConnectionFailed; the database is then at the last
    revision that worked.
    """
    with connections.connect(url) as connection:
        owned = connections.become_owner(connection)
        return _upgrade(connection, url, revision, owned, on_event, directory, wait_s)


def downgrade(
    url: str,
    revision: str,
    *,
    on_event: OnEvent | None = None,
    directory: Path = DIRECTORY,
    wait_s: float | None = None,
) -> Result:
    """Go down to ``revision`` (``base``, ``-N`` or a number), one transaction each; raises what upgrade raises."""
    line = history(directory)
    with connections.connect(url) as connection:
        connections.become_owner(connection)
        with lock.exclusive(url, wait_s=wait_s, on_wait=_waits(on_event)) as held:
            before = _known(line, _current(connection))
            steps = _down_path(line, before, revision)
            applied = _run(connection, held, directory, steps, on_event)
            return Result(before=before, after=_current(connection), applied=applied)


def losses(url: str, revision: str, *, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """The tables that hold rows and that a downgrade would drop, or drop columns of; empty when nothing is lost."""
    import io

    from alembic import command
    from psycopg import sql

    with connections.connect(url) as connection:
        connections.become_owner(connection)
        line = history(directory)
        before = _known(line, _current(connection))
        if not _down_path(line, before, revision):
            return ()
        config = _config(directory)
        config.output_buffer = written = io.StringIO()
        with _ALEMBIC, redirect_stdout(io.StringIO()):
            command.downgrade(config, f"{before or BASE}:{_target(line, before, revision)}", sql=True)
        lost = []
        for name in dict.fromkeys(_DROPPED.findall(written.getvalue())):
            table = sql.SQL(".").join(sql.Identifier(part.strip('"')) for part in name.split("."))
            if connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table)).fetchone():
                lost.append(name)
        return tuple(lost)


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
    with connections.connect(url) as connection:
        changed = roles.apply(connection, passwords)
        for what in changed:
            _tell(on_event, Event(kind="roles", message=what))
        owned = connections.become_owner(connection)
        return Applied(roles=changed, result=_upgrade(connection, url, "head", owned, on_event, directory, wait_s))


def check(url: str, *, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Each difference between the database and ``db.models``, as Alembic's autogenerate sees it."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    found: list[str] = []

    def compare(_revision: Any, context: Any) -> list[Any]:
        from db.models import Base

        for entry in compare_metadata(context, Base.metadata):
            found.extend(map(_said, entry if isinstance(entry, list) else [entry]))
        return []

    with connections.connect(url) as connection:
        connections.become_owner(connection)
        with connections.sqlalchemy_connection(connection) as wrapped:
            config = _config(directory)
            config.attributes["connection"] = wrapped
            script = ScriptDirectory.from_config(config)
            with _ALEMBIC, EnvironmentContext(config, script, fn=compare):
                script.run_env()
    return tuple(found)


def new(url: str, title: str, *, directory: Path = DIRECTORY) -> Path | None:
    """Write the next revision: what ``db.models`` has and the database, which must be at head, has not.

    None when they agree. Uses ``[tool.alembic]`` of pyproject.toml for the file's name and its formatting.
    """
    import io

    from alembic import command

    before = {r.path for r in history(directory)}
    with connections.connect(url) as connection:
        connections.become_owner(connection)
        if (live := _known(history(directory), _current(connection))) != head(directory):
            raise UnknownRevision(f"the database is at {live or BASE}: upgrade it to {head(directory)} first")
        with connections.sqlalchemy_connection(connection) as wrapped:
            config = _config(directory)
            config.stdout = io.StringIO()
            config.attributes.update(connection=wrapped, autogenerate=True)
            with _ALEMBIC, redirect_stdout(io.StringIO()):
                command.revision(config, message=title, autogenerate=True)
    written = {r.path for r in history(directory)} - before
    return written.pop() if written else None


def _upgrade(
    connection: "psycopg.Connection[Any]",
    url: str,
    revision: str,
    owned: bool,
    on_event: OnEvent | None,
    directory: Path,
    wait_s: float | None,
) -> Result:
    line = history(directory)
    before = _known(line, _current(connection))
    applied: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    if _up_path(line, before, revision):
        with lock.exclusive(url, wait_s=wait_s, on_wait=_waits(on_event)) as held:
            # Another runner may have been at work meanwhile; +N counts from where this one found the database.
            target = _target(line, before, revision)
            before = _known(line, _current(connection))
            # Default privileges first: they decide with which grants, and in which order, a table begins.
            granted = grants.apply(connection) if owned else ()
            applied = _run(connection, held, directory, _up_path(line, before, target), on_event)
    granted += grants.apply(connection) if owned else ()
    for what in granted:
        _tell(on_event, Event(kind="grants", message=what))
    return Result(before=before, after=applied[-1] if applied else before, applied=applied, grants=granted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    revision: str
    """The revision that is applied or undone."""
    to: str
    """The revision the database is at afterwards, or ``base``."""
    start: str | None
    """The revision the database is at before, None for base; it stays there if the step fails."""
    up: bool


def _up_path(line: tuple[Revision, ...], before: str | None, revision: str) -> list[_Step]:
    end = revisions.position(line, _target(line, before, revision))
    return [_Step(revision=r.id, to=r.id, start=r.down, up=True) for r in line[revisions.position(line, before) : end]]


def _down_path(line: tuple[Revision, ...], before: str | None, revision: str) -> list[_Step]:
    end = revisions.position(line, _target(line, before, revision))
    undone = reversed(line[end : revisions.position(line, before)])
    return [_Step(revision=r.id, to=r.down or BASE, start=r.id, up=False) for r in undone]


def _target(line: tuple[Revision, ...], before: str | None, revision: str) -> str:
    """``revision`` as a number or ``base``; raises UnknownRevision."""
    if revision == "head":
        return line[-1].id if line else BASE
    if revision[:1] in {"+", "-"} and revision[1:].isdigit():
        number = revisions.position(line, before) + int(revision)
        if not 0 <= number <= len(line):
            raise UnknownRevision(f"{revision} leads beyond what there is: the database is at {before or BASE}")
        return line[number - 1].id if number else BASE
    revisions.position(line, revision)
    return revision


def _known(line: tuple[Revision, ...], live: str | None) -> str | None:
    if live is not None and live not in {r.id for r in line}:
        raise UnknownRevision(
            f"the database is at {live}, which this checkout doesn't have: update the checkout, "
            "or downgrade the database from the checkout that has it"
        )
    return live


def _current(connection: "psycopg.Connection[Any]") -> str | None:
    row = connection.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL").fetchone()
    if not row or not row[0]:
        return None
    found = connection.execute("SELECT version_num FROM public.alembic_version").fetchall()
    return str(found[0][0]) if found else None


def _run(
    connection: "psycopg.Connection[Any]",
    held: "psycopg.Connection[Any]",
    directory: Path,
    steps: list[_Step],
    on_event: OnEvent | None,
) -> tuple[str, ...]:
    if not steps:
        return ()
    connections.set_timeouts(connection)
    with _alembic(connection, directory) as perform:
        for step in steps:
            held.execute("SELECT 1")  # fails if the lock's session was ended: then stop
            kind = "upgrading" if step.up else "downgrading"
            _tell(on_event, Event(kind=kind, message=f"{kind} {step.revision}", revision=step.revision))
            started = time.monotonic()
            _patiently(step, perform, on_event)
            seconds = time.monotonic() - started
            message = f"{step.revision} in {seconds:.2f} s"
            _tell(on_event, Event(kind="done", message=message, revision=step.revision, seconds=seconds))
    return tuple(step.revision for step in steps)


def _patiently(step: _Step, perform: Callable[[_Step], None], on_event: OnEvent | None) -> None:
    """Perform ``step``, again after a pause if it can't get a lock: others get their turn in between."""
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            perform(step)
        except LockTimeout:
            if attempt == LOCK_ATTEMPTS:
                raise
            message = f"{step.revision} waits for a lock ({attempt} of {LOCK_ATTEMPTS})"
            _tell(on_event, Event(kind="retrying", message=message, revision=step.revision))
            time.sleep(min(_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S))
        else:
            return


@contextmanager
def _alembic(connection: "psycopg.Connection[Any]", directory: Path) -> Iterator[Callable[[_Step], None]]:
    """A function that performs one step with Alembic, its files read once."""
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    with connections.sqlalchemy_connection(connection) as wrapped:
        config = _config(directory)
        config.attributes.update(connection=wrapped, without_models=True)
        script = ScriptDirectory.from_config(config)

        def perform(step: _Step) -> None:
            plan: Any = script._upgrade_revs if step.up else script._downgrade_revs

            def steps(revision: Any, _context: Any) -> Any:
                return plan(step.to, revision)

            try:
                with _ALEMBIC, EnvironmentContext(config, script, fn=steps, destination_rev=step.to):
                    script.run_env()
            except Exception as error:
                if wrapped.in_transaction():
                    wrapped.rollback()
                raise _failure(step, error) from error

        yield perform


def _failure(step: _Step, error: Exception) -> MigrationFailed:
    import psycopg
    from sqlalchemy.exc import DBAPIError

    statement = error.statement if isinstance(error, DBAPIError) else None
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        reason = cause.diag.message_primary or connections.one_sentence(str(cause))
        if detail := cause.diag.message_detail:
            reason = f"{reason} ({detail.rstrip('.')})"
    else:
        reason = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        advice = "; another session holds a lock on it: end that transaction, or try at a quieter time"
        return LockTimeout(step.revision, statement, reason, step.start, advice)
    return MigrationFailed(step.revision, statement, reason, step.start)


def _said(difference: tuple[Any, ...]) -> str:
    """One difference of Alembic's as text: what is to be done to the database, and where."""
    kind, *rest = difference
    if kind.startswith("modify_"):
        schema, table, column, _, old, new = rest
        return f"{kind} {schema}.{table}.{column}: {_plain(old)} in the database, {_plain(new)} in the models"
    thing = rest[-1]
    table = getattr(thing, "table", None)
    name = getattr(thing, "name", None)
    name = getattr(thing, "fullname", name)
    return f"{kind} {name}" if table is None or table is thing else f"{kind} {name} on {table.fullname}"


def _plain(value: Any) -> str:
    return str(getattr(value, "arg", value))


def _config(directory: Path) -> "Config":
    from alembic.config import Config

    config = Config(toml_file=DIRECTORY.parent / "pyproject.toml")  # not there in the job's image, nor needed
    config.set_main_option("script_location", str(directory).replace("%", "%%"))
    return config


def _waits(on_event: OnEvent | None) -> Callable[[str], None]:
    return lambda message: _tell(on_event, Event(kind="waiting", message=message))


def _tell(on_event: OnEvent | None, event: Event) -> None:
    if on_event is not None:
        on_event(event)
