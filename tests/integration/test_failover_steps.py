"""A failover of two real servers: nobody else takes writes, nothing is left half done, and what is lost is known."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from infra.local import failover, postgres, replication
from infra.local.embedded import EmbeddedServerProvider
from infra.local.errors import DataDirectoryError
from infra.local.failover import Outcome
from infra.local.standby import StandbyProvider
from tests.pair import EmbeddedPair as Pair
from tests.pair import asked, caught_up, kill, paired, receiver, session

pytestmark = pytest.mark.postgres


class Killed(BaseException):
    """Stands for a SIGKILL between two steps."""


def failed_over(pair: Pair) -> Outcome:
    failover.begin(pair, failover.outlook(pair))
    outcome = failover.finish(pair.primary.home)
    assert outcome is not None
    return outcome


def ids(pair: Pair, *, standby: bool = False) -> list[int]:
    return asked(pair, "SELECT array_agg(id ORDER BY id) FROM t", standby=standby)


def add(pair: Pair, *numbers: int) -> None:
    with session(pair) as connection:
        connection.execute("INSERT INTO t SELECT unnest(%s)", (list(numbers),))


def props(pair: Pair) -> dict[str, Any]:
    return {
        "home": str(pair.primary.home),
        "superuser": pair.superuser,
        "password": pair.password,
        "database": "gaia",
        "parameters": dict(pair.primary_parameters),
        "start_timeout_s": 60,
        "status": "running",
    }


def test_a_planned_failover_loses_nothing_keeps_the_port_and_the_old_primary_follows() -> None:
    with paired() as pair:
        add(pair, 1, 2)
        assert failed_over(pair) == Outcome(lost_bytes=0, synchronous=False)
        add(pair, 3)
        assert ids(pair) == [1, 2, 3]
        assert not failover.under_way(pair.primary.home)
        assert replication.follows(pair.standby) is None, "it can't be promoted before it is mended"
        replication.follow(pair)
        assert ids(pair, standby=True) == [1, 2, 3]
        assert asked(pair, "SELECT count(*) FROM pg_replication_slots", standby=True) == 0


def test_there_and_back_again() -> None:
    with paired(synchronous=True) as pair:
        for turn in range(4):
            add(pair, turn)
            assert failed_over(pair) == Outcome(lost_bytes=0, synchronous=True)
            replication.follow(pair)
        assert ids(pair) == ids(pair, standby=True) == [0, 1, 2, 3]
        assert asked(pair, "SELECT timeline_id FROM pg_control_checkpoint()") == 5


def test_what_a_killed_primary_had_beyond_its_standby_is_counted_to_the_byte_and_gone() -> None:
    with paired() as pair:
        add(pair, 1)
        caught_up(pair)
        paused = receiver(pair)
        at = asked(pair, "SELECT pg_current_wal_lsn()")
        paused.suspend()
        try:
            with session(pair) as connection:
                connection.execute("INSERT INTO t SELECT generate_series(2, 200000)")
                written = asked(pair, f"SELECT pg_current_wal_lsn() - '{at}'")
            kill(pair.primary)
            postgres.end_orphans(pair.primary)
        finally:
            paused.resume()
        seen = failover.outlook(pair)
        assert (seen.primary, seen.ready) == ("stopped", True)
        assert seen.ahead_bytes is not None and 0 < seen.ahead_bytes <= written + 1_000_000
        outcome = failed_over(pair)
        # The standby may have had the beginning of a record, which counts as lost only once it is promoted.
        assert outcome.lost_bytes is not None and 0 < outcome.lost_bytes <= seen.ahead_bytes + 8192
        assert ids(pair) == [1]
        replication.follow(pair)
        assert ids(pair, standby=True) == [1]


def test_a_primary_without_data_is_replaced_and_what_was_lost_is_unknown() -> None:
    with paired() as pair:
        add(pair, 1)
        caught_up(pair)
        postgres.stop(pair.primary)
        (pair.primary.data).rename(pair.primary.home.with_name("away"))
        seen = failover.outlook(pair)
        assert (seen.primary, seen.ready, seen.ahead_bytes) == ("absent", True, None)
        assert failed_over(pair).lost_bytes is None
        assert ids(pair) == [1]
        replication.follow(pair)
        assert ids(pair, standby=True) == [1]


def test_a_session_that_outlives_its_killed_primary_is_ended_before_the_standby_is_promoted() -> None:
    with paired() as pair:
        add(pair, 1)
        with session(pair) as connection, ThreadPoolExecutor() as aside:
            # Busy, it doesn't notice that its server is gone.
            busy = "DO $$ BEGIN FOR i IN 1..400000000 LOOP NULL; END LOOP; INSERT INTO t VALUES (666); END $$"
            going_on = aside.submit(connection.execute, busy)
            time.sleep(0.5)
            kill(pair.primary)
            failed_over(pair)
            with pytest.raises(psycopg.OperationalError):
                going_on.result(timeout=10)
        assert ids(pair) == [1]


def test_a_primary_that_hangs_is_seen_and_ended() -> None:
    with paired() as pair:
        add(pair, 1)
        main = int((pair.primary.data / "postmaster.pid").read_text().split()[0])
        with session(pair) as connection:
            connection.execute("SELECT 1")
            os.kill(main, signal.SIGSTOP)
            seen = failover.outlook(pair)
            assert (seen.primary, seen.ahead_bytes) == ("not answering", None)
            failover.begin(pair, seen)
            assert failover.finish(pair.primary.home) is not None
            with pytest.raises(psycopg.OperationalError):
                connection.execute("INSERT INTO t VALUES (666)")
        assert ids(pair) == [1]


def test_the_fenced_primary_takes_no_writes_whoever_starts_it() -> None:
    with paired() as pair:
        failed_over(pair)
        postgres.start(pair.standby, port=int(pair.port), timeout_s=60)
        add(pair, 1)
        assert asked(pair, "SELECT pg_is_in_recovery()", standby=True) is True


STEPS = ("fence", "_note", "promote", "_promote", "stop", "forget", "_swap", "_serve", "configure", "start", "_lost")

MODULES = {"fence": postgres.Server, "promote": postgres.Server, "forget": replication}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_finishes_it_and_up_would_too(
    step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with paired() as pair:
        add(pair, 1)
        module = failover if step.startswith("_") else MODULES.get(step, postgres)
        failover.begin(pair, failover.outlook(pair))
        with monkeypatch.context() as patch:
            patch.setattr(module, step, _killing(getattr(module, step), after))
            with pytest.raises(Killed):
                failover.finish(pair.primary.home)
        _at_most_one_takes_writes(pair)
        provider, now = EmbeddedServerProvider(), props(pair)
        seen = provider.read("id", now).outs
        beside = StandbyProvider().read("id", {"home": now["home"]}).outs
        assert beside is not None and beside["status"] == failover.UNDER_WAY, "so that up mends it too"
        assert seen is not None and seen["status"] == failover.UNDER_WAY
        assert provider.diff("id", {**now, **seen}, now).changes
        provider.update("id", {**now, **seen}, now)
        add(pair, 2)
        assert ids(pair) == [1, 2]
        replication.follow(pair)
        assert ids(pair, standby=True) == [1, 2]
        assert sorted(path.name for path in pair.primary.home.iterdir()) == ["data", "server.log"]


def _killing(step: Callable[..., Any], after: bool) -> Callable[..., Any]:
    def killed(*arguments: Any, **keywords: Any) -> None:
        if after:
            step(*arguments, **keywords)
        raise Killed

    return killed


def _at_most_one_takes_writes(pair: Pair) -> None:
    takes = []
    for standby in (False, True):
        with contextlib.suppress(psycopg.OperationalError):
            takes.append(not asked(pair, "SELECT pg_is_in_recovery()", standby=standby))
    assert sum(takes) <= 1


def test_between_two_renames_the_data_is_found_and_no_empty_database_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with paired() as pair:
        add(pair, 1)
        failover.begin(pair, failover.outlook(pair))
        with monkeypatch.context() as patch:
            patch.setattr(failover, "_swap", _half_swapped)
            with pytest.raises(Killed):
                failover.finish(pair.primary.home)
        assert not pair.primary.data.exists()
        EmbeddedServerProvider().create(props(pair))
        assert ids(pair) == [1]
        replication.follow(pair)
        assert ids(pair, standby=True) == [1]


def _half_swapped(old: postgres.Server, _new: postgres.Server) -> None:
    old.data.rename(old.home / "data.fenced")
    raise Killed


def test_where_only_the_standby_is_left_up_refuses_to_make_an_empty_database() -> None:
    with paired() as pair:
        postgres.stop(pair.primary)
        pair.primary.data.rename(pair.primary.home.with_name("away"))
        with pytest.raises(DataDirectoryError, match="gaia failover"):
            EmbeddedServerProvider().create(props(pair))
        assert not pair.primary.data.exists()


def test_a_standby_that_is_not_known_to_follow_is_not_ready() -> None:
    with paired() as pair:
        replication.forget(pair.standby)
        postgres.stop(pair.primary)
        seen = failover.outlook(pair)
        assert (seen.ready, seen.ahead_bytes) == (False, None)
