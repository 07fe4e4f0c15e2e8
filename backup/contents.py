"""What is in the tables: their rows counted, and a hash of each table whatever the order of its rows.

A row's hash is that of the row as PostgreSQL sends it over the wire in binary: exact, and the same under every setting
of a session. The hashes are added up, as two numbers of 64 bits, so that a row that is there twice counts twice. The
server does it all; only the sums travel.

Generated columns are left out: no dump holds them, the server makes them again from the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

LEFT_OUT = ("auth.identity_keys",)
"""Tables that no backup has the rows of: the keys are the stack's, who gives them to each database that it serves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableContent:
    """What is in one table."""

    rows: int
    hash: str
    """128 bits in hexadecimal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table that holds rows itself: a plain one, a partition, or one that was a partition."""

    name: str
    """``schema.table``, without quotes."""
    sql: str
    """The same as SQL writes it."""
    expressions: tuple[str, ...]
    """What of each row counts."""
    bytes: int
    """What it takes on the server's disk, without indexes."""
    secured: bool
    """Whether policies decide which of its rows a role sees."""


def tables(connection: psycopg.Connection[Any]) -> list[Table]:
    """The tables that a backup has the rows of, by name."""
    rows = connection.execute(_TABLES, {"left_out": list(LEFT_OUT)}).fetchall()
    return [
        Table(name=name, sql=sql, expressions=tuple(expressions), bytes=size, secured=secured)
        for name, sql, expressions, size, secured in rows
    ]


def contents(
    connection: psycopg.Connection[Any],
    names: Iterable[str] | None = None,
    *,
    on_table: Callable[[Table], None] = lambda _table: None,
) -> dict[str, TableContent]:
    """Table → what is in it; of all tables, or of those named. Call it in a transaction to have it all of one moment.

    ``on_table`` is told of each table that is done.
    """
    chosen = None if names is None else set(names)
    found = {}
    for table in tables(connection):
        if chosen is None or table.name in chosen:
            found[table.name] = content(connection, table)
            on_table(table)
    return found


def content(connection: psycopg.Connection[Any], table: Table) -> TableContent:
    """What is in one table."""
    statement = _CONTENT.format(table=table.sql, row=", ".join(table.expressions))
    with _settings(connection):
        rows, high, low = connection.execute(statement.encode()).fetchone() or (0, 0, 0)
    return TableContent(rows=rows, hash=f"{int(high) % 2**64:016x}{int(low) % 2**64:016x}")


def differences(expected: Mapping[str, TableContent], found: Mapping[str, TableContent]) -> list[str]:
    """Each table that isn't as expected, as a sentence; empty when all are."""
    said = []
    for name in sorted({*expected, *found}):
        before, now = expected.get(name), found.get(name)
        if before is None or now is None:
            said.append(f"{name} {'is missing' if now is None else 'is one too many'}")
        elif before.rows != now.rows:
            said.append(f"{name} has {now.rows:,} rows instead of {before.rows:,}")
        elif before.hash != now.hash:
            said.append(f"{name} has {now.rows:,} rows, as it should, but other values in them")
    return said


@contextmanager
def _settings(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Nothing that a role or database sets for itself may change what is hashed, or take the dump's cores.

    For the transaction that there is, else for one of its own.
    """
    from psycopg.pq import TransactionStatus

    alone = connection.info.transaction_status == TransactionStatus.IDLE
    with connection.transaction() if alone else nullcontext():
        connection.execute(_SET)
        yield


# Types of our own (from 16384 on) and names of things have numbers that differ between databases: they go as text.
_TABLES = r"""
SELECT n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       array(SELECT quote_ident(a.attname) || CASE WHEN t.oid >= 16384 OR t.typname ~ '^_?reg' THEN '::text' ELSE '' END
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             ORDER BY a.attname),
       pg_table_size(c.oid), c.relrowsecurity
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema$)'
  AND n.nspname || '.' || c.relname <> ALL (%(left_out)s)
  AND NOT EXISTS (  -- an extension's
      SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""

_CONTENT = """
SELECT count(*), coalesce(sum(hash_record_extended(ROW(r), 1)), 0), coalesce(sum(hash_record_extended(ROW(r), 2)), 0)
FROM (SELECT record_send(ROW({row})) FROM ONLY {table} OFFSET 0) s (r)
"""

# What the text of a value depends on; and one core is enough.
_SET = """
SELECT set_config(name, value, true)
FROM (VALUES ('client_encoding', 'UTF8'), ('search_path', 'pg_catalog'), ('DateStyle', 'ISO'), ('TimeZone', 'UTC'),
             ('IntervalStyle', 'postgres'), ('bytea_output', 'hex'), ('extra_float_digits', '1'),
             ('xmloption', 'content'), ('lc_monetary', 'C'), ('jit', 'off'),
             ('max_parallel_workers_per_gather', '0')) v (name, value)
"""
