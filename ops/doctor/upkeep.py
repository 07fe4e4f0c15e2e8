"""The database's upkeep: version, revision, indexes, partitions, transaction ids, audit, replication, leftovers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.doctor.finding import UP, Finding, Mend, size, span
from ops.verify import MONTHS_AHEAD_MIN

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

LAG_MAX_S = 30
LAG_MAX_BYTES = 64 * 1024**2
SLOT_MAX_BYTES = 256 * 1024**2
IDS = 2**31
"""Transaction ids count to here and no further: the server then stops writing."""
IDS_LEFT_MIN = 500_000_000


@dataclass(frozen=True, kw_only=True)
class Age:
    """How old the oldest transaction id of a database is."""

    database: str
    ids: int
    freeze_max: int
    """From which age autovacuum freezes whatever else it does."""


@dataclass(frozen=True, kw_only=True)
class Standby:
    """A standby that streams from here."""

    name: str
    state: str
    bytes_behind: int
    seconds_behind: float


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A replication slot."""

    name: str
    active: bool
    status: str
    """``lost`` is of no use any more."""
    bytes_kept: int


def version(number: int) -> Finding:
    """Rule: the server is PostgreSQL 16."""
    found = f"it is PostgreSQL {number // 10000}" if number // 10000 != 16 else ""
    return Finding(name="PostgreSQL 16", found=found, way="use an image or a data directory of PostgreSQL 16")


def writes(in_recovery: bool, read_only: bool) -> Finding:
    """Rule: the server takes writes."""
    found = "it is a standby, or still in recovery" if in_recovery else "it is set to read-only" if read_only else ""
    way = "run ./gaia outputs for the primary's address" if in_recovery else "run ./gaia up"
    return Finding(name="server takes writes", found=found, way=way)


def revision(at: str | None, head: str, known: Sequence[str]) -> Finding:
    """Rule: the database is at head, and at a revision that this checkout has."""
    if at is not None and at not in known:
        found = f"the database is at {at}, which this checkout doesn't have"
        return Finding(name="revision is head", found=found, way="update the checkout: git pull")
    found = f"the database is at {at or 'base'}, head is {head}" if at != head else ""
    return Finding(name="revision is head", found=found, way="run ./gaia migrate upgrade")


def indexes(dead: Sequence[str], building: bool) -> Iterator[Finding]:
    """Rule: each index can be used. One that is being built can't be yet."""
    if not dead or building:
        yield Finding(name="indexes are valid")
        return
    for name in dead:
        yield Finding(
            name="indexes are valid",
            found=f"{name} is invalid: a CREATE INDEX CONCURRENTLY that was cut off left it, each write pays for it, "
            "no query uses it",
            way=f"run ./gaia psql -c 'DROP INDEX CONCURRENTLY {name}', then make it again",
            level="warning",
            mend=Mend(kind="index", title=f"drop the invalid index {name}", subject=name),
        )


def months(lacking: Sequence[str]) -> Finding:
    """Rule: the months to come have partitions."""
    return Finding(
        name=f"partitions for the next {MONTHS_AHEAD_MIN} months",
        found="; ".join(lacking),
        way="run ./gaia up",
        mend=Mend(kind="partitions", title="make the partitions that are missing") if lacking else None,
    )


def defaults(filled: Sequence[str]) -> Finding:
    """Rule: no row lies in a default partition, where it keeps the right one from being made."""
    return Finding(
        name="default partitions are empty",
        found=f"rows lie in {', '.join(filled)}: the partition of their month can't be made while they do"
        if filled
        else "",
        way="detach it, make the month with ./gaia up, insert its rows anew",
        level="warning",
    )


def ages(found: Age | None, autovacuum: bool) -> Iterator[Finding]:
    """Rules: transaction ids are frozen long before they run out."""
    old = found is not None and found.ids > 1.1 * found.freeze_max
    left = IDS - found.ids if found else IDS
    yield Finding(
        name="transaction ids",
        found=f"database {found.database} has used {found.ids:,} since it was last frozen, {left:,} are left; "
        f"autovacuum should have frozen it at {found.freeze_max:,}"
        if found and old
        else "",
        way="end long transactions, prepared ones and unused slots first, then run "
        f'./gaia psql -d {found.database if found else "gaia"} -c "VACUUM (FREEZE)"',
        level="fault" if left < IDS_LEFT_MIN else "warning",
    )
    yield Finding(
        name="autovacuum",
        found="" if autovacuum else "it is off: dead rows stay, and transaction ids run out in the end",
        way='run ./gaia psql -c "ALTER SYSTEM RESET autovacuum" -c "SELECT pg_reload_conf()"',
        level="warning",
    )


def replication(standbys: Sequence[Standby], slots: Sequence[Slot]) -> Iterator[Finding]:
    """Rules: standbys keep up, and no slot fills the disk with what nobody fetches."""
    late = [one for one in standbys if one.seconds_behind > LAG_MAX_S or one.bytes_behind > LAG_MAX_BYTES]
    shown = ", ".join(
        f"{one.name} ({one.state}) {size(one.bytes_behind)} and {span(one.seconds_behind)}" for one in late
    )
    yield Finding(
        name="standbys keep up",
        found=f"behind the primary: {shown}" if late else "",
        way="look for long transactions on the standby and at its load: ./gaia psql -c 'TABLE pg_stat_replication'",
        level="warning",
    )
    for one in slots:
        if one.status == "lost" or (not one.active and one.bytes_kept > SLOT_MAX_BYTES):
            lost = "has lost what its standby needs" if one.status == "lost" else f"keeps {size(one.bytes_kept)} of log"
            yield Finding(
                name=f"slot {one.name}",
                found=f"it {lost}, and nobody streams from it",
                way="bring its standby back, or drop it: "
                f"./gaia psql -c \"SELECT pg_drop_replication_slot('{one.name}')\"",
                level="warning",
            )


def standby(seconds_behind: float | None, streaming: bool) -> Finding:
    """Rule: this server, a standby, follows its primary."""
    behind = f"it is {span(seconds_behind)} behind" if seconds_behind and seconds_behind > LAG_MAX_S else ""
    return Finding(
        name="standby follows",
        found=behind if streaming else "it gets nothing from its primary",
        way="look at the primary's ./gaia doctor, and at ./gaia logs",
        level="warning",
    )


def leftovers(databases: Sequence[str]) -> Iterator[Finding]:
    """Rule: a restore leaves nothing behind but the old database, until somebody says that it may go."""
    for name in databases:
        half = name.startswith("gaia_restore_")
        yield Finding(
            name=f"database {name}",
            found="a restore that was cut off left it" if half else "the database from before a restore is still kept",
            way=f"once nobody needs it: ./gaia psql -d postgres -c 'DROP DATABASE {name}'",
            level="warning" if half else "note",
        )


def audit(lacking: Sequence[str]) -> Finding:
    """Rule: DDL goes into the audit log."""
    return Finding(
        name="DDL goes into the audit log",
        found="; ".join(lacking),
        way="run ./gaia up",
        mend=UP if lacking else None,
    )


def import_ahead() -> None:
    """Import what ``look`` needs, before there is a connection to look through."""
    from migrations import bootstrap, ddl_audit, partitions, runner  # noqa: F401  (runner brings indexes, revisions)


def look(connection: Connection, kept: Mapping[str, int | None]) -> Iterator[Finding]:
    """Ask the server for all of it; ``kept`` is for how many months each table keeps its rows."""
    yield version(connection.info.server_version)
    row = connection.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'").fetchone()
    in_recovery, read_only = row or (False, False)
    yield writes(in_recovery, read_only)
    yield from _schema(connection, kept)
    for part in (_ages, _standby if in_recovery else _replication, _leftovers):
        yield from part(connection)


def _schema(connection: Connection, kept: Mapping[str, int | None]) -> Iterator[Finding]:
    from migrations import ddl_audit, partitions, runner
    from migrations import indexes as live
    from migrations.revisions import history

    known = [one.id for one in history()]
    yield revision(runner.current_of(connection), known[-1], known)
    building = connection.execute("SELECT EXISTS (SELECT FROM pg_stat_progress_create_index)").fetchone()
    yield from indexes([str(index) for index in live.dead(connection)], building == (True,))
    yield months(partitions.missing(connection, ahead_months=MONTHS_AHEAD_MIN, kept=kept))
    yield defaults(_filled_defaults(connection))
    yield audit(ddl_audit.missing(connection))


def _filled_defaults(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT partdefid::regclass::text FROM pg_partitioned_table WHERE partdefid <> 0")
    return [
        name
        for (name,) in rows.fetchall()
        if connection.execute(f"SELECT EXISTS (SELECT FROM {name})".encode()).fetchone() == (True,)
    ]


def _ages(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT datname, age(datfrozenxid), current_setting('autovacuum_freeze_max_age')::int,"
        " current_setting('autovacuum')::bool FROM pg_database ORDER BY 2 DESC LIMIT 1"
    ).fetchone()
    assert row is not None
    yield from ages(Age(database=row[0], ids=row[1], freeze_max=row[2]), row[3])


def _replication(connection: Connection) -> Iterator[Finding]:
    standbys = connection.execute(
        "SELECT application_name, coalesce(state, ''), coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0),"
        " coalesce(extract(epoch FROM replay_lag), 0)::float8 FROM pg_stat_replication WHERE state <> 'backup'"
    ).fetchall()
    slots = connection.execute(
        "SELECT slot_name, active, coalesce(wal_status, ''),"
        " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0) FROM pg_replication_slots"
    ).fetchall()
    yield from replication(
        [Standby(name=n, state=s, bytes_behind=int(b), seconds_behind=t) for n, s, b, t in standbys],
        [Slot(name=n, active=a, status=s, bytes_kept=int(b)) for n, a, s, b in slots],
    )


def _standby(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
        " ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8,"
        " EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
    ).fetchone()
    assert row is not None
    yield standby(*row)


def _leftovers(connection: Connection) -> Iterator[Finding]:
    rows = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^gaia_(restore|before)_' ORDER BY 1")
    yield from leftovers([name for (name,) in rows.fetchall()])
