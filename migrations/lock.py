"""The lock that keeps two runners from migrating one database at the same time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from migrations.connection import connect, one_sentence
from migrations.errors import Busy, LockLost

if TYPE_CHECKING:
    import psycopg

KEY = (0x67616961, 1)
"""Advisory lock of the migrations: "gaia" in ASCII, 1."""

WORK_KEY = (0x67616961, 3)
"""Advisory lock of the session that migrates: "gaia" in ASCII, 3."""

WAIT_S = 60.0
_POLL_S = 0.1


@contextmanager
def exclusive(
    url: str, *, wait_s: float | None = None, on_wait: Callable[[str], None] | None = None
) -> "Iterator[psycopg.Connection[Any]]":
    """Hold the lock on a connection of its own, which dies with this process; raises Busy, naming the holder.

    It polls: a session that waits inside ``pg_advisory_lock`` keeps a snapshot, for which the holder's
    CREATE INDEX CONCURRENTLY would wait until both were stuck.
    """
    with connect(url) as connection:
        _wait_for(connection, KEY, wait_s, on_wait)
        yield connection


def mark_at_work(
    connection: "psycopg.Connection[Any]", *, wait_s: float | None = None, on_wait: Callable[[str], None] | None = None
) -> None:
    """Lock for as long as this session lives, so that nobody else migrates while its last statement still runs.

    The lock of :func:`exclusive` goes at once when a runner is killed; the server may be at its statement for longer.
    Raises Busy.
    """
    _wait_for(connection, WORK_KEY, wait_s, on_wait)


def require_held(held: "psycopg.Connection[Any]", at: str | None) -> None:
    """Raise LockLost, saying the revision that the database is ``at``, unless the lock's session lives."""
    import psycopg

    try:
        held.execute("SELECT 1")
    except psycopg.OperationalError as error:
        raise LockLost(
            f"the session that holds the migrations' lock was ended ({one_sentence(str(error))}); "
            f"the database is at {at or 'base'}: run it again"
        ) from error


def _wait_for(
    connection: "psycopg.Connection[Any]",
    key: tuple[int, int],
    wait_s: float | None,
    on_wait: Callable[[str], None] | None,
) -> None:
    wait_s = WAIT_S if wait_s is None else wait_s
    deadline = time.monotonic() + wait_s
    told = False
    while not _try(connection, key):
        who = holder(connection, key)
        if time.monotonic() >= deadline:
            raise Busy(f"another migration runs ({who}) and was not done after {wait_s:g} s: try again later")
        if on_wait is not None and not told:
            on_wait(f"waits for another migration ({who})")
        told = True
        time.sleep(_POLL_S)


def holder(connection: "psycopg.Connection[Any]", key: tuple[int, int] = KEY) -> str:
    """Who holds the lock, as a person can find it: pid, application, login and since when."""
    row = connection.execute(
        "SELECT a.pid, a.application_name, a.usename, a.client_addr, a.backend_start FROM pg_locks l"
        " LEFT JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s AND l.objsubid = 2"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        key,
    ).fetchone()
    if row is None:
        return "it has just ended"
    pid, application, login, address, since = row
    started = f", since {since:%Y-%m-%d %H:%M:%S%z}" if since else ""
    return f"pid {pid}, application {application or 'unknown'!r}, login {login} from {address or 'this host'}{started}"


def _try(connection: "psycopg.Connection[Any]", key: tuple[int, int]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", key).fetchone()
    return bool(row and row[0])
