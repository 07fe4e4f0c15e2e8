"""A primary and a standby that follows it, with the two people of db_world in them."""

import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from db.manager import DatabaseManager
from migrations import bootstrap
from tests import postgres
from tests.integration.db_world import FILL, World
from tests.postgres import IDENTITY_KEY, PASSWORDS, Database, Server

NAME = "gaia_followed"
SOURCE = "ALTER SYSTEM SET primary_conninfo = '{}'"
STANDBY = "SELECT pg_is_in_recovery()"


class Pair(World):
    """Both servers, and managers that know them."""

    def __init__(self, database: Database, standby: Server) -> None:
        super().__init__(database)
        self.primary, self.standby = database.server, standby

    def reading(self, user: str = "gaia_app", **more: str) -> DatabaseManager:
        """A manager that has the standby as its replica."""
        return self.manager(user, **{"DATABASE_REPLICA_URL": self.standby.url(NAME, user), **more})

    def at_standby(self, statement: str) -> object:
        """The one value of a statement that the superuser runs there."""
        return one(self.standby.url(NAME), statement)

    def at_primary(self, statement: str) -> object:
        """The same, at the primary."""
        return one(self.database.url, statement)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The standby replays nothing meanwhile."""
        self.at_standby("SELECT pg_wal_replay_pause()")
        try:
            while self.at_standby("SELECT pg_get_wal_replay_pause_state()") != "paused":
                time.sleep(0.01)
            yield
        finally:
            self.at_standby("SELECT pg_wal_replay_resume()")
            self.catch_up()

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """The standby receives nothing meanwhile."""
        with psycopg.connect(self.standby.url(), autocommit=True) as connection:
            connection.execute(b"ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute(b"SELECT pg_reload_conf()")
            while self.at_standby("SELECT count(*) FROM pg_stat_wal_receiver"):
                time.sleep(0.01)
            try:
                yield
            finally:
                connection.execute(SOURCE.format(self.primary.url()).encode())
                connection.execute(b"SELECT pg_reload_conf()")
                self.catch_up()

    def warm(self, manager: DatabaseManager) -> None:
        """Wait until the standby serves what `manager` reads."""

        def served() -> object:
            with manager.get_sync_session(read_only=True) as session:
                return session.scalar(STANDBY)

        assert eventually(served), manager.check_sync()

    def catch_up(self) -> None:
        """Wait until the standby shows all that the primary has."""
        end = self.at_primary("SELECT pg_switch_wal()")
        while not self.at_standby(f"SELECT pg_last_wal_replay_lsn() >= '{end}'"):
            time.sleep(0.01)


def eventually(true: Callable[[], object], within_s: float = 20) -> bool:
    """Whether it becomes true: on a machine with much to do a replica gets late."""
    ends_at = time.monotonic() + within_s
    while not (found := true()) and time.monotonic() < ends_at:
        time.sleep(0.02)
    return bool(found)


def one(url: str, statement: str) -> object:
    """The one value of `statement`."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


@contextmanager
def followed() -> Iterator[tuple[Database, Server]]:
    """A primary at head and its standby, both new."""
    with postgres.running(synchronous_commit="on") as primary, standby_of(primary) as standby:
        database = primary.create(NAME)
        bootstrap.apply(database.url, passwords=PASSWORDS, identity_keys=[IDENTITY_KEY])
        with database.connect() as connection:
            connection.execute(FILL.encode())
        Pair(database, standby).catch_up()
        yield database, standby


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """A server that streams from `primary`; stopped and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=primary.folder.parent))
    data = folder / "data"
    try:
        postgres._record(folder)
        if (user := postgres._server_user()) is not None:
            folder.chmod(0o711)
            data.mkdir(mode=0o700)
            os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        postgres._run_as_server(
            [
                str(primary.binaries / "pg_basebackup"),
                f"--pgdata={data}",
                f"--dbname={primary.url()}",
                *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
            ]
        )
        yield start(primary, folder)
    finally:
        postgres._stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


def start(primary: Server, folder: Path) -> Server:
    """Run the server whose data lie in `folder`."""
    for _ in range(5):
        port = postgres._free_port()
        if postgres._serve(primary.binaries, folder, folder / "data", port, {}):
            return Server(port=port, password=primary.password, folder=folder, binaries=primary.binaries)
    raise RuntimeError((folder / "log").read_text()[-2000:])


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Database, Server]]:
    """The primary's database and the standby, for a module."""
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with followed() as both:
        yield both


@pytest.fixture
def pair(servers: tuple[Database, Server]) -> Iterator[Pair]:
    """Both, for one test."""
    made = Pair(*servers)
    yield made
    made.close()
