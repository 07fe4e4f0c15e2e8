"""Two databases change names in one step: whoever connects gets the old one or the new one, never none, never half."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from backup.errors import RestoreFailed

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

LOCK_TIMEOUT_S = 10
"""How long the names' lock is waited for: whoever connects meanwhile waits behind it."""
TERMINATE_EVERY_S = 0.02


def swap(server: Connection, *, live: str, new: str, kept: str | None) -> None:
    """Give ``new`` the name ``live``, and ``live`` the name ``kept``; None where there is no live one.

    ``server`` is a superuser's session in another database, in autocommit mode. PostgreSQL renames a database that
    nobody uses, so all sessions in both are ended; a session that begins meanwhile waits for the new names, or is
    refused once (SQLSTATE 3D000). Raises RestoreFailed; nothing has changed then.
    """
    import psycopg
    from psycopg import sql

    steps = [(live, kept), (new, live)] if kept else [(new, live)]
    try:
        with _ending_sessions(server, [live, new]), server.transaction():
            server.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'".encode())
            # Durable when this returns, and so is all that was written before it.
            server.execute("SET LOCAL synchronous_commit = on")
            for old_name, new_name in steps:
                server.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                        sql.Identifier(old_name), sql.Identifier(new_name or "")
                    )
                )
    except (psycopg.errors.ObjectInUse, psycopg.errors.LockNotAvailable) as error:
        detail = f" ({error.diag.message_detail.rstrip('.')})" if error.diag.message_detail else ""
        raise RestoreFailed(
            f"{live} could not be given up by those who use it: {error.diag.message_primary}{detail}; "
            f"it serves as before: end them, then restore again"
        ) from None


@contextlib.contextmanager
def _ending_sessions(server: Connection, databases: list[str]) -> Iterator[None]:
    """End all sessions in the databases, again and again: the rename itself waits 5 s for them to be gone."""
    import psycopg

    # By number: the names are about to change.
    rows = server.execute("SELECT oid FROM pg_database WHERE datname = ANY(%s)", (databases,)).fetchall()
    numbers = [row[0] for row in rows]
    done = threading.Event()
    with psycopg.connect(server.info.dsn, password=server.info.password, autocommit=True) as second:
        thread = threading.Thread(target=_end_sessions, args=(second, numbers, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _end_sessions(connection: Connection, databases: list[int], done: threading.Event) -> None:
    import psycopg

    with contextlib.suppress(psycopg.OperationalError):  # the server went away: the rename says so
        while not done.wait(TERMINATE_EVERY_S):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datid = ANY(%s) AND pid <> pg_backend_pid()",
                (databases,),
            )
