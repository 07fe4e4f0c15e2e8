"""Failovers under load: no acknowledged row is lost where commits wait for the standby, else the loss is known."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import psycopg
import pytest

from tests.clone import Clone, free_port
from tests.load import ROW_BYTES, WRITERS, Load, writing

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]


@contextlib.contextmanager
def under_load(clone: Clone, *, synchronous: bool) -> Iterator[Load]:
    port = free_port()
    flags = (f"database.port={port}", f"database.replica_port={free_port()}", "database.replicas=1")
    values = (*flags, f"database.synchronous={str(synchronous).lower()}")
    clone.gaia("up", "--stack", "local", *(part for value in values for part in ("--set", value)))
    with writing(clone.gaia("url").stdout.strip()) as load:
        yield load


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
