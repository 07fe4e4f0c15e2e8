"""Connections through Google's Cloud SQL connector, which brings TLS and, where no password is set, IAM logins.

Needs the extra `connector`. Not run against a real Cloud SQL: its tests put a stand-in under the library.
"""

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

from db import async_connection, sync_connection
from db.errors import DatabaseError, SettingsError
from db.settings import Settings
from db.translate import connect_error

if TYPE_CHECKING:
    from google.cloud.sql.connector import Connector


class _Loop:
    """An event loop on a thread of its own. The library makes one as well, but leaves it open, whatever happens."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="cloud sql connector", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End both."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class CloudSqlConnector:
    """One connector of the library: for one event loop, or for threads. Made with the first connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: Connector | None = None
        self._aside: _Loop | None = None
        """What the connector for threads runs on."""
        self._making = threading.Lock()

    async def connect(self) -> async_connection.AsyncConnection:
        """A connection with asyncpg; raises Unreachable or LoginRefused."""
        settings = self._settings
        try:
            connector = self._connector(asyncio.get_running_loop())
            made = await connector.connect_async(
                cast(str, settings.instance),
                "asyncpg",
                **self._login("database"),
                **async_connection.arguments(settings),
            )
            return await async_connection.ready(made, settings)
        except DatabaseError:
            raise
        except Exception as error:  # the library's, Google's, aiohttp's and asyncpg's have no base in common
            raise connect_error(error, settings) from error

    def connect_sync(self, **more: Any) -> sync_connection.SyncConnection:
        """A connection with psycopg; raises Unreachable or LoginRefused. `more` is SQLAlchemy's."""
        settings = self._settings
        given = sync_connection.arguments(settings)
        given.pop("connect_timeout")  # the library sets it
        try:
            connector = self._connector_of_threads()
            made = connector.connect(cast(str, settings.instance), "psycopg", **self._login("db"), **given, **more)
        except DatabaseError:
            raise
        except Exception as error:
            raise connect_error(error, settings) from error
        # The library calls psycopg.connect, which asks for no class; ours adds methods and no state of C.
        made.__class__ = sync_connection.SyncConnection
        return cast(sync_connection.SyncConnection, made)

    async def aclose(self) -> None:
        """End the refreshing of certificates."""
        if self._made is not None:
            made, self._made = self._made, None
            await made.close_async()

    def close(self) -> None:
        """The same, for threads."""
        with self._making:
            made, self._made = self._made, None
            aside, self._aside = self._aside, None
        if made is not None:
            made.close()
        if aside is not None:
            aside.close()

    def _login(self, database: str) -> dict[str, Any]:
        settings = self._settings
        login = {"user": settings.user, database: settings.database, "ip_type": settings.ip_type}
        if not settings.password:
            return {**login, "enable_iam_auth": True}
        return {**login, "password": settings.password, "timeout": round(settings.connect_timeout_s)}

    def _connector_of_threads(self) -> "Connector":
        with self._making:
            if self._aside is None:
                self._aside = _Loop()
            return self._connector(self._aside.loop)

    def _connector(self, loop: asyncio.AbstractEventLoop) -> "Connector":
        if self._made is None:
            try:
                from google.cloud.sql.connector import Connector, RefreshStrategy
            except ImportError:
                raise SettingsError(
                    "DATABASE_CONNECTOR: cloudsql needs Google's library; install gaia-db[connector]"
                ) from None
            # Lazily: Cloud Run gives no CPU to a refresh between requests.
            self._made = Connector(loop=loop, refresh_strategy=RefreshStrategy.LAZY)
        return self._made
