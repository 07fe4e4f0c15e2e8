"""The cases of backups: a verified one against ``pg_dump`` alone, and the hashes of the tables against the dump."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import psycopg

from backup import archive, contents, dump, folder
from benchmarks.commands import plain_environment, run
from benchmarks.database_measure import Figure, in_turn, ratio
from benchmarks.database_world import World
from tests import postgres


def verified(world: World) -> list[Figure]:
    """A backup, from the lock to its name on the list, against ``pg_dump`` of the same format, compression and jobs."""
    with tempfile.TemporaryDirectory(prefix="gaia-benchmark-") as name:
        database, place = world.database(world.rows), Path(name)

        def ours() -> None:
            with folder.locked(place, "the benchmark"):
                dump.make(place, url=database.url, stack="benchmark", binaries=database.server.binaries)

        sides = {"pg_dump": lambda: bare(database, place), "ours": ours}
        taken = in_turn("backup", sides, lambda: _clear(place), runs=world.runs, say=world.say)
    return [ratio("backup", "pg_dump", taken["ours"], taken["pg_dump"], 1.3)]


def hashes(world: World) -> list[Figure]:
    """The counts and hashes of all tables, on one connection, against ``pg_dump`` as above."""
    with tempfile.TemporaryDirectory(prefix="gaia-benchmark-") as name:
        database, place = world.database(world.rows), Path(name)

        def ours() -> None:
            with psycopg.connect(database.url) as connection:
                contents.contents(connection)

        sides = {"pg_dump": lambda: bare(database, place), "ours": ours}
        taken = in_turn("backup-hashes", sides, lambda: _clear(place), runs=world.runs, say=world.say)
    return [ratio("backup-hashes", "pg_dump", taken["ours"], taken["pg_dump"], 0.5)]


def bare(database: postgres.Database, place: Path) -> None:
    """What one would type."""
    options = ("--format=directory", f"--compress={archive.COMPRESSION}", "--no-large-objects")
    command = (database.server.binaries / "pg_dump", *options, f"--file={place / 'bare'}")
    run(*command, database.url, env=plain_environment())


def _clear(place: Path) -> None:
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
