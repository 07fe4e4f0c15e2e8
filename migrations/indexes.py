"""Indexes made while others write: making and dropping them, and clearing away what a killed CREATE INDEX left.

A CREATE INDEX CONCURRENTLY that ends early leaves an index that every write keeps up and no query may use, under a
name that ``IF NOT EXISTS`` then takes for done (https://www.postgresql.org/docs/16/sql-createindex.html).
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from migrations.connection import LOCK_TIMEOUT_MS, become_owner, one_sentence, set_timeouts
from migrations.errors import LockTimeout, MigrationFailed
from migrations.grants import SCHEMAS, quoted
from migrations.paths import Step

if TYPE_CHECKING:
    import psycopg


HEAL_WAIT_MS = 10_000
"""How long a DROP INDEX CONCURRENTLY waits for the transactions that use the table; it keeps nobody waiting."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
    """One index of our schemas."""

    schema: str
    name: str
    table: str

    def __str__(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def create_concurrently(op: Any, name: str, table: str, columns: Sequence[Any], *, schema: str, **options: Any) -> None:
    """Make an index without keeping anybody from writing; safe to repeat after being killed.

    For a revision that does nothing else: what stands before it in the same revision is committed first. ``op`` is
    ``alembic.op``, ``options`` are those of ``op.create_index``.
    """
    with op.get_context().autocommit_block():
        _wait_patiently(op)
        op.create_index(
            name, table, columns, schema=schema, postgresql_concurrently=True, if_not_exists=True, **options
        )
        _wait_briefly(op)


def drop_concurrently(op: Any, name: str, table: str, *, schema: str) -> None:
    """Drop an index without keeping anybody from reading or writing; safe to repeat."""
    with op.get_context().autocommit_block():
        _wait_patiently(op)
        op.drop_index(name, table, schema=schema, postgresql_concurrently=True, if_exists=True)
        _wait_briefly(op)


def dead(connection: "psycopg.Connection[Any]") -> tuple[Index, ...]:
    """The indexes of our schemas that no query may use.

    Not those of partitioned tables, which are so until each partition has one, nor those behind a constraint.
    """
    rows = connection.execute(
        "SELECT n.nspname, c.relname, t.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname = ANY(%s)"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid) ORDER BY 1, 2",
        (list(SCHEMAS),),
    ).fetchall()
    return tuple(Index(schema=schema, name=name, table=table) for schema, name, table in rows)


def heal(connection: "psycopg.Connection[Any]", makers: str, step: Step) -> tuple[str, ...]:
    """Drop the dead indexes that ``makers`` (the text of the revisions about to run) names; returns their names.

    Others stay: nobody here knows what they are for. ``connection`` is in autocommit mode. Raises LockTimeout where a
    transaction that uses the table doesn't end, MigrationFailed for any other reason; both name ``step``.
    """
    ours = [index for index in dead(connection) if re.search(rf"\b{re.escape(index.name)}\b", makers)]
    if ours:
        become_owner(connection)
        set_timeouts(connection, lock_timeout_ms=HEAL_WAIT_MS)
    for index in ours:
        _drop(connection, index, step)
    return tuple(map(str, ours))


def _drop(connection: "psycopg.Connection[Any]", index: Index, step: Step) -> None:
    import psycopg

    statement = f"DROP INDEX CONCURRENTLY IF EXISTS {index}"
    try:
        connection.execute(statement.encode())
    except psycopg.errors.LockNotAvailable as error:
        advice = f"; a transaction that uses {index.table} must end first"
        raise LockTimeout(step.revision, statement, one_sentence(str(error)), step.start, advice) from error
    except psycopg.Error as error:
        raise MigrationFailed(step.revision, statement, one_sentence(str(error)), step.start) from error


def _wait_patiently(op: Any) -> None:
    # It waits for transactions that are open, and keeps nobody waiting meanwhile.
    op.execute("SET lock_timeout = 0")


def _wait_briefly(op: Any) -> None:
    op.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
