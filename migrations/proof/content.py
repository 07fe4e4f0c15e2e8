"""What is in the tables, so far that two moments can be compared: numbers of rows, and a sum over each column."""

import dataclasses
import difflib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from migrations.errors import ProofFailed
from migrations.grants import quoted

if TYPE_CHECKING:
    import psycopg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """One table's. Sums are of 64-bit hashes, whatever the order of the rows."""

    rows: int
    whole: int
    """Over whole rows."""
    columns: Mapping[str, int]
    values: Mapping[str, int]
    """Column → rows in which it is not null."""


def contents(connection: "psycopg.Connection[Any]") -> dict[str, Content]:
    """Table → what is in it, generated columns left out; of partitioned tables once."""
    return {table: _content(connection, table, columns) for table, columns in connection.execute(_COLUMNS).fetchall()}


def changed(before: Mapping[str, Content], after: Mapping[str, Content]) -> list[str]:
    """Each difference in what both have, as a sentence: rows that came or went, columns with other values."""
    found = []
    for table in [table for table in before if table in after]:
        old, new = before[table], after[table]
        if old.rows != new.rows:
            found.append(f"{table} has {new.rows:,} rows instead of {old.rows:,}")
            continue
        columns = [c for c in old.columns if c in new.columns and old.columns[c] != new.columns[c]]
        if columns:
            found.append(f"{table} has other values in {', '.join(columns)}")
        elif old.columns.keys() == new.columns.keys() and old.whole != new.whole:
            found.append(f"{table} has its values in other rows")
    return found


def only_in(newer: Mapping[str, Content], older: Mapping[str, Content]) -> dict[str, int]:
    """Tables and columns that ``older`` lacks → rows with a value."""
    found: dict[str, int] = {}
    for table, content in newer.items():
        if table not in older:
            found[table] = content.rows
        else:
            found |= {f"{table}.{c}": n for c, n in content.values.items() if c not in older[table].columns}
    return found


def _content(connection: "psycopg.Connection[Any]", table: str, columns: list[str]) -> Content:
    names = [quoted(column) for column in columns]
    sums = [f"coalesce(sum(hashtextextended({n}::text, 0)::numeric), 0)" for n in names]
    whole = f"coalesce(sum(hashtextextended(ROW({', '.join(names)})::text, 0)::numeric), 0)"
    counts = [f"count({n})" for n in names]
    place = ".".join(map(quoted, table.split(".", 1)))
    row = connection.execute(
        f"SELECT {', '.join(['count(*)', whole, *sums, *counts])} FROM {place}".encode()
    ).fetchone()
    numbers = list(map(int, row or ()))
    of_columns = numbers[2 : 2 + len(columns)]
    return Content(
        rows=numbers[0],
        whole=numbers[1],
        columns=dict(zip(columns, of_columns, strict=True)),
        values=dict(zip(columns, numbers[2 + len(columns) :], strict=True)),
    )


_COLUMNS = """
SELECT n.nspname || '.' || c.relname,
       coalesce(array_agg(a.attname::text ORDER BY a.attname) FILTER (WHERE a.attname IS NOT NULL), '{}')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^(pg_|information_schema$)'
  AND (n.nspname, c.relname) <> ('public', 'alembic_version')
GROUP BY 1 ORDER BY 1
"""


def dump(pg_dump: Path, url: str) -> str:
    """What ``pg_dump -s`` says, without its random key and without the version table; raises ProofFailed."""
    parts = urlsplit(url)
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": parts.path.lstrip("/"),
    }
    done = subprocess.run([pg_dump, "--schema-only"], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProofFailed(f"pg_dump -s failed: {done.stderr.strip()}")
    # SET comes before the first table, wherever that is.
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("\\", "SET "))]
    things = "\n".join(lines).split("\n--\n-- ")
    return "\n--\n-- ".join(thing for thing in things if "alembic_version" not in thing)


def differences(before: str, after: str, most: int = 4) -> list[str]:
    """The first lines in which two dumps differ, as ``+ …`` and ``- …``; empty when they are equal."""
    found = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    lines = [f"{line[0]} {line[1:].strip()}" for line in found if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    return [line for line in lines if len(line) > 2 and line[2:4] != "--"][:most]
