"""The servers behind Cloud SQL's instances, without HTTP: what is real of them, and that nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest

from rehearsal.sql import inside, tiers
from rehearsal.sql.errors import OperationFailed, Refused
from rehearsal.sql.servers import Servers

pytestmark = [pytest.mark.postgres, pytest.mark.xdist_group("sql-servers")]

SMALL = tiers.tier("db-g1-small", "ENTERPRISE")
FLAGS = {"max_connections": "50", "pgaudit.log": "ddl,role", "shared_buffers": "16384"}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    made = Servers()
    try:
        made.create("db", "p:r:db", flags=FLAGS, tier=SMALL, archives=True, password="of-postgres")
        inside.make_database(made["db"], "gaia")
        inside.make_user(made["db"], "ada", password="of-ada")
        yield made
    finally:
        made.close()


def login(servers: Servers, name: str, user: str = "ada", database: str = "gaia") -> psycopg.Connection[tuple[object]]:
    host = str(servers.sockets / f"p:r:{name}")
    return psycopg.connect(host=host, user=user, password=f"of-{user}", dbname=database, autocommit=True)


def one(servers: Servers, name: str, query: str) -> object:
    with servers[name].session("gaia") as session:
        row = session.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_flags_are_the_servers_parameters_and_those_of_extensions_can_be_shown(servers: Servers) -> None:
    with login(servers, "db") as session:
        shown = [session.execute(f"SHOW {name}".encode()).fetchone() for name in FLAGS]
    assert shown == [("50",), ("ddl,role",), ("128MB",)]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"shared_buffers": "128MB"}, "invalidFlagValue"),
        ({"shared_buffers": "140000"}, "invalidFlagValue"),  # 1.07 of 1.7 GB: more than 60 %
        ({"max_connections": "13"}, "invalidFlagValue"),
        ({"log_statement": "DDL"}, "invalidFlagValue"),
        ({"log_connections": "true"}, "invalidFlagValue"),
        ({"pgaudit.log": "everything"}, "invalidFlagValue"),
        ({"fsync": "off"}, "invalidFlagName"),
        ({"wal_level": "logical"}, "invalidFlagName"),
        ({"nonsense": "1"}, "invalidFlagName"),
    ],
)
def test_a_flag_that_cloud_sql_has_not_or_a_value_in_another_unit_is_refused(
    servers: Servers, flags: dict[str, str], reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        servers.check(flags, SMALL)
    assert refused.value.reason == reason


def test_nobody_who_comes_through_the_api_is_a_superuser(servers: Servers) -> None:
    rights = "rolsuper, rolreplication, rolbypassrls, rolcreaterole, rolcreatedb"
    for user in ("postgres", "ada"):
        with login(servers, "db", user) as session:
            row = session.execute(f"SELECT {rights} FROM pg_roles WHERE rolname = current_user".encode()).fetchone()
            assert row == (False, False, False, True, True)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("SELECT pg_read_file('postgresql.conf')")
    assert [user.roles for user in inside.users(servers["db"])] == [("cloudsqlsuperuser",)] * 2


def test_a_user_with_roles_of_its_own_gets_none_of_cloudsqlsuperuser(servers: Servers) -> None:
    with login(servers, "db") as session:
        session.execute("CREATE ROLE plain")
    inside.make_user(servers["db"], "eve", password="of-eve", roles=["plain"])
    with login(servers, "db", "eve") as session:
        row = session.execute("SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row == (False,)
    inside.drop_user(servers["db"], "eve")
    with pytest.raises(OperationFailed, match="does not exist"):
        inside.make_user(servers["db"], "eve", roles=["nobody_made_this"])


def test_a_user_that_owns_something_and_a_database_in_use_stay(servers: Servers) -> None:
    with login(servers, "db") as session:
        session.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        with pytest.raises(Refused, match=r"cannot be dropped because some objects depend on it Details: .*gaia"):
            inside.drop_user(servers["db"], "ada")
        with pytest.raises(Refused, match="is being accessed by other users"):
            inside.drop_database(servers["db"], "gaia")
        session.execute("CREATE DATABASE hers")
    with pytest.raises(Refused, match="must be owner of database hers"):
        inside.drop_database(servers["db"], "hers")


def test_a_replica_streams_and_is_promoted_when_its_primary_is_lost(servers: Servers) -> None:
    servers.create("one", "p:r:one", flags=FLAGS, tier=SMALL, archives=False)
    inside.make_database(servers["one"], "gaia")
    servers.replicate("two", "p:r:two", of="one", flags=FLAGS, tier=SMALL)
    with servers["one"].session("gaia") as session:
        session.execute("CREATE TABLE seen AS SELECT 1 AS number")
    wait_for(lambda: one(servers, "two", "SELECT to_regclass('seen') IS NOT NULL") is True)
    with servers["two"].session("gaia") as session, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        session.execute("INSERT INTO seen VALUES (2)")
    servers.lose("one")
    with pytest.raises(OperationFailed):
        servers["one"].session()
    servers.promote("two")
    with servers["two"].session("gaia") as session:
        session.execute("INSERT INTO seen VALUES (2)")
    servers.delete("two")
    servers.delete("one")
    assert not (servers.sockets / "p:r:two").exists()


def test_a_backup_gives_back_what_was_there_and_a_clone_any_moment(servers: Servers) -> None:
    with servers["db"].session("gaia") as session:
        session.execute("CREATE TABLE told (word text)")
        session.execute("INSERT INTO told VALUES ('first')")
        backup = servers.back_up("db")
        session.execute("INSERT INTO told VALUES ('second')")
        moment = after_now()
        session.execute("DELETE FROM told")
    words = "SELECT coalesce(string_agg(word, ' ' ORDER BY word), '') FROM told"
    servers.clone("then", "p:r:then", of="db", flags=FLAGS, tier=SMALL, at=moment)
    assert (one(servers, "then", words), one(servers, "db", words)) == ("first second", "")
    servers.restore("then", backup.id)
    assert one(servers, "then", words) == "first"
    with servers["then"].session("gaia") as session:
        session.execute("INSERT INTO told VALUES ('writable')")
    early = datetime.now(UTC) - timedelta(days=1)
    with pytest.raises(Refused, match="before the earliest one"):
        servers.clone("never", "p:r:never", of="db", flags=FLAGS, tier=SMALL, at=early)
    servers.delete("then")


def test_a_moment_can_be_had_without_a_backup_and_with_fewer_connections_than_there_were(servers: Servers) -> None:
    more = {**FLAGS, "max_connections": "90"}
    servers.create("young", "p:r:young", flags=more, tier=SMALL, archives=True)
    inside.make_database(servers["young"], "gaia")
    with servers["young"].session("gaia") as session:
        session.execute("CREATE TABLE told AS SELECT 'first' AS word")
        moment = after_now()
        session.execute("DROP TABLE told")
    servers.change("young", flags=FLAGS, before=more, tier=SMALL, archives=True, restart=False)
    servers.clone("younger", "p:r:younger", of="young", flags=FLAGS, tier=SMALL, at=moment)
    assert one(servers, "younger", "SELECT word FROM told") == "first"
    assert one(servers, "younger", "SHOW max_connections") == "50"
    for name in ("young", "younger"):
        servers.delete(name)


def test_only_what_needs_a_restart_gets_one(servers: Servers) -> None:
    born = "SELECT pg_postmaster_start_time()"
    before, more = one(servers, "db", born), {**FLAGS, "work_mem": "8192"}
    assert servers.change("db", flags=more, before=FLAGS, tier=SMALL, archives=True, restart=False) == []
    assert one(servers, "db", born) == before
    wait_for(lambda: one(servers, "db", "SHOW work_mem") == "8MB")
    wider = {**more, "max_connections": "60"}
    why = servers.change("db", flags=wider, before=more, tier=SMALL, archives=True, restart=False)
    assert why == ["max_connections"] and one(servers, "db", born) != before
    servers.change("db", flags=FLAGS, before=wider, tier=SMALL, archives=True, restart=True)


def test_a_server_that_cannot_start_with_new_flags_goes_on_with_the_old_ones(servers: Servers) -> None:
    too_many = {**FLAGS, "max_connections": "262143", "max_locks_per_transaction": "2147483647"}
    with pytest.raises(OperationFailed, match="did not start"):
        servers.change("db", flags=too_many, before=FLAGS, tier=SMALL, archives=True, restart=False)
    assert one(servers, "db", "SHOW max_connections") == "50"


def test_nothing_is_left_of_a_cloud_that_was_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = (
        "import sys, time, pathlib\n"
        "from rehearsal.sql import tiers\n"
        "from rehearsal.sql.servers import Servers\n"
        "servers = Servers()\n"
        "servers.create('db', 'p:r:db', flags={}, tier=tiers.tier('db-f1-micro', 'ENTERPRISE'), archives=False)\n"
        "pathlib.Path(sys.argv[1] + '.new').write_text(str(servers.folder))\n"
        "pathlib.Path(sys.argv[1] + '.new').rename(sys.argv[1])\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", program, told], cwd=root, env={**os.environ, "PYTHONPATH": "."})
    try:
        wait_for(told.exists)
        folder = Path(told.read_text())
        assert working_in(folder)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_for(lambda: not folder.exists() and not working_in(folder))


def working_in(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(f"{folder}"):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def after_now() -> datetime:
    """A moment that nothing was written in just before or after."""
    time.sleep(0.05)
    moment = datetime.now(UTC)
    time.sleep(0.05)
    return moment


def wait_for(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
