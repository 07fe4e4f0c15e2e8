"""Making a database: its schema by the migrations, its rows by the seed, against psql and COPY of the same."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg

from benchmarks.commands import plain_environment, run
from benchmarks.database_fill import migrated, plan
from benchmarks.database_measure import Figure, added, throughput
from benchmarks.database_world import World
from db.seed import messages, people
from db.seed.campaigns import Campaigns
from db.seed.copying import blocks
from db.seed.load import load
from db.seed.messages import Evenings
from db.seed.plan import Plan
from db.seed.words import Tongue
from migrations import roles
from migrations.connection import OWNER
from migrations.lint.render import render
from tests import postgres

SEEDED = 1_000_000
"""Messages of a seed, unless fewer rows are asked for."""
ROOT = Path(__file__).resolve().parent.parent
_numbers = itertools.count(1)


def migrations(world: World) -> list[Figure]:
    """``python -m migrations upgrade`` from an empty database, and ``psql -1`` with the SQL of the same revisions."""
    with tempfile.TemporaryDirectory(prefix="gaia-benchmark-") as folder:
        file = Path(folder) / "schema.sql"
        file.write_text(schema_sql(), encoding="utf-8")

        def ours(database: postgres.Database) -> None:
            environment = {**plain_environment(), "GAIA_MIGRATIONS_URL": database.url}
            run(sys.executable, "-P", "-m", "migrations", "upgrade", cwd=ROOT, env=environment)

        def psql(database: postgres.Database) -> None:
            command = (world.server.binaries / "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", file)
            run(*command, database.url, env=plain_environment())

        def empty(_side: str) -> postgres.Database:
            database = world.server.create(f"schema_{next(_numbers)}")
            roles.apply(database.url, postgres.PASSWORDS)
            return database

        taken = _in_turn(world, "db-migrate", {"psql": psql, "ours": ours}, empty)
    return [added("db-migrate", "psql -1 -f of the same SQL", taken["ours"], taken["psql"], 1.0)]


def seed(world: World) -> list[Figure]:
    """All rows of a seed, made and copied, against a COPY of the messages that are there already, as bytes."""
    chosen = plan(min(world.rows, SEEDED))
    world.say(f"writing {chosen.messages:,} messages down for the bare COPY")
    rows = _copied(chosen)

    def ours(database: postgres.Database) -> None:
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(f"SET ROLE {OWNER}".encode())
            load(connection, chosen)

    def bare(database: postgres.Database) -> None:
        with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {OWNER}".encode())
            with cursor.copy(f"COPY game.chat_history ({messages.COLUMNS}) FROM STDIN".encode()) as copy:
                for block in rows:
                    copy.write(block)

    def empty(which: str) -> postgres.Database:
        database = migrated(world.server, f"seed_{next(_numbers)}", chosen)
        if which == "bare":  # whom the messages belong to
            with psycopg.connect(database.url, autocommit=True) as connection:
                load(connection, replace(chosen, messages=0))
        return database

    taken = _in_turn(world, "db-seed", {"bare": bare, "ours": ours}, empty)
    against = f"bare COPY of the same {chosen.messages:,} messages"
    return [throughput("db-seed", against, "rows/s", chosen.messages, taken["ours"], taken["bare"], 0.8)]


def _in_turn(
    world: World,
    name: str,
    sides: dict[str, Callable[[postgres.Database], None]],
    prepare: Callable[[str], postgres.Database],
) -> dict[str, list[float]]:
    """Seconds of each run, each on a database of its own that is made before and dropped after."""
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(world.runs):
        for side, work in list(sides.items())[:: 1 if number % 2 else -1]:
            database = prepare(side)
            try:
                started = time.perf_counter()
                work(database)
                taken[side].append(time.perf_counter() - started)
            finally:
                world.server.drop(database.name)
        world.say(f"{name} {number + 1}/{world.runs}: {', '.join(f'{k} {v[-1]:.2f} s' for k, v in taken.items())}")
    return taken


def schema_sql() -> str:
    """The SQL of all revisions, as the owner runs it. Raises ``RuntimeError`` where a revision can't be written out."""
    up = [rendered for rendered in render() if rendered.up]
    if failed := [f"{one.revision.id}: {one.failure}" for one in up if one.failure]:
        raise RuntimeError(f"revisions that can't be written out: {'; '.join(failed)}")
    texts = [emitted.text.rstrip(";") for one in up for emitted in one.emitted]
    return "".join(f"{text};\n" for text in (f"SET ROLE {OWNER}", *texts))


def _copied(chosen: Plan) -> list[bytes]:
    tongue = Tongue(chosen.dice("words"))
    evenings = Evenings(chosen, Campaigns(chosen, people.people(chosen, tongue)), tongue)
    lines = itertools.chain.from_iterable(map(evenings.month, evenings.months()))
    return [block for block, _ in blocks(lines)]
