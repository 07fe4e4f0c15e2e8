"""A section of the statistics: one question to the database, with its title and its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "statement", "count", "rate", "bytes", "percent", "milliseconds", "seconds", "moment"]
"""What a column holds, and so how it is written for people. JSON has the plain number in the unit of the name.

``statement`` is SQL that somebody sent: nobody gets to see it but through :func:`ops.statistics.statement.shown`.
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question."""

    name: str
    """What ``--only`` takes."""
    title: str
    columns: Mapping[str, Kind]
    """The columns of ``sql``, in order."""
    sql: str
    """Reads catalogs and counters alone, and waits for no table's lock: sizes come through :data:`LOCKED`."""
    none: str
    """The sentence for an answer without rows."""
    note: str = ""
    """How to read it."""
    otherwise: str = ""
    """Asked instead where ``sql`` would have to wait for a table's lock, or this login may not ask it."""
    view: str = ""
    """Yields the view that ``sql`` names ``{view}``, or null where it isn't there."""
    without_view: str = ""
    """The sentence that is said then, with the way out."""


LOCKED = """locked AS MATERIALIZED (
  SELECT coalesce(i.indrelid, main.oid, l.relation) AS relation
  FROM pg_locks l
  LEFT JOIN pg_index i ON i.indexrelid = l.relation
  LEFT JOIN pg_class main ON main.reltoastrelid = l.relation
  WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)"""
"""Tables that somebody holds or wants for himself alone. The size functions would wait for them."""

USER_SCHEMA = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\\_temp\\_%'"
"""What follows ``n.nspname`` where only the product's tables are meant."""
