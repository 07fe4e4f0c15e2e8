"""The cases of restores: a restore against ``pg_restore`` alone, and a drill against that restore."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from backup import databases, drill, dump, folder, load, restore, source
from backup.folder import Entry
from benchmarks.commands import run
from benchmarks.database_fill import KEY
from benchmarks.database_measure import Figure, in_turn, ratio
from benchmarks.database_world import World
from ops import drill as command
from ops import throwaway
from tests import postgres

JOBS = 2


def restored(world: World) -> list[Figure]:
    """A restore, from reading the backup until the names are swapped, against ``createdb`` and ``pg_restore``."""
    with _durable(world) as (database, entry):
        sides = {"pg_restore": lambda: bare(database, entry), "ours": lambda: ours(database, entry)}
        taken = in_turn("restore", sides, lambda: clear(database), runs=world.runs, say=world.say)
    return [ratio("restore", f"pg_restore -j{JOBS}", taken["ours"], taken["pg_restore"], 1.15)]


def drilled(world: World) -> list[Figure]:
    """A drill, from the reading of the backup until a server has all its rows, against that restore."""
    with _durable(world) as (database, entry):
        sides = {"restore": lambda: ours(database, entry), "ours": lambda: rehearsed(database, entry)}
        taken = in_turn("drill", sides, lambda: clear(database), runs=world.runs, say=world.say)
    return [ratio("drill", "restore", taken["ours"], taken["restore"], 1.3)]


def bare(database: postgres.Database, entry: Entry) -> None:
    """What one would type."""
    new = f"{database.name}_bare"
    database.server.create(new)
    command = (database.server.binaries / "pg_restore", f"--jobs={JOBS}", "--exit-on-error", f"--dbname={new}")
    run(*command, entry.archive, env=load.environment_of(database.server.url(new)))


def ours(database: postgres.Database, entry: Entry) -> None:
    restore.restore(
        database.url,
        source.verified(entry),
        binaries=database.server.binaries,
        identity_keys=[KEY],
        replace=True,
        jobs=JOBS,
        say=_quiet,
        now=_quiet,
    )


def rehearsed(database: postgres.Database, entry: Entry) -> None:
    found = source.verified(entry)
    with throwaway.running(command.PARAMETERS) as server:
        binaries = database.server.binaries
        drill.rehearse(server.url(), found, binaries=binaries, jobs=JOBS, say=_quiet, now=_quiet)


def clear(database: postgres.Database) -> None:
    """Only the one database stays, whichever side made others."""
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        for kept in databases.kept(connection, database.name):
            databases.drop(connection, kept.name)
    database.server.drop(f"{database.name}_bare")


def _quiet(_line: str) -> None: ...


@contextmanager
def _durable(world: World) -> Iterator[tuple[postgres.Database, Entry]]:
    """A server that keeps what it is told, as a stack's does, with the large database restored into it."""
    made = world.database(world.rows)
    durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on"}
    settings = {**durable, "shared_buffers": "256MB", "max_locks_per_transaction": "256"}
    with tempfile.TemporaryDirectory(prefix="gaia-benchmark-") as name, postgres.running(**settings) as server:
        place = Path(name)
        world.say("backing up what is to be restored")
        with folder.locked(place, "the benchmark"):
            entry = dump.make(place, url=made.url, stack="benchmark", binaries=made.server.binaries)
        with psycopg.connect(server.url(), autocommit=True) as connection:
            for role in entry.manifest.roles if entry.manifest else ():
                if role != postgres.SUPERUSER:
                    connection.execute(f"CREATE ROLE {role}".encode())
        database = server.create("gaia")
        ours(database, entry)  # also the untimed run: roles, and the files in the machine's memory
        clear(database)
        yield database, entry
