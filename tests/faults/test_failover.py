"""Failovers under load: no acknowledged row is lost where commits wait for the standby, else the loss is known."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg
import pytest

from tests.clone import Clone, free_port

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

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
def under_load(clone: Clone, *, synchronous: bool) -> Iterator[Load]:
    port = free_port()
    flags = (f"database.port={port}", f"database.replica_port={free_port()}", "database.replicas=1")
    values = (*flags, f"database.synchronous={str(synchronous).lower()}")
    clone.gaia("up", "--stack", "local", *(part for value in values for part in ("--set", value)))
    load = Load(url=clone.gaia("url").stdout.strip())
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


def kill_primary(clone: Clone) -> None:
    psutil.Process(int((clone.home() / "data" / "postmaster.pid").read_text().split()[0])).kill()


def sender(clone: Clone) -> psutil.Process:
    """The primary's process that sends to the standby: what it doesn't send can't arrive."""
    with psycopg.connect(clone.gaia("url").stdout.strip()) as connection:
        row = connection.execute("SELECT pid FROM pg_stat_replication").fetchone()
    assert row is not None
    return psutil.Process(row[0])


def test_with_synchronous_replication_no_acknowledged_row_is_lost(
    clone: Clone, counts: Callable[[int, int], int], record: Callable[[str, str], None]
) -> None:
    times, rows = counts(2, 10), 0
    with under_load(clone, synchronous=True) as load:
        for turn in range(times):
            load.more()
            if turn % 2 == 0:
                kill_primary(clone)
            done = clone.json("failover")
            assert done["synchronous"] or done["lost_bytes"] == 0
            noted = load.noted()
            assert load.lost(noted) == [[] for _ in range(WRITERS)]
            assert sum(map(len, noted)) > rows
            rows = sum(map(len, noted))
    assert clone.json("verify")["ok"]
    record(
        "failover under load, synchronous",
        f"{times} of {times} lost no acknowledged row of {rows}; every other primary was killed",
    )


def test_without_it_the_loss_is_the_last_rows_and_is_told(
    clone: Clone, counts: Callable[[int, int], int], record: Callable[[str, str], None]
) -> None:
    times, told, rows = counts(2, 10), [], 0
    with under_load(clone, synchronous=False) as load:
        for _ in range(times):
            load.more()
            sender(clone).suspend()
            load.more()
            kill_primary(clone)
            refused = clone.gaia("failover", code=5)
            assert "bytes of log that its standby lacks" in refused.stderr
            noted = load.noted()  # sessions outlive a killed server for a moment, and acknowledge
            done: dict[str, Any] = clone.json("failover", "--yes")
            lost = load.lost(noted)
            assert any(lost)
            load.forget(lost)
            assert all(gone == all_[len(all_) - len(gone) :] for gone, all_ in zip(lost, noted, strict=True))
            assert sum(map(len, lost)) * ROW_BYTES <= done["lost_bytes"]
            told.append(done["lost_bytes"])
            rows += sum(map(len, lost))
    assert clone.json("verify")["ok"]
    record(
        "failover under load, standby held up",
        f"{times} of {times} told what was lost: {min(told)} to {max(told)} bytes of log with {rows} last rows in all",
    )
