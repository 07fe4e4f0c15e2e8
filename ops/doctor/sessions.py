"""Sessions: how many of how many and whose, idle transactions, who waits for whom, prepared transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.doctor.access import CONNECTIONS
from ops.doctor.finding import Finding, Mend, span

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

IDLE_MIN = 10
"""The source document's: sessions idle for so many minutes may be ended."""
FULL_SHARE, NEAR_SHARE = 0.95, 0.8
IDLE_TRANSACTION_S = 60
WAIT_S = 5
PREPARED_S = 300
HOLDERS_SHOWN = 4

# Never walsenders or workers, never ourselves, never a superuser's maintenance.
IDLE_LONG = (
    f"backend_type = 'client backend' AND state = 'idle' AND state_change < now() - INTERVAL '{IDLE_MIN} minutes'"
    " AND pid <> pg_backend_pid() AND usename NOT IN (SELECT rolname FROM pg_roles WHERE rolsuper OR rolreplication)"
)


@dataclass(frozen=True, kw_only=True)
class Holders:
    """Sessions of one user, application and state."""

    user: str
    application: str
    state: str
    count: int
    idle_long: int = 0
    """How many of them may be ended."""

    def __str__(self) -> str:
        return f"{self.count} {self.state} of {self.user}" + (f" ({self.application})" if self.application else "")


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session, and how long it has been at what it is at."""

    pid: int
    user: str
    application: str
    state: str
    seconds: float

    def __str__(self) -> str:
        application = f", {self.application}" if self.application else ""
        return f"pid {self.pid} ({self.user}{application})"


@dataclass(frozen=True, kw_only=True)
class Wait:
    """A session that waits for a lock, and the one that has it."""

    waiting: Session
    blocker: Session


def look(connection: Connection) -> Iterator[Finding]:
    """Ask the server for all of it."""
    yield connections(_free_for_all(connection), _holders(connection))
    waits = _waits(connection)
    yield idle_transactions(_idle_transactions(connection))
    yield blocked(waits)
    yield prepared(_prepared(connection))


def connections(most: int, holders: Sequence[Holders]) -> Finding:
    """Rule: connections are left for those who come."""
    used, idle_long = sum(one.count for one in holders), sum(one.idle_long for one in holders)
    shown = ", ".join(map(str, sorted(holders, key=lambda one: -one.count)[:HOLDERS_SHOWN]))
    ended = f"{idle_long} sessions that were idle for more than {IDLE_MIN} minutes"
    way = (
        f"run ./gaia doctor --fix, which ends {ended}"
        if idle_long
        else (
            "make the pools smaller, end the programs that hold them, or run "
            f"./gaia up --set database.tuning.max_connections={2 * most}"
        )
    )
    return Finding(
        name=CONNECTIONS,
        found=f"{'out of connections: ' if used >= FULL_SHARE * most else ''}{used} of {most} are taken: {shown}"
        if used >= NEAR_SHARE * most
        else "",
        way=way,
        level="fault" if used >= FULL_SHARE * most else "warning",
        mend=Mend(kind="sessions", title=f"end {ended}") if idle_long else None,
    )


def idle_transactions(idle: Sequence[Session]) -> Finding:
    """Rule: nobody leaves a transaction open; a client that was cut off does, until the server notices."""
    longest = max(idle, key=lambda one: one.seconds, default=None)
    return Finding(
        name="no idle transaction",
        found=f"{len(idle)} sessions are idle in a transaction, the longest, {longest}, for {span(longest.seconds)}: "
        "a program that hangs, or one whose network was cut"
        if longest
        else "",
        way=_end(longest) if longest else "",
        level="warning",
        mend=_mend(longest) if longest else None,
    )


def blocked(waits: Sequence[Wait]) -> Finding:
    """Rule: nobody waits long for a lock. The one who holds most of them up is named."""
    if not waits:
        return Finding(name="no lock waits long")
    blockers = [wait.blocker for wait in waits]
    waiting = {wait.blocker.pid for wait in waits} & {wait.waiting.pid for wait in waits}
    # Who waits for somebody else is no root of it.
    roots = [one for one in blockers if one.pid not in waiting] or blockers
    worst = max(roots, key=lambda one: sum(wait.blocker.pid == one.pid for wait in waits))
    first = max(waits, key=lambda wait: wait.waiting.seconds)
    return Finding(
        name="no lock waits long",
        found=f"{len({wait.waiting.pid for wait in waits})} sessions wait for a lock, {first.waiting} for "
        f"{span(first.waiting.seconds)}; {worst} has it, {worst.state} for {span(worst.seconds)}",
        way=_end(worst),
        mend=_mend(worst) if worst.state.startswith("idle in transaction") else None,
    )


def prepared(found: Sequence[tuple[str, float]]) -> Finding:
    """Rule: a prepared transaction is ended soon: it keeps its locks, and all dead rows, for good."""
    name, seconds = max(found, key=lambda one: one[1], default=("", 0.0))
    return Finding(
        name="no prepared transaction",
        found=f"{len(found)} are left, the oldest, {name}, for {span(seconds)}" if found else "",
        way=f"run ./gaia psql -c \"ROLLBACK PREPARED '{name}'\", or COMMIT PREPARED",
        level="warning",
    )


def _end(session: Session) -> str:
    return f'run ./gaia psql -c "SELECT pg_terminate_backend({session.pid})"'


def _mend(session: Session) -> Mend | None:
    if session.seconds < IDLE_TRANSACTION_S and session.state != "idle in transaction (aborted)":
        return None
    title = f"end {session}, idle in a transaction for {span(session.seconds)}; the transaction is rolled back"
    return Mend(kind="session", title=title, subject=str(session.pid))


def _free_for_all(connection: Connection) -> int:
    """How many connections there are for users who are no superusers."""
    row = connection.execute(
        "SELECT sum(CASE name WHEN 'max_connections' THEN setting::int ELSE -setting::int END)::int FROM pg_settings"
        " WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
    ).fetchone()
    return row[0] if row else 0


def _holders(connection: Connection) -> list[Holders]:
    rows = connection.execute(
        "SELECT coalesce(usename, ''), application_name, coalesce(state, ''), count(*),"
        f" count(*) FILTER (WHERE {IDLE_LONG}) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1, 2, 3".encode()
    ).fetchall()
    return [
        Holders(user=user, application=application, state=state, count=count, idle_long=idle_long)
        for user, application, state, count, idle_long in rows
    ]


_SESSION = (
    "pid, coalesce(usename, backend_type)::text, application_name, coalesce(state, ''),"
    " coalesce(extract(epoch FROM clock_timestamp() - {since}), 0)::float8"
)


def _idle_transactions(connection: Connection) -> list[Session]:
    rows = connection.execute(
        f"SELECT {_SESSION.format(since='state_change')} FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
        " AND clock_timestamp() - state_change > make_interval(secs => %s)".encode(),
        (IDLE_TRANSACTION_S,),
    ).fetchall()
    return [_session(row) for row in rows]


def _waits(connection: Connection) -> list[Wait]:
    waiting = connection.execute(
        f"SELECT {_SESSION.format(since='since')}, pg_blocking_pids(pid) FROM pg_stat_activity JOIN"
        " (SELECT pid, min(waitstart) AS since FROM pg_locks WHERE NOT granted GROUP BY 1) waits USING (pid)"
        " WHERE clock_timestamp() - since > make_interval(secs => %s)".encode(),
        (WAIT_S,),
    ).fetchall()
    pids = sorted({pid for row in waiting for pid in row[-1]})
    rows = connection.execute(
        f"SELECT {_SESSION.format(since='state_change')} FROM pg_stat_activity WHERE pid = ANY(%s)".encode(), (pids,)
    ).fetchall()
    blockers = {row[0]: _session(row) for row in rows}
    return [
        Wait(waiting=_session(row[:-1]), blocker=blockers[pid]) for row in waiting for pid in row[-1] if pid in blockers
    ]


def _prepared(connection: Connection) -> list[tuple[str, float]]:
    return connection.execute(
        "SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts"
        " WHERE clock_timestamp() - prepared > make_interval(secs => %s)",
        (PREPARED_S,),
    ).fetchall()


def _session(row: Sequence[Any]) -> Session:
    pid, user, application, state, seconds = row
    return Session(pid=pid, user=user, application=application, state=state, seconds=seconds)
