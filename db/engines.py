"""SQLAlchemy's engines, as the settings want them: pools, errors, and what every connection is checked for."""

import weakref
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import create_engine, event, exc
from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from db import async_connection, sync_connection
from db.async_connection import AsyncConnection
from db.errors import NotPrimary, PoolExhausted
from db.settings import Pool, Settings
from db.sync_connection import SyncConnection
from db.translate import statement_error


class SyncPool(QueuePool):
    """SQLAlchemy's pool, with an error of ours when it is empty."""

    def connect(self) -> Any:
        """A connection; raises PoolExhausted."""
        try:
            return super().connect()
        except exc.TimeoutError as error:
            raise _exhausted(self, "DATABASE_SYNC_POOL") from error


class AsyncPool(AsyncAdaptedQueuePool):
    """The same for asyncpg."""

    def connect(self) -> Any:
        """A connection; raises PoolExhausted."""
        try:
            return super().connect()
        except exc.TimeoutError as error:
            raise _exhausted(self, "DATABASE_POOL") from error


@dataclass(frozen=True, eq=False)
class Async:
    """An engine of asyncpg; it belongs to the event loop in which it was made."""

    engine: AsyncEngine
    open: "weakref.WeakSet[AsyncConnection]" = field(default_factory=weakref.WeakSet)
    """Its connections, those in use too."""
    connector: Any = None

    @property
    def pool(self) -> QueuePool:
        """Its pool, for figures."""
        return cast(QueuePool, self.engine.pool)

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        await self.engine.dispose()
        for connection in list(self.open):
            connection.terminate()
        if self.connector is not None:
            await self.connector.aclose()

    def abandon(self) -> None:
        """Hang up, without its event loop."""
        for connection in list(self.open):
            connection.abandon()


@dataclass(frozen=True, eq=False)
class Sync:
    """An engine of psycopg, for all threads of this process."""

    engine: Engine
    open: "weakref.WeakSet[SyncConnection]" = field(default_factory=weakref.WeakSet)
    connector: Any = None

    @property
    def pool(self) -> QueuePool:
        """Its pool, for figures."""
        return cast(QueuePool, self.engine.pool)

    def close(self) -> None:
        """Close every connection, those in use too."""
        self.engine.dispose()
        for connection in list(self.open):
            connection.close()
        if self.connector is not None:
            self.connector.close()


def make_async(settings: Settings) -> Async:
    """An engine for the running event loop; connects to nothing yet."""
    connector = _connector(settings)

    async def connect() -> AsyncConnection:
        connection = await (connector.connect() if connector else async_connection.connect(settings))
        made.open.add(connection)
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=AsyncPool, **_options(settings, settings.async_pool)
    )
    made = Async(engine, connector=connector)
    _watch(engine.sync_engine, settings)
    return made


def make_sync(settings: Settings) -> Sync:
    """An engine for this process; connects to nothing yet."""
    connector = _connector(settings)
    engine = create_engine(
        "postgresql+psycopg://",
        poolclass=SyncPool,
        use_native_hstore=False,  # saves a round trip
        **_options(settings, settings.sync_pool),
    )
    made = Sync(engine, connector=connector)

    # Not `creator`, which isn't given the adapters that SQLAlchemy wants on the connection.
    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _arguments: Any, more: dict[str, Any]) -> SyncConnection:
        adapters = {name: more[name] for name in ("context",) if name in more}
        connection = connector.connect_sync(**adapters) if connector else sync_connection.connect(settings, **adapters)
        made.open.add(connection)
        return connection

    _watch(engine, settings)
    return made


def _options(settings: Settings, pool: Pool) -> dict[str, Any]:
    return {
        "pool_size": pool.size,
        "max_overflow": pool.overflow,
        "pool_timeout": pool.timeout_s,
        "pool_recycle": pool.recycle_s,
        "echo": settings.echo,
        # Parameters hold addresses, hashes, messages: they are in no error's text, and in the log only if asked for.
        "hide_parameters": not settings.echo,
    }


def _watch(engine: Engine, settings: Settings) -> None:
    @event.listens_for(engine, "checkout")
    def require_fresh(connection: Any, _record: Any, _fairy: Any) -> None:
        # Instead of pool_pre_ping, which is a round trip for every session: a server that ended has said so already.
        if not _driver(connection).fresh():
            raise exc.DisconnectionError("the server closed this connection")

    @event.listens_for(engine, "handle_error", retval=True)
    def translate(context: ExceptionContext) -> BaseException | None:
        error = context.original_exception
        if not isinstance(error, Exception):  # a cancelled task
            return None
        used = context.connection.connection.dbapi_connection if context.connection is not None else None
        driver = _driver(used) if used is not None else None
        if driver is not None and _gone(driver):
            context.is_disconnect = True  # an OSError doesn't say so by itself
        if driver is None:
            return statement_error(error, settings, lost=context.is_disconnect)
        found = statement_error(
            error,
            settings,
            lost=context.is_disconnect,
            committing=driver.committing,
            read_only=driver.in_read_only_session,
            standby=driver.on_standby(),
        )
        if isinstance(found, NotPrimary):
            context.is_disconnect = True  # the pool's other connections lead to the same server
        return found


def _driver(connection: Any) -> Any:
    """The driver's own connection: asyncpg's is wrapped by SQLAlchemy, psycopg's isn't."""
    return getattr(connection, "driver_connection", connection)


def _gone(driver: Any) -> bool:
    return driver.is_closed() if isinstance(driver, AsyncConnection) else driver.closed


def _connector(settings: Settings) -> Any:
    if settings.connector == "none":
        return None
    from db.cloudsql import CloudSqlConnector

    return CloudSqlConnector(settings)


def _exhausted(pool: QueuePool, variable: str) -> PoolExhausted:
    return PoolExhausted(
        f"all {pool.size()} connections of the pool (and {max(pool._max_overflow, 0)} beyond) are in use and none came"
        f" back within {pool.timeout():g} s: close sessions sooner, or raise {variable}_SIZE or {variable}_OVERFLOW"
    )
