"""The monthly partitions: made ahead, detached when they are out of retention, and healed when that was cut off."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from migrations import partitions, runner
from migrations.errors import MaintenanceBlocked
from tests.postgres import Database

pytestmark = pytest.mark.postgres

THIS_MONTH = partitions.month_of(dt.datetime.now(dt.UTC).date())


def attached(database: Database, parent: str) -> set[str]:
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(%s)", (parent,)
        ).fetchall()
    return {str(name) for (name,) in rows}


def name(parent: str, months: int) -> str:
    return f"{parent}_{partitions.later(THIS_MONTH, months):%Y_%m}"


@pytest.mark.parametrize("parent", partitions.PARENTS)
def test_this_month_and_twelve_ahead_are_there(shared_database: Database, parent: str) -> None:
    assert attached(shared_database, parent) == {name(parent, months) for months in range(13)}
    with shared_database.connect() as connection:
        assert partitions.missing(connection) == []
        (sentence, _) = partitions.missing(connection, ahead_months=14)
    assert f"{partitions.later(THIS_MONTH, 13):%Y-%m}" in sentence


def test_a_lost_month_is_named_and_made_again_by_the_migrator(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(f"DROP TABLE {name(partitions.CHAT, 12)}".encode())
        assert len(partitions.missing(connection)) == 1
    done = partitions.maintain(database.url_as("gaia_migrator"))
    assert done == partitions.Maintained(made=(name(partitions.CHAT, 12),))
    assert partitions.maintain(database.url_as("gaia_migrator")) == partitions.Maintained()


def test_months_back_are_made_where_they_are_asked_for(database: Database) -> None:
    done = partitions.maintain(database.url, since=partitions.later(THIS_MONTH, -2))
    assert set(done.made) == {name(parent, months) for parent in partitions.PARENTS for months in (-2, -1)}


def test_an_insert_beyond_the_months_fails_loudly(database: Database) -> None:
    with (
        database.connect() as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="no partition of relation"),
    ):
        connection.execute(
            "INSERT INTO audit.security_events (event_type, created_at) VALUES ('late', now() + interval '14 months')"
        )


def test_a_month_out_of_retention_is_detached_with_its_rows_while_others_read(database: Database) -> None:
    partitions.maintain(database.url, since=partitions.later(THIS_MONTH, -3))
    old = partitions.later(THIS_MONTH, -3)
    with database.connect() as connection:
        connection.execute("INSERT INTO audit.security_events (event_type, created_at) VALUES ('old', %s)", (old,))
    done = partitions.maintain(database.url, chat_retention_months=2, audit_retention_months=2)
    assert set(done.detached) == {name(partitions.CHAT, -3), name(partitions.AUDIT, -3)}
    assert name(partitions.CHAT, -2) in attached(database, partitions.CHAT)
    with database.connect() as connection:
        assert connection.execute(f"SELECT event_type FROM {name(partitions.AUDIT, -3)}".encode()).fetchall() == [
            ("old",)
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute(f"DELETE FROM {name(partitions.AUDIT, -3)}".encode())
    assert partitions.maintain(database.url, chat_retention_months=2, audit_retention_months=2).detached == ()
    assert runner.check(database.url) == ()


def test_a_detach_that_was_cut_off_is_finished(database: Database) -> None:
    partitions.maintain(database.url, since=partitions.later(THIS_MONTH, -1))
    gone = name(partitions.CHAT, -1)
    with database.connect() as reader, database.connect() as other:
        reader.execute("BEGIN")
        reader.execute("SELECT FROM game.chat_history")
        other.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(f"ALTER TABLE game.chat_history DETACH PARTITION {gone} CONCURRENTLY".encode())
        reader.execute("COMMIT")
    assert partitions.maintain(database.url).detached == (gone,)
    assert gone not in attached(database, partitions.CHAT)


def test_a_transaction_that_never_ends_is_named(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "ATTEMPTS", 2)
    monkeypatch.setattr(partitions, "PAUSE_S", 0.01)
    with database.connect() as connection:
        connection.execute(f"DROP TABLE {name(partitions.CHAT, 12)}".encode())
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE game.chat_history IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(MaintenanceBlocked, match="end the transaction that holds it"):
            partitions.maintain(database.url)
        connection.execute("COMMIT")
    assert partitions.maintain(database.url).made == (name(partitions.CHAT, 12),)


def test_two_at_once_make_each_month_once(database: Database) -> None:
    since = partitions.later(THIS_MONTH, -4)
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: partitions.maintain(database.url, since=since), range(2)))
    assert sorted(month for done in both for month in done.made) == sorted(
        name(parent, -back) for parent in partitions.PARENTS for back in range(1, 5)
    )


@pytest.mark.parametrize(
    ("month", "months", "expected"),
    [((2026, 11, 1), 12, (2027, 11, 1)), ((2026, 1, 1), -1, (2025, 12, 1)), ((2026, 12, 1), 1, (2027, 1, 1))],
)
def test_months_are_counted_over_the_turn_of_the_year(
    month: tuple[int, int, int], months: int, expected: tuple[int, int, int]
) -> None:
    assert partitions.later(dt.date(*month), months) == dt.date(*expected)


def test_a_lost_guard_of_the_log_is_named_and_made_again_on_detached_months_too(database: Database) -> None:
    partitions.maintain(database.url, since=partitions.later(THIS_MONTH, -1))
    partitions.maintain(database.url, audit_retention_months=1, since=THIS_MONTH)
    gone = name(partitions.AUDIT, -1)
    with database.connect() as connection:
        connection.execute(f"ALTER TABLE audit.security_events DETACH PARTITION {gone}".encode())
        connection.execute(f"DROP TRIGGER append_only ON {gone}".encode())
        connection.execute("ALTER TABLE audit.security_events DISABLE TRIGGER append_only_truncate")
        assert partitions.missing(connection) == [
            "audit.security_events lacks its trigger append_only_truncate",
            f"{gone} lacks its trigger append_only",
        ]
        done = partitions.maintain(database.url_as("gaia_migrator"))
        assert done.guarded == ("audit.security_events", gone)
        assert partitions.missing(connection) == []


def test_what_is_past_its_retention_is_named(database: Database) -> None:
    partitions.maintain(database.url, since=partitions.later(THIS_MONTH, -2))
    with database.connect() as connection:
        (sentence,) = partitions.missing(connection, kept={partitions.CHAT: 1})
    assert sentence == f"{name(partitions.CHAT, -2)} is past its retention, or half detached"


def test_a_detached_month_in_the_way_is_named(database: Database) -> None:
    since = partitions.later(THIS_MONTH, -2)
    partitions.maintain(database.url, since=since)
    partitions.maintain(database.url, chat_retention_months=1)
    with pytest.raises(MaintenanceBlocked, match=f"{name(partitions.CHAT, -2)} is there, but detached"):
        partitions.maintain(database.url, since=since)


def test_the_schema_goes_down_and_up_beside_detached_months(database: Database) -> None:
    partitions.maintain(database.url, since=partitions.later(THIS_MONTH, -2))
    partitions.maintain(database.url, chat_retention_months=1, audit_retention_months=1)
    runner.downgrade(database.url, "0003")
    runner.upgrade(database.url)
    with database.connect() as connection:
        assert partitions.missing(connection) == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute(f"TRUNCATE {name(partitions.AUDIT, -2)}".encode())
