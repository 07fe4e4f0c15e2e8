"""A process that reads each table all the time and says how long it waited: ``python -m migrations.proof.reader``.

A process of its own, because the one that migrates is busy. It is told by lines of JSON on its input: first the URL,
then a list of tables (answered by ``"ready"``), then null (answered by what was seen), and so on until the input ends.
"""

import json
import sys
import threading
import time
from typing import Any

import psycopg

from migrations.grants import quoted

Connection = psycopg.Connection[Any]
PAUSE_S = 0.01
"""Between two reads of a table."""


def main() -> None:
    """Serve one parent process."""
    url = json.loads(sys.stdin.readline())
    open_ones: dict[str, Connection] = {}
    for line in sys.stdin:
        tables = json.loads(line)
        for table in tables:
            if table not in open_ones:
                open_ones[table] = psycopg.connect(url, autocommit=True)
        seen, stop, threads = _begin({table: open_ones[table] for table in tables})
        _say("ready")
        if not sys.stdin.readline():
            return  # the parent is gone; the threads are daemons
        stop.set()
        for thread in threads:
            thread.join()
        _say(seen)


def _begin(
    connections: dict[str, Connection],
) -> tuple[dict[str, float], threading.Event, list[threading.Thread]]:
    seen: dict[str, float] = {}
    stop, ready = threading.Event(), threading.Barrier(len(connections) + 1)
    threads = [
        threading.Thread(target=_read, args=(connection, table, seen, stop, ready), daemon=True)
        for table, connection in connections.items()
    ]
    for thread in threads:
        thread.start()
    ready.wait(timeout=60)
    return seen, stop, threads


def _read(
    connection: Connection, table: str, seen: dict[str, float], stop: threading.Event, ready: threading.Barrier
) -> None:
    query = f"SELECT FROM {'.'.join(map(quoted, table.split('.', 1)))} LIMIT 1".encode()
    connection.execute(query)
    seen[table], there = 0.0, True
    ready.wait(timeout=60)
    while there and not stop.is_set():
        started = time.monotonic()
        try:
            connection.execute(query)
        except psycopg.errors.UndefinedTable:
            there = False  # the revision took it away
        seen[table] = max(seen[table], (time.monotonic() - started) * 1000)
        stop.wait(PAUSE_S)


def _say(data: Any) -> None:
    print(json.dumps(data), flush=True)


if __name__ == "__main__":
    main()
