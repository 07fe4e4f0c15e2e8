"""One connection with asyncpg: made from the settings, begun with an identity, never committed half."""

import socket
from typing import Any, cast

import asyncpg

from db import hosts, tls
from db.begin import opening
from db.errors import DatabaseError, Unreachable
from db.settings import Settings
from db.translate import connect_error

HIDDEN_BYTES = "SELECT pg_size_bytes(current_setting('track_activity_query_size'))::int"


class AsyncConnection(asyncpg.Connection):
    """An asyncpg connection that carries a waiting identity along with BEGIN."""

    identity: str | None = None
    """The token for the next transaction; BEGIN takes it away."""
    in_read_only_session: bool = False
    """The next transaction, and the one that is on, may write nothing."""
    committing: bool = False
    """COMMIT has been sent and not been answered."""
    hidden_bytes: int = 0
    """How much of a query others see in pg_stat_activity."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As asyncpg's, which begins and ends transactions with it."""
        if args or not query.startswith(("BEGIN", "COMMIT")):
            return await super().execute(query, *args, timeout=timeout)
        if query.startswith("COMMIT"):
            return await self._commit(query, timeout)
        query = opening(query, self.identity, self.hidden_bytes, read_only=self.in_read_only_session)
        self.identity = None
        return await super().execute(query, timeout=timeout)

    async def _commit(self, query: str, timeout: float | None) -> str:
        self.committing = True
        status = await super().execute(query, timeout=timeout)
        self.committing = False
        if status == "ROLLBACK":  # which is how PostgreSQL answers after a failed statement, without an error
            raise asyncpg.InFailedSQLTransactionError("COMMIT was answered with ROLLBACK")
        return status

    async def learn_hidden_bytes(self) -> None:
        """Ask the server; once, before the first identity."""
        self.hidden_bytes = int(await self.fetchval(HIDDEN_BYTES) or 0)

    def fresh(self) -> bool:
        """Whether it can be used by another session, of which it knows nothing yet."""
        self.identity, self.in_read_only_session, self.committing = None, False, False
        return not self.is_closed() and not self.is_in_transaction()

    def on_standby(self) -> bool:
        """Whether its server is a standby, as that said by itself."""
        return getattr(self.get_settings(), "in_hot_standby", "off") == "on"

    def abandon(self) -> None:
        """Hang up without the event loop, which may be closed."""
        transport = getattr(self, "_transport", None)  # asyncpg gives no way to it
        sock = transport.get_extra_info("socket") if transport is not None else None
        if sock is not None and sock.fileno() >= 0:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


async def connect(settings: Settings) -> AsyncConnection:
    """A new connection; with several hosts to the one that takes writes. Raises Unreachable or LoginRefused."""
    failures: list[DatabaseError] = []
    for one in hosts.in_order(settings):
        try:
            made = await _connect(one)
        except Unreachable as error:
            failures.append(error)
            continue
        if not settings.writable or not made.on_standby():
            hosts.remember(settings, one)
            return made
        made.terminate()
    raise hosts.none_of(settings, failures)


async def _connect(settings: Settings) -> AsyncConnection:
    try:
        made = await asyncpg.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password or None,
            database=settings.database,
            ssl=tls.context(settings),
            timeout=cast(int, settings.connect_timeout_s),  # its stub says int; half seconds are fine
            **arguments(settings),
        )
        return await ready(made, settings)
    except DatabaseError:
        raise
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise connect_error(error, settings) from error


async def ready(made: Any, settings: Settings) -> AsyncConnection:
    """The connection as asyncpg or a connector made it, once it knows what it must."""
    if settings.identity_keys:
        await made.learn_hidden_bytes()
    return made


def arguments(settings: Settings) -> dict[str, Any]:
    """What every connection is made with, however it gets to the server."""
    timeout_ms = str(round(settings.statement_timeout_s * 1000))
    return {
        "connection_class": AsyncConnection,
        "server_settings": {"application_name": settings.application_name, "statement_timeout": timeout_ms},
    }
