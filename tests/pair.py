"""A primary and its standby for tests, made by what ``up`` makes them with; both are removed afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg

from infra.local import postgres, replication
from infra.local.replication import Pair
from tests.clone import free_port

SUPERUSER = "gaia"
DATABASE = "gaia"
FAST = {"shared_buffers": "16MB", "max_connections": "30", "autovacuum": "off", "max_wal_size": "64MB"}


def ports() -> tuple[int, int]:
    """Two ports that nobody listens on."""
    first, second = free_port(), free_port()
    return (first, second) if first != second else ports()


@dataclass(frozen=True, kw_only=True)
class EmbeddedPair(Pair):
    """A pair of embedded servers."""

    primary: postgres.Server

    @property
    def standby(self) -> postgres.Server:
        return self.primary.beside()


@contextlib.contextmanager
def paired(*, synchronous: bool = False) -> Iterator[EmbeddedPair]:
    """A primary with a table ``t (id int primary key)``, and a standby that streams."""
    folder = Path(tempfile.mkdtemp(prefix="gaia-pair-"))
    folder.chmod(0o711)
    port, standby_port = ports()
    fixed = {"listen_addresses": postgres.ADDRESS, "unix_socket_directories": "", "wal_log_hints": "on", **FAST}
    pair = EmbeddedPair(
        primary=postgres.locate(folder / "data" / "local"),
        superuser=SUPERUSER,
        password=secrets.token_hex(16),
        replication_password=f"p:\\{secrets.token_hex(16)}",
        primary_parameters={**fixed, "port": str(port)},
        parameters={**fixed, "port": str(standby_port)},
        synchronous=synchronous,
        timeout_s=60,
    )
    try:
        create(pair)
        with session(pair) as connection:
            connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
        replication.follow(pair)
        yield pair
    finally:
        for server in (pair.standby, pair.primary):
            postgres.end_orphans(server)
            postgres.remove(server)
        shutil.rmtree(folder, ignore_errors=True)


def create(pair: EmbeddedPair) -> None:
    """Make the primary, or take it over."""
    postgres.create(
        pair.primary,
        superuser=pair.superuser,
        password=pair.password,
        database=DATABASE,
        parameters=pair.primary_parameters,
        timeout_s=60,
    )


def session(pair: Pair, *, standby: bool = False) -> psycopg.Connection[tuple[Any, ...]]:
    """An ordinary session with either server."""
    port = pair.port if standby else pair.primary_port
    return psycopg.connect(
        host=postgres.ADDRESS,
        port=port,
        user=pair.superuser,
        password=pair.password,
        dbname=DATABASE,
        autocommit=True,
        connect_timeout=10,
    )


def asked(pair: Pair, query: str, *, standby: bool = False) -> Any:
    """The first value that a query gives."""
    with session(pair, standby=standby) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def kill(server: postgres.Server) -> None:
    """``kill -9`` of a server's main process."""
    process = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
    os.kill(process.pid, signal.SIGKILL)
    postgres.ended(process, 10)


def receiver(pair: Pair) -> psutil.Process:
    """The process of the standby that takes what its primary sends."""
    return psutil.Process(asked(pair, "SELECT pid FROM pg_stat_wal_receiver", standby=True))


def caught_up(pair: Pair) -> None:
    """Wait until the standby has told its primary that it has all there is, on disk."""
    has = "SELECT coalesce(bool_and(flush_lsn >= pg_current_wal_flush_lsn()), false) FROM pg_stat_replication"
    deadline = time.monotonic() + 60
    while not asked(pair, has):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def changed(pair: EmbeddedPair, **parameters: str) -> EmbeddedPair:
    """The same servers with other parameters."""
    return replace(
        pair,
        primary_parameters={**pair.primary_parameters, **parameters},
        parameters={**pair.parameters, **parameters},
    )
