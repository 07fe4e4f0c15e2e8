"""A server's place in the log, asked for by a thread of its own, so that no session and no event loop waits for it."""

import math
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from db import sync_connection
from db.errors import DatabaseError
from db.settings import Settings
from db.sync_connection import SyncConnection
from db.translate import reason
from db.wal import Look, record_end

ASK = b"""SELECT CASE WHEN pg_is_in_recovery()
THEN concat_ws(' ', 1, coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0', 0, 1)
ELSE concat_ws(' ', 0, pg_current_wal_flush_lsn() - '0/0', pg_current_wal_insert_lsn() - '0/0',
    pg_size_bytes(current_setting('wal_segment_size'))) END"""
SPACING_S = 0.001
"""Between two looks, however many sessions wait for one."""
SILENCE_MS = 3000
"""A server that acknowledges nothing for so long is taken for gone."""
END_WAIT_S = 5


class Watch:
    """Looks at one server when somebody wants it. Its connection is its own: a full pool doesn't blind it."""

    def __init__(self, settings: Settings, seen: Callable[[Look], None] = lambda _: None) -> None:
        """`seen` is told of each look, in the thread. The thread begins with the first wish."""
        self.settings = settings
        self.last: Look | None = None
        self.failure: str | None = None
        """Why the last look failed; None if it didn't."""
        self.failed_at = -math.inf
        self._seen = seen
        self._wanted = self._began = -math.inf
        self._wake = threading.Condition()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._connection: SyncConnection | None = None
        self._connector: Any = None

    def want(self, since: float) -> None:
        """See to a look that begins at `since` (by time.monotonic()) or later; returns at once."""
        if since <= self._wanted:
            return
        with self._wake:
            if self._ended:
                return
            self._wanted = max(self._wanted, since)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"look at {self.settings.host}", daemon=True)
                self._thread.start()
            self._wake.notify()

    @property
    def pending(self) -> bool:
        """Whether a look is wanted that hasn't been answered."""
        return max(self.last.at if self.last else -math.inf, self.failed_at) < self._wanted

    def silent_s(self, now: float) -> float:
        """How long a look has been waiting for its answer."""
        return now - self._wanted if self.pending else 0

    def fail(self, why: str) -> None:
        """It doesn't serve, as somebody else found out."""
        self.failure, self.failed_at = why, time.monotonic()

    def close(self) -> None:
        """End the thread and its connection, even in the middle of a look."""
        with self._wake:
            self._ended = True
            self._wake.notify()
        if (used := self._connection) is not None:
            _hang_up(used)
        if self._thread is not None:
            self._thread.join(END_WAIT_S)

    def _run(self) -> None:
        try:
            while self._next():
                self._began = time.monotonic()
                try:
                    look = self._look()
                    self._seen(look)
                    self.last, self.failure = look, None
                except (DatabaseError, psycopg.Error, OSError, ValueError) as error:
                    self.fail(reason(error, self.settings))
                time.sleep(SPACING_S)
        finally:
            self._drop()
            if self._connector is not None:
                self._connector.close()

    def _next(self) -> bool:
        """Wait for a wish; false when it's over."""
        with self._wake:
            while not self._ended and self._wanted <= self._began:
                self._wake.wait()
            return not self._ended

    def _look(self) -> Look:
        if self._connection is not None:
            with suppress(psycopg.Error, OSError):  # it may have ended long ago
                return self._ask(self._connection)
            self._drop()
        self._connection = self._connect()
        return self._ask(self._connection)

    def _ask(self, connection: SyncConnection) -> Look:
        at = time.monotonic()
        standby, lsn, inserted, segment_bytes = map(int, (connection.ask(ASK) or b"").split())
        return Look(at, bool(standby), lsn, record_end(inserted, segment_bytes))

    def _connect(self) -> SyncConnection:
        if self.settings.connector == "none":
            return sync_connection.connect(self.settings, tcp_user_timeout=SILENCE_MS)
        if self._connector is None:
            from db.cloudsql import CloudSqlConnector

            self._connector = CloudSqlConnector(self.settings)
        return self._connector.connect_sync()

    def _drop(self) -> None:
        used, self._connection = self._connection, None
        if used is not None:
            used.close()


def _hang_up(connection: SyncConnection) -> None:
    """End what another thread waits for."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
