"""A restored database beside its manifest: every table's rows counted and hashed, on several connections at once."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backup import contents
from backup.contents import TableContent
from migrations import connection as connections
from migrations import guards

if TYPE_CHECKING:
    import psycopg

    from backup.manifest import Manifest

    Connection = psycopg.Connection[tuple[Any, ...]]

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is in a database."""

    revision: str | None
    contents: Mapping[str, TableContent]
    sequences: Mapping[str, int]
    guards: Mapping[str, str]

    @property
    def tables(self) -> int:
        return len(self.contents)

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.contents.values())


def look(url: str, *, jobs: int, now: Say) -> Content:
    """Count and hash every table, and let the planner learn of them meanwhile. Nobody else may write."""
    with connections.connect(url) as connection:
        tables = contents.tables(connection)
        work: list[_Task] = [_analyze, *(_hash(table) for table in sorted(tables, key=lambda t: -t.bytes))]
        found: dict[str, TableContent] = {}
        for result in _in_parallel(url, work, jobs):
            if result is not None:
                found[result[0]] = result[1]
                now(f"compared {result[0]} ({len(found)} of {len(tables)} tables)")
        return Content(
            revision=connections.revision_of(connection),
            contents=found,
            sequences=_sequences(connection),
            guards=guards.fingerprints(connection),
        )


def differences(manifest: Manifest | None, found: Content) -> list[str]:
    """What isn't as the manifest says, as sentences."""
    if manifest is None:
        return []
    wrong = contents.differences(manifest.tables, found.contents)
    if manifest.revision != found.revision:
        wrong.append(f"it is at revision {found.revision or 'base'} instead of {manifest.revision or 'base'}")
    for name, value in manifest.sequences.items():
        now = found.sequences.get(name)
        if now is None or now < value:
            wrong.append(f"the sequence {name} is {'missing' if now is None else f'at {now}, before {value}'}")
    wrong += [
        f"{name} {'is missing' if name not in found.guards else 'is another'}"
        for name in sorted({*manifest.guards, *found.guards})
        if manifest.guards.get(name) != found.guards.get(name)
    ]
    return wrong


def _sequences(connection: Connection) -> dict[str, int]:
    rows = connection.execute("SELECT schemaname || '.' || sequencename, coalesce(last_value, 0) FROM pg_sequences")
    return dict(rows.fetchall())


_Result = tuple[str, TableContent] | None
_Task = Callable[["Connection"], _Result]


def _analyze(connection: Connection) -> _Result:
    connection.execute("ANALYZE")


def _hash(table: contents.Table) -> _Task:
    return lambda connection: (table.name, contents.content(connection, table))


def _in_parallel(url: str, work: list[_Task], jobs: int) -> Iterator[_Result]:
    """The results of the tasks, as they come. An error, or Ctrl-C, ends all of them."""
    tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
    results: queue.SimpleQueue[_Result | BaseException] = queue.SimpleQueue()
    for task in work:
        tasks.put(task)
    sessions = [connections.connect(url) for _ in range(max(jobs, 1))]

    def run(connection: Connection) -> None:
        try:
            while True:
                results.put(tasks.get_nowait()(connection))
        except queue.Empty:
            return
        except BaseException as error:  # told to whoever waits
            results.put(error)

    threads = [threading.Thread(target=run, args=(session,), daemon=True) for session in sessions]
    for thread in threads:
        thread.start()
    try:
        for _ in work:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        for session in sessions:
            with contextlib.suppress(Exception):
                session.cancel_safe(timeout=5)
        for thread in threads:
            thread.join(timeout=5)
        for session in sessions:
            session.close()
