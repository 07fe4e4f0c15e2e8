"""One connection with psycopg: made from the settings, begun with an identity, never committed half."""

import select
from typing import Any

import psycopg
from psycopg.errors import InFailedSqlTransaction
from psycopg.pq import ExecStatus, TransactionStatus

from db import hosts, tls
from db.begin import opening
from db.errors import DatabaseError, Unreachable
from db.settings import Settings
from db.translate import connect_error

HIDDEN_BYTES = b"SELECT pg_size_bytes(current_setting('track_activity_query_size'))"


class SyncConnection(psycopg.Connection[tuple[Any, ...]]):
    """A psycopg connection that can begin a transaction together with its identity."""

    in_read_only_session: bool = False
    """The transaction that is on may write nothing."""
    committing: bool = False
    """COMMIT has been sent and not been answered."""
    hidden_bytes: int | None = None
    """How much of a query others see in pg_stat_activity; None until it is asked for."""

    def begin(self, token: str | None, *, read_only: bool = False) -> None:
        """Begin a transaction for the user of `token` or for nobody, in one round trip; psycopg takes note."""
        if token is not None and self.hidden_bytes is None:
            self.hidden_bytes = int(self.ask(HIDDEN_BYTES) or 0)
        self.in_read_only_session = read_only
        self.ask(opening(_begin(self), token, self.hidden_bytes or 0, read_only=read_only).encode("ascii"))

    def commit(self) -> None:
        """As psycopg's, but a transaction in which a statement failed is an error, not a silent rollback."""
        if self.pgconn.transaction_status == TransactionStatus.INERROR:
            self.rollback()  # after a commit that failed nobody else does
            raise InFailedSqlTransaction("a COMMIT would be answered with ROLLBACK")
        self.committing = True
        super().commit()
        self.committing = False

    def fresh(self) -> bool:
        """Whether it can be used by another session: it is open, idle, and the server has said nothing.

        What a server says unasked is that it ends.
        """
        self.committing = False
        if self.closed or self.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)

    def on_standby(self) -> bool:
        """Whether its server is a standby, as that said by itself."""
        return self.pgconn.parameter_status(b"in_hot_standby") == b"on"

    def ask(self, query: bytes) -> bytes | None:
        """The first value of the last result. Below psycopg's cursors, which would begin a transaction before it."""
        result = self.pgconn.exec_(query)
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise psycopg.errors.error_from_result(result)
        return result.get_value(0, 0) if result.status == ExecStatus.TUPLES_OK else None


def connect(settings: Settings, **more: Any) -> SyncConnection:
    """A new connection; with several hosts to the one that takes writes. `more` is psycopg's.

    Raises Unreachable or LoginRefused.
    """
    failures: list[DatabaseError] = []
    for one in hosts.in_order(settings):
        try:
            made = _connect(one, more)
        except Unreachable as error:
            failures.append(error)
            continue
        if not settings.writable or not made.on_standby():
            hosts.remember(settings, one)
            return made
        made.close()
    raise hosts.none_of(settings, failures)


def _connect(settings: Settings, more: dict[str, Any]) -> SyncConnection:
    try:
        return SyncConnection.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password or None,
            dbname=settings.database,
            gssencmode="disable",
            **tls.arguments(settings),
            **arguments(settings),
            **more,
        )
    except psycopg.Error as error:
        raise connect_error(error, settings) from error


def arguments(settings: Settings) -> dict[str, Any]:
    """What every connection is made with, however it gets to the server."""
    return {
        "application_name": settings.application_name,
        "connect_timeout": max(2, round(settings.connect_timeout_s)),  # libpq takes 1 for 2
        "options": f"-c statement_timeout={round(settings.statement_timeout_s * 1000)}",
    }


def _begin(connection: SyncConnection) -> str:
    """BEGIN with what SQLAlchemy set on the connection."""
    level, read_only, deferrable = connection.isolation_level, connection.read_only, connection.deferrable
    words = [
        "BEGIN",
        f"ISOLATION LEVEL {level.name.replace('_', ' ')}" if level is not None else "",
        "" if read_only is None else "READ ONLY" if read_only else "READ WRITE",
        "" if deferrable is None else "DEFERRABLE" if deferrable else "NOT DEFERRABLE",
    ]
    return " ".join(filter(None, words))
