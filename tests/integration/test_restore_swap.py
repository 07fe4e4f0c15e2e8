"""Two databases change names in one step, whoever is connected, and nothing that hangs on the name is lost."""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from backup import databases
from backup import swap as swapping
from backup.errors import BackupBusy, RestoreFailed
from backup.swap import swap
from tests.postgres import Database, Server

pytestmark = pytest.mark.postgres

CLIENTS, SWAPS = 20, 4
RECONNECT = {"57P01", "3D000"}
"""What a client may be told in that moment: its session was ended; the database was just renamed."""


@pytest.fixture
def two(server: Server, empty_database: Database) -> Iterator[tuple[Database, Database]]:
    """Two databases, each with its name in a table, so that one can tell which of them answers."""
    other = server.create(f"{empty_database.name}_other")
    for database in (empty_database, other):
        with database.connect() as connection:
            connection.execute("CREATE TABLE one (side text)")
            connection.execute("INSERT INTO one VALUES (%s)", (database.name,))
    yield empty_database, other
    server.drop(other.name)


def side(url: str) -> str:
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute("SELECT side FROM one").fetchone()
        assert row is not None
        return str(row[0])


def test_each_of_many_clients_that_reconnect_at_once_always_finds_one_of_the_two(
    server: Server, two: tuple[Database, Database]
) -> None:
    live, other = two
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    done = threading.Event()

    def client() -> None:
        while not done.is_set():
            try:
                seen[side(live.url)] += 1
            except psycopg.OperationalError as error:
                # What libpq says while it connects has no code.
                known = "does not exist" in str(error) or "terminating connection" in str(error)
                if error.sqlstate not in RECONNECT and not known and "closed" not in str(error):
                    wrong.append(str(error))
                seen["refused"] += 1

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for _ in range(SWAPS):
            swap(connection, live=live.name, new=other.name, kept="aside")
            time.sleep(0.2)
            swap(connection, live=other.name, new="aside", kept=None)
    done.set()
    for thread in clients:
        thread.join()

    assert wrong == []
    assert seen[live.name] > CLIENTS and seen[other.name] > CLIENTS
    # Its session is ended, and then it is refused once at the most.
    assert seen["refused"] <= 2 * CLIENTS * SWAPS


def test_whoever_was_connected_is_ended_and_finds_the_new_one(server: Server, two: tuple[Database, Database]) -> None:
    live, other = two
    with psycopg.connect(live.url) as busy, psycopg.connect(server.url(), autocommit=True) as connection:
        busy.execute("SELECT * FROM one FOR UPDATE")  # in a transaction
        swap(connection, live=live.name, new=other.name, kept=f"{live.name}_before")
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT 1")
    assert side(live.url) == other.name
    assert side(server.url(f"{live.name}_before")) == live.name
    server.drop(f"{live.name}_before")


def test_names_that_are_held_stay_as_they_are(
    server: Server, two: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    live, other = two
    monkeypatch.setattr(swapping, "LOCK_TIMEOUT_S", 0.3)
    with psycopg.connect(server.url()) as holder, psycopg.connect(server.url(), autocommit=True) as connection:
        # The first rename would be done when the second one fails.
        holder.execute(f"COMMENT ON DATABASE {other.name} IS 'held'".encode())
        with pytest.raises(RestoreFailed, match=f"{live.name} could not be given up .* it serves as before"):
            swap(connection, live=live.name, new=other.name, kept="aside")
    assert (side(live.url), side(other.url)) == (live.name, other.name)


def test_what_hangs_on_the_name_goes_along(server: Server, two: tuple[Database, Database], template: Database) -> None:
    live, _ = two
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for statement in (
            "REVOKE ALL ON DATABASE {0} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {0} TO gaia_readonly WITH GRANT OPTION",
            "ALTER DATABASE {0} SET search_path TO \"$user\", 'my schema', public",
            "ALTER DATABASE {0} SET statement_timeout TO '1h'",
            "ALTER ROLE gaia_readonly IN DATABASE {0} SET work_mem TO '5MB'",
            "ALTER DATABASE {0} CONNECTION LIMIT 17",
            "COMMENT ON DATABASE {0} IS 'it''s \"ours\"'",
        ):
            connection.execute(statement.format(live.name).encode())
        new = databases.free_name(connection, live.name, databases.NEW)
        databases.create_like(connection, live.name, new)
        databases.carry_over(connection, live.name, new)
        try:
            before, after = (
                connection.execute(
                    "SELECT encoding, datlocprovider, datcollate, datctype, datdba, datconnlimit, datacl::text,"
                    " shobj_description(d.oid, 'pg_database'), array(SELECT (setrole, setconfig)::text"
                    " FROM pg_db_role_setting WHERE setdatabase = d.oid ORDER BY 1)"
                    " FROM pg_database d WHERE datname = %s",
                    (name,),
                ).fetchone()
                for name in (live.name, new)
            )
        finally:
            server.drop(new)
    assert before is not None and len(before[-1]) == 2
    assert after == before


def test_only_one_restore_of_a_database_works_at_a_time(server: Server, two: tuple[Database, Database]) -> None:
    live, other = two
    with databases.alone(live.url):
        with pytest.raises(BackupBusy, match=f"another restore of {live.name} is at work"):
            databases.alone(live.url).__enter__()
        with databases.alone(other.url):
            pass
    with databases.alone(live.url):
        pass


def test_what_restores_made_is_known_by_its_name_alone(server: Server, two: tuple[Database, Database]) -> None:
    live, _ = two
    strangers = [f"{live.name}_restore_plan", f"{live.name}_before_20260131_120000_mine"]
    ours = [f"{live.name}_restore_20260131_120000", f"{live.name}_before_20260131_120000"]
    for name in (*strangers, *ours):
        server.create(name)
    try:
        with databases.alone(live.url) as connection:
            assert databases.left(connection, live.name) == ours[:1]
            assert [kept.name for kept in databases.kept(connection, live.name)] == ours[1:]
            assert all(kept.bytes > 1_000_000 for kept in databases.kept(connection, live.name))
    finally:
        for name in (*strangers, *ours):
            server.drop(name)


def test_a_long_name_leaves_room_for_what_is_put_behind_it(server: Server) -> None:
    name = "ä" * 31
    with psycopg.connect(server.url(), autocommit=True) as connection:
        assert len(databases.free_name(connection, name, databases.NEW).encode()) <= 63
