"""Writers that go on through failovers, and know what was acknowledged to them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg

WRITERS = 4
ROW_BYTES = 50
"""Less log than the shortest row takes."""


@dataclass
class Load:
    """Writers that connect again whenever they have to, and note what the server acknowledged."""

    url: str
    acknowledged: list[list[int]] = field(default_factory=lambda: [[] for _ in range(WRITERS)])
    ended: threading.Event = field(default_factory=threading.Event)

    def write(self, writer: int) -> None:
        number = 0
        while not self.ended.is_set():
            try:
                with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
                    while not self.ended.is_set():
                        number += 1
                        connection.execute("INSERT INTO load VALUES (%s, %s)", (writer, number))
                        self.acknowledged[writer].append(number)
                        time.sleep(0.002)
            except psycopg.OperationalError:
                time.sleep(0.05)

    def fill(self, *, megabytes: int) -> None:
        """Write so much log, and then a row of each writer."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for _ in range(megabytes):
                connection.execute("SELECT pg_logical_emit_message(false, 'load', repeat('x', 1000000))")
        self.more()

    def noted(self) -> list[list[int]]:
        return [list(numbers) for numbers in self.acknowledged]

    def more(self) -> None:
        """Wait until each writer has had more acknowledged, and for a second at least."""
        before, deadline = self.noted(), time.monotonic() + 60
        time.sleep(1)
        while any(len(now) <= len(then) for now, then in zip(self.noted(), before, strict=True)):
            assert time.monotonic() < deadline, "a writer doesn't find the database again"
            time.sleep(0.05)

    def forget(self, lost: list[list[int]]) -> None:
        """Take back what is known to be lost."""
        for numbers, gone in zip(self.acknowledged, lost, strict=True):
            for number in gone:
                numbers.remove(number)  # one by one: the writer goes on

    def lost(self, noted: list[list[int]]) -> list[list[int]]:
        """What was acknowledged and isn't there, by writer."""
        with psycopg.connect(self.url) as connection:
            there = set(connection.execute("SELECT writer, number FROM load").fetchall())
        return [[number for number in numbers if (writer, number) not in there] for writer, numbers in enumerate(noted)]


@contextlib.contextmanager
def writing(url: str) -> Iterator[Load]:
    """Writers at work at this URL, until the block ends."""
    load = Load(url=url)
    with psycopg.connect(load.url) as connection:
        connection.execute("CREATE TABLE load (writer int, number int, PRIMARY KEY (writer, number))")
    threads = [threading.Thread(target=load.write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.ended.set()
        for thread in threads:
            thread.join(timeout=60)
