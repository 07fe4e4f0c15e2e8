"""A look at a database: every section asked over one connection, in one read-only transaction that holds no lock."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ops.statistics import sizes
from ops.statistics.section import Kind, Section
from ops.statistics.statement import shown

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

LOCK_TIMEOUT_MS = 100
STATEMENT_TIMEOUT_S = 5
_PREPARE = f"""SELECT set_config('default_transaction_read_only', 'on', false),
  set_config('lock_timeout', '{LOCK_TIMEOUT_MS}ms', false),
  set_config('statement_timeout', '{STATEMENT_TIMEOUT_S}s', false),
  set_config('search_path', 'pg_catalog', false),
  set_config('timezone', 'UTC', false),
  set_config('jit', 'off', false)"""
"""With no schema in the path every name comes with its own. Compiling such queries takes longer than running them."""
_SERVER = """SELECT current_database(), current_setting('server_version'), clock_timestamp(),
  pg_postmaster_start_time(), pg_is_in_recovery(), stats_reset
FROM pg_stat_database WHERE datname = current_database()"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Whom the look was at."""

    database: str
    version: str
    at: dt.datetime
    started: dt.datetime
    standby: bool
    counted_since: dt.datetime | None
    """When the counters were set back; None: never."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the database said to one section."""

    section: Section
    rows: tuple[tuple[Any, ...], ...] = ()
    absent: str = ""
    """Why there is nothing to ask."""
    error: str = ""
    """Why there is no answer."""
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """For programs."""
        names = tuple(self.section.columns)
        return {
            "title": self.section.title,
            "rows": [dict(zip(names, map(_plain, row), strict=True)) for row in self.rows],
            "absent": self.absent or None,
            "error": self.error or None,
        }


@dataclass(frozen=True, kw_only=True)
class Look:
    """All answers of one moment."""

    server: Server
    answers: tuple[Answer, ...]
    taken_s: float
    """By this machine's steady clock."""
    seconds: float
    """How long it took."""

    def since(self, before: Look | None) -> Look:
        """The same, with what was counted each second since the look before."""
        if before is None:
            return self
        counted = {answer.section.name: dict(answer.rows) for answer in before.answers if _is_counter(answer)}
        passed_s = self.taken_s - before.taken_s
        answers = (
            _per_second(answer, counted[answer.section.name], passed_s) if answer.section.name in counted else answer
            for answer in self.answers
        )
        return replace(self, answers=tuple(answers))


def prepare(connection: Connection) -> None:
    """Make a new session one that only looks, and never makes anybody wait."""
    connection.autocommit = True
    connection.execute(_PREPARE.encode())


def take(connection: Connection, sections: Sequence[Section]) -> Look:
    """Ask every section. What one can't answer is said in its place; raises where the connection is lost."""
    began_s = time.monotonic()
    with connection.transaction():
        row = connection.execute(_SERVER.encode()).fetchone()
        assert row is not None
        database, version, at, started, standby, counted_since = row
        server = Server(
            database=database, version=version, at=at, started=started, standby=standby, counted_since=counted_since
        )
        answers = tuple(_answer(connection, section, database) for section in sections)
    return Look(server=server, answers=answers, taken_s=began_s, seconds=round(time.monotonic() - began_s, 3))


def _answer(connection: Connection, section: Section, database: str) -> Answer:
    import psycopg

    began_s = time.monotonic()
    try:
        try:
            answer = _asked(connection, section, section.sql, database)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
            if not section.otherwise:
                raise
            answer = _asked(connection, section, section.otherwise, database)
    except psycopg.errors.LockNotAvailable:
        answer = Answer(section=section, error="somebody holds a table for himself alone; ./gaia stats --only locks")
    except psycopg.errors.QueryCanceled:
        answer = Answer(
            section=section, error=f"took more than {STATEMENT_TIMEOUT_S} s; try again when there is less load"
        )
    except psycopg.DatabaseError as error:
        if connection.closed:
            raise
        answer = Answer(section=section, error=error.diag.message_primary or type(error).__name__)
    return replace(answer, seconds=round(time.monotonic() - began_s, 3))


def _asked(connection: Connection, section: Section, sql: str, database: str) -> Answer:
    # Rolled back to a savepoint, each question gives its locks back at once.
    with connection.transaction(force_rollback=True):
        if section.view:
            found = connection.execute(section.view.encode()).fetchone()
            if found is None:
                return Answer(section=section, absent=section.without_view)
            sql = sql.replace("{view}", found[0])
        named = sql.replace(f"'{sizes.DOCUMENTED_DATABASE}'", _literal(database))
        rows = connection.execute(named.encode()).fetchall()
    return Answer(section=section, rows=tuple(_fit_to_show(section, row) for row in rows))


def _fit_to_show(section: Section, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Statements leave here without what they may hold of secrets, for whatever writer."""
    kinds = section.columns.values()
    return tuple(shown(value) if kind == "statement" else value for kind, value in zip(kinds, row, strict=True))


def _is_counter(answer: Answer) -> bool:
    return tuple(answer.section.columns) == ("what", "total")


def _per_second(answer: Answer, before: dict[str, int], passed_s: float) -> Answer:
    columns: dict[str, Kind] = {**answer.section.columns, "per_second": "rate"}
    section = replace(answer.section, columns=columns)
    rows = tuple((what, total, _rate(total, before.get(what), passed_s)) for what, total in answer.rows)
    return replace(answer, section=section, rows=rows)


def _rate(now: int, before: int | None, passed_s: float) -> float | None:
    if before is None or now < before or passed_s <= 0:
        return None  # the counters were set back meanwhile
    return (now - before) / passed_s


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return round(value, 3)
    return value if value is None or isinstance(value, int | str | bool) else str(value)
