"""The monthly partitions: made ahead, and detached once they are older than what is kept."""

import dataclasses
import datetime as dt
import re
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from migrations import connection as connections
from migrations import lock
from migrations.errors import MaintenanceBlocked

if TYPE_CHECKING:
    import psycopg

CHAT = "game.chat_history"
AUDIT = "audit.security_events"
PARENTS = (CHAT, AUDIT)
AHEAD_MONTHS = 12
PARTITION = re.compile(r"(?P<parent>\w+)_(?P<year>\d{4})_(?P<month>\d{2})")
"""A partition's name, attached or detached, such as ``chat_history_2026_11``."""
ATTEMPTS = 8
PAUSE_S = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maintained:
    """What was done, by ``schema.partition``."""

    made: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()
    guarded: tuple[str, ...] = ()
    """Parts of the audit log that had lost a trigger."""


def maintain(
    url: str,
    *,
    since: dt.date | None = None,
    chat_retention_months: int | None = None,
    audit_retention_months: int | None = None,
) -> Maintained:
    """Make the partitions up to a year ahead (and back to ``since``), detach those out of retention (None: keep all).

    A detached partition is a table of its own, with its rows: drop it once it is archived. Each step is a transaction
    of its own with a lock time-out and bounded retries. Raises MaintenanceBlocked, Busy, RoleError or ConnectionFailed.
    """
    kept = {CHAT: chat_retention_months, AUDIT: audit_retention_months}
    with connections.connect(url) as connection:
        connections.become_owner(connection)
        if not any(_todo(connection, since, kept)):
            return Maintained()
        with lock.exclusive(url):
            connections.set_timeouts(connection)
            made, detached, unguarded = _todo(connection, since, kept)
            for parent, month in made:
                _add(connection, parent, month)
            for parent, partition in detached:
                _detach(connection, parent, partition)
            for table, trigger in unguarded:
                _patiently(connection, _GUARDS[trigger].format(table=table))
    return Maintained(
        made=tuple(_name(parent, month) for parent, month in made),
        detached=tuple(partition for _, partition in detached),
        guarded=tuple(dict.fromkeys(table for table, _ in unguarded)),
    )


def missing(
    connection: "psycopg.Connection[Any]",
    *,
    ahead_months: int = AHEAD_MONTHS,
    kept: Mapping[str, int | None] = MappingProxyType({}),
) -> list[str]:
    """What :func:`maintain` would do, as sentences: months that lack, are out of retention, or lost their guard."""
    lacking = [
        f"{parent} has no partition for {', '.join(f'{month:%Y-%m}' for month in months)}: inserts would fail then"
        for parent in PARENTS
        if (months := _lacking(connection, parent, None, ahead_months))
    ]
    outdated = [
        f"{partition} is past its retention, or half detached"
        for parent in PARENTS
        for partition in _outdated(connection, parent, kept.get(parent))
    ]
    return [*lacking, *outdated, *(f"{table} lacks its trigger {name}" for table, name in _unguarded(connection))]


def month_of(moment: dt.date) -> dt.date:
    """The first day of a date's month."""
    return dt.date(moment.year, moment.month, 1)


def later(month: dt.date, months: int) -> dt.date:
    """The first day of the month that many months later, or earlier where negative."""
    years, index = divmod(month.month - 1 + months, 12)
    return dt.date(month.year + years, index + 1, 1)


def _todo(
    connection: "psycopg.Connection[Any]", since: dt.date | None, kept: dict[str, int | None]
) -> tuple[list[tuple[str, dt.date]], list[tuple[str, str]], list[tuple[str, str]]]:
    made = [(parent, month) for parent in PARENTS for month in _lacking(connection, parent, since, AHEAD_MONTHS)]
    detached = [
        (parent, partition) for parent, months in kept.items() for partition in _outdated(connection, parent, months)
    ]
    return made, detached, _unguarded(connection)


def _lacking(
    connection: "psycopg.Connection[Any]", parent: str, since: dt.date | None, ahead_months: int
) -> list[dt.date]:
    present = _partitions(connection, parent)
    if present is None:
        return []
    this = month_of(dt.datetime.now(dt.UTC).date())
    month, last = min(month_of(since or this), this), later(this, ahead_months)
    wanted = []
    while month <= last:
        wanted.append(month)
        month = later(month, 1)
    return [month for month in wanted if _name(parent, month) not in present]


def _outdated(connection: "psycopg.Connection[Any]", parent: str, retention_months: int | None) -> list[str]:
    """Partitions whose last day is longer ago than ``retention_months`` whole months; those half detached too."""
    present = _partitions(connection, parent) or {}
    pending = [name for name, half_detached in present.items() if half_detached]
    if retention_months is None:
        return pending
    oldest = later(month_of(dt.datetime.now(dt.UTC).date()), -retention_months)
    return sorted({*pending, *(name for name in present if (month := _month(name)) and month < oldest)})


def _partitions(connection: "psycopg.Connection[Any]", parent: str) -> dict[str, bool] | None:
    """The parent's partitions, and whether a detach of each was begun; None where it isn't partitioned (yet)."""
    rows = connection.execute(
        "SELECT n.nspname || '.' || c.relname, inhdetachpending FROM pg_partitioned_table p"
        " LEFT JOIN pg_inherits ON inhparent = partrelid LEFT JOIN pg_class c ON c.oid = inhrelid"
        " LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE partrelid = to_regclass(%s)",
        (parent,),
    ).fetchall()
    return {name: pending for name, pending in rows if name} if rows else None


def _unguarded(connection: "psycopg.Connection[Any]") -> list[tuple[str, str]]:
    """The audit log's tables, months attached or detached, and the triggers of theirs that are missing or disabled."""
    rows = connection.execute(
        "SELECT c.relnamespace::regnamespace || '.' || relname, guard"
        " FROM pg_class c CROSS JOIN unnest(%s::text[]) guard"
        " WHERE relnamespace = to_regnamespace('audit') AND relkind IN ('r', 'p')"
        " AND relname ~ '^security_events(_[0-9]{4}_[0-9]{2})?$' AND to_regproc('audit.refuse_change') IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND tgname = guard AND tgenabled <> 'D')"
        " ORDER BY 1, 2",
        (list(_GUARDS),),
    ).fetchall()
    return [(str(table), str(guard)) for table, guard in rows]


_GUARDS = {
    "append_only": "CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();"
    " ALTER TABLE {table} ENABLE TRIGGER append_only",
    "append_only_truncate": "CREATE OR REPLACE TRIGGER append_only_truncate BEFORE TRUNCATE ON {table}"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();"
    " ALTER TABLE {table} ENABLE TRIGGER append_only_truncate",
}


def _add(connection: "psycopg.Connection[Any]", parent: str, month: dt.date) -> None:
    _patiently(connection, f"SELECT audit.add_months('{parent}', '{month}', '{month}')")
    name = _name(parent, month)
    if name not in (_partitions(connection, parent) or {}):
        raise MaintenanceBlocked(
            f"{name} is there, but detached: attach it again (ALTER TABLE {parent} ATTACH PARTITION {name} …), "
            "or drop it once it is archived"
        )


def _detach(connection: "psycopg.Connection[Any]", parent: str, partition: str) -> None:
    """A detach that was cut off half-way is finalized: so is one whose wait for readers timed out."""
    for attempt in range(1, ATTEMPTS + 1):
        state = (_partitions(connection, parent) or {}).get(partition)
        if state is None:
            return
        how = "FINALIZE" if state else "CONCURRENTLY"
        if _tried(connection, f"ALTER TABLE {parent} DETACH PARTITION {partition} {how}", attempt) and not state:
            return


def _patiently(connection: "psycopg.Connection[Any]", statement: str) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        if _tried(connection, statement, attempt):
            return


def _tried(connection: "psycopg.Connection[Any]", statement: str, attempt: int) -> bool:
    import psycopg

    try:
        connection.execute(statement.encode())
    except psycopg.errors.LockNotAvailable:
        if attempt == ATTEMPTS:
            raise MaintenanceBlocked(
                f"no lock for {statement!r} in {ATTEMPTS} tries: end the transaction that holds it, then try again"
            ) from None
        time.sleep(PAUSE_S)
        return False
    return True


def _name(parent: str, month: dt.date) -> str:
    return f"{parent}_{month:%Y_%m}"


def _month(partition: str) -> dt.date | None:
    found = PARTITION.fullmatch(partition.rpartition(".")[2])
    return dt.date(int(found["year"]), int(found["month"]), 1) if found else None
