"""What a migrating session locks, and which tables it writes again, looked at from inside and from beside it.

Locks are held until the transaction ends, so what the session holds just before each COMMIT is all that it took. What
runs outside a transaction (CREATE INDEX CONCURRENTLY) is sampled from beside, and known by its kind of statement.
"""

import dataclasses
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from migrations import plan

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy

SAMPLE_S = 0.005

_LOCKS = "SELECT relation::bigint, mode FROM pg_locks WHERE pid = %s AND locktype = 'relation' AND granted"
_TABLES = """
SELECT c.oid::bigint, n.nspname || '.' || c.relname, c.relfilenode::bigint, rn.nspname || '.' || root.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class root ON root.oid = pg_partition_root(c.oid) LEFT JOIN pg_namespace rn ON rn.oid = root.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v') AND n.nspname !~ '^(pg_|information_schema$)'
  AND (n.nspname, c.relname) <> ('public', 'alembic_version')
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of one moment."""

    names: Mapping[int, str]
    """Oid → ``schema.table``; of a partition, the table that it is a part of."""
    storage: Mapping[str, tuple[int, int]]
    """``schema.table`` → oid and file: another pair is other storage."""

    def rewritten(self, later: "Tables") -> tuple[str, ...]:
        """Those whose rows were written again until ``later``, by their own name."""
        return tuple(n for n, stored in self.storage.items() if later.storage.get(n, stored) != stored)

    @property
    def readable(self) -> tuple[str, ...]:
        """What a reader names: no partition."""
        return tuple(dict.fromkeys(self.names.values()))


def tables(connection: "psycopg.Connection[Any]") -> Tables:
    """The tables of all schemas but PostgreSQL's own."""
    names: dict[int, str] = {}
    storage: dict[str, tuple[int, int]] = {}
    for oid, name, file, root in connection.execute(_TABLES).fetchall():
        names[oid] = root or name
        storage[name] = (oid, file)
    return Tables(names=names, storage=storage)


class Watch:
    """Collects the locks of one step; given to the runner as ``prepare``."""

    def __init__(self, before: Tables, catalog: plan.Catalog) -> None:
        self._before = before
        self._catalog = catalog
        self._seen: dict[str, str] = {}
        self._lock = threading.Lock()
        self.pid: int | None = None

    def __call__(self, wrapped: "sqlalchemy.Connection") -> None:
        from sqlalchemy import event

        raw = self._raw(wrapped)
        self.pid = raw.info.backend_pid
        event.listen(wrapped, "commit", self._at_commit)
        event.listen(wrapped, "before_cursor_execute", self._at_statement)

    @property
    def locks(self) -> dict[str, str]:
        """Table → the strongest lock on it, of the tables that were there before."""
        return dict(sorted(self._seen.items()))

    def see(self, rows: "list[tuple[int, str]]") -> None:
        """Take in what ``pg_locks`` says."""
        self._add((self._before.names[oid], in_words(mode)) for oid, mode in rows if oid in self._before.names)

    def _add(self, locks: "Iterator[tuple[str, str]]") -> None:
        with self._lock:
            self._seen = plan.strongest([*self._seen.items(), *locks])

    def _at_commit(self, wrapped: "sqlalchemy.Connection") -> None:
        raw = self._raw(wrapped)
        if not raw.autocommit:
            self.see(raw.execute(_LOCKS, (raw.info.backend_pid,)).fetchall())

    def _at_statement(self, wrapped: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._raw(wrapped).autocommit:
            for judged in plan.judge([(statement, 0)], self._catalog):
                self._add(iter((judged.locks or {}).items()))

    @staticmethod
    def _raw(wrapped: "sqlalchemy.Connection") -> "psycopg.Connection[Any]":
        raw: Any = wrapped.connection.driver_connection
        return raw


@contextmanager
def sampling(connection: "psycopg.Connection[Any]", watch: Watch) -> Iterator[None]:
    """Look at the session's locks from beside, every few milliseconds."""
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_S):
            if watch.pid is not None:
                watch.see(connection.execute(_LOCKS, (watch.pid,)).fetchall())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def in_words(mode: str) -> str:
    """``AccessExclusiveLock`` as ``ACCESS EXCLUSIVE``."""
    return " ".join(re.findall("[A-Z][a-z]+", mode.removesuffix("Lock"))).upper()
