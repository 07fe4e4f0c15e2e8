"""The standby of an embedded server: made, mended whatever befell it, and gone without a trace."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from infra.local import postgres, replication
from infra.local.errors import DataDirectoryError
from tests.pair import EmbeddedPair as Pair
from tests.pair import asked, changed, create, kill, paired, session

pytestmark = pytest.mark.postgres

COUNT = "SELECT count(*) FROM t"


@pytest.fixture(scope="module")
def shared() -> Iterator[Pair]:
    with paired() as pair:
        yield pair


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """The module's pair, streaming and with an empty table."""
    replication.follow(shared)
    with session(shared) as connection:
        connection.execute("TRUNCATE t")
    return shared


def add(pair: Pair, *ids: int) -> None:
    with session(pair) as connection:
        connection.execute("INSERT INTO t SELECT unnest(%s)", (list(ids),))


def arrives(pair: Pair, count: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if asked(pair, COUNT, standby=True) == count:
            return True
        time.sleep(0.02)
    return False


def test_what_is_written_arrives_and_the_standby_takes_no_writes(pair: Pair) -> None:
    add(pair, 1, 2, 3)
    assert arrives(pair, 3)
    with session(pair, standby=True) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO t VALUES (4)")
    seen = replication.look(pair)
    assert (seen.status, seen.lag_bytes) == ("streaming", 0)


def test_its_login_replicates_and_nothing_else_and_its_password_is_in_one_closed_file(pair: Pair) -> None:
    rights = "SELECT rolreplication AND rolcanlogin AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)"
    assert asked(pair, f"{rights} FROM pg_roles WHERE rolname = '{replication.USER}'") is True
    assert asked(pair, "SELECT count(*) FROM pg_stat_replication WHERE usename = 'gaia_replication'") == 1
    passfile = pair.standby.home / "replication.pass"
    assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
    secret = pair.replication_password.split("\\")[-1]
    holders = [
        file.name
        for home in (pair.primary.home, pair.standby.home)
        for file in home.rglob("*")
        if file.is_file() and secret in file.read_text(errors="replace")
    ]
    assert holders == ["replication.pass"]


def test_a_second_follow_leaves_a_healthy_standby_as_it_is(pair: Pair) -> None:
    started = asked(pair, "SELECT pg_postmaster_start_time()", standby=True)
    replication.follow(pair)
    assert asked(pair, "SELECT pg_postmaster_start_time()", standby=True) == started


def test_a_killed_standby_is_started_again_without_a_new_copy(pair: Pair) -> None:
    made = (pair.standby.data / "PG_VERSION").stat().st_ino
    kill(pair.standby)
    add(pair, 1)
    assert replication.look(pair).status == "stopped"
    replication.follow(pair)
    assert arrives(pair, 1)
    assert (pair.standby.data / "PG_VERSION").stat().st_ino == made


def test_a_standby_promoted_by_hand_is_made_the_primarys_again(pair: Pair) -> None:
    postgres.run(pair.standby, "pg_ctl", "promote", "-D", pair.standby.data, "-w", "-s")
    with session(pair, standby=True) as connection:
        connection.execute("INSERT INTO t VALUES (666)")
    assert replication.look(pair).status == "not streaming"
    add(pair, 1)
    replication.follow(pair)
    assert arrives(pair, 1)
    assert asked(pair, "SELECT id FROM t", standby=True) == 1
    assert replication.look(pair).status == "streaming"


def test_damaged_data_of_the_standby_is_replaced_by_a_new_copy(pair: Pair) -> None:
    add(pair, 1)
    postgres.stop(pair.standby)
    shutil.rmtree(pair.standby.data / "global")
    replication.follow(pair)
    assert arrives(pair, 1)


def test_a_removed_standby_is_copied_anew(pair: Pair) -> None:
    add(pair, 1)
    postgres.remove(pair.standby)
    assert replication.look(pair).status == "absent"
    replication.follow(pair)
    assert arrives(pair, 1)


def test_a_standby_whose_log_the_primary_gave_up_is_copied_anew(pair: Pair) -> None:
    postgres.stop(pair.standby)
    with session(pair) as connection:
        connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        connection.execute("ALTER SYSTEM SET min_wal_size = '32MB'")
        connection.execute("SELECT pg_reload_conf()")
        for _ in range(5):
            connection.execute("INSERT INTO t SELECT generate_series(1, 100000)")
            connection.execute("TRUNCATE t")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
        assert asked(pair, "SELECT wal_status FROM pg_replication_slots") == "lost"
        connection.execute("ALTER SYSTEM RESET ALL")
        connection.execute("SELECT pg_reload_conf()")
    replication.follow(pair)
    add(pair, 1)
    assert arrives(pair, 1)
    assert asked(pair, "SELECT wal_status FROM pg_replication_slots") == "reserved"


def test_other_parameters_reach_both_fewer_connections_too(pair: Pair) -> None:
    other = changed(pair, max_connections="25")
    for wanted, most in ((other, "25"), (pair, "30")):
        postgres.stop(wanted.primary)
        postgres.configure(wanted.primary, wanted.primary_parameters)
        postgres.start(wanted.primary, port=wanted.primary_port, timeout_s=60)
        replication.follow(wanted)
        assert asked(wanted, "SHOW max_connections") == asked(wanted, "SHOW max_connections", standby=True) == most
        assert replication.look(wanted).status == "streaming"


def test_another_password_of_its_login_is_taken_over(pair: Pair) -> None:
    other = replace(pair, replication_password="another-" + "x" * 20)
    replication.follow(other)
    kill(pair.standby)
    replication.follow(other)
    assert replication.look(other).status == "streaming"


def test_with_synchronous_replication_a_commit_waits_for_the_standby_and_goes_on_once_it_is_mended(pair: Pair) -> None:
    both = replace(pair, synchronous=True)
    assert replication.look(both).status != "streaming", "as long as no commit waits, this isn't what is wanted"
    replication.follow(both)
    assert replication.follows(both.standby) == {"synchronous": True}
    add(both, 1)
    postgres.stop(both.standby)
    with ThreadPoolExecutor() as aside:
        commit = aside.submit(add, both, 2)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        deadline = time.monotonic() + 10
        while asked(both, waits) == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert asked(both, waits) == 1 and not commit.done()
        replication.follow(both)
        commit.result(timeout=10)
    add(both, 3)
    assert arrives(both, 3)
    replication.follow(pair)
    assert replication.follows(pair.standby) == {"synchronous": False}
    assert asked(pair, "SHOW synchronous_standby_names") == ""


def test_another_database_in_the_standbys_place_is_left_alone(pair: Pair) -> None:
    postgres.stop(pair.standby)
    aside = pair.standby.home.with_name("aside")
    pair.standby.home.rename(aside)
    try:
        postgres.create(
            pair.standby,
            superuser="gaia",
            password=pair.password,
            database="gaia",
            parameters=pair.parameters,
            timeout_s=60,
        )
        with pytest.raises(DataDirectoryError, match="another database"):
            replication.follow(pair)
        assert postgres.status(pair.standby) == "running"
    finally:
        postgres.remove(pair.standby)
        aside.rename(pair.standby.home)


def test_leaving_takes_slot_login_and_copy_away_and_no_commit_waits() -> None:
    with paired(synchronous=True) as pair:
        replication.leave(pair)
        assert asked(pair, "SELECT count(*) FROM pg_replication_slots") == 0
        assert asked(pair, "SELECT count(*) FROM pg_roles WHERE rolname = 'gaia_replication'") == 0
        assert asked(pair, "SHOW synchronous_standby_names") == ""
        assert not pair.standby.home.exists()
        add(pair, 1)


def test_leaving_beside_a_stopped_primary_keeps_the_copy_and_frees_the_primary_of_its_slot() -> None:
    with paired(synchronous=True) as pair:
        add(pair, 1)
        kill(pair.primary)
        replication.leave(pair)
        assert postgres.status(pair.standby) == "stopped"
        create(pair)
        assert asked(pair, "SELECT count(*) FROM pg_replication_slots") == 0
        add(pair, 2)
