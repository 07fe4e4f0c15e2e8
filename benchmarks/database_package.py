"""The package ``db`` against what it is made of: SQLAlchemy's own sessions, and asyncpg."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from benchmarks.database_fill import KEY
from benchmarks.database_measure import Figure, throughput
from benchmarks.database_world import APP, SMALL, Question, World
from db.manager import DatabaseManager
from db.messages import NewMessage, copy, insert
from db.seed.words import Tongue
from db.settings import from_environment
from tests import postgres

READS = 500
"""Point reads of a run."""
POINT = text("SELECT name, settings FROM game.campaigns WHERE campaign_id = :campaign")
INSERTED, COPIED = 5_000, 50_000
"""Messages of a run."""
COLUMNS = ("campaign_id", "user_id", "role", "content", "metadata", "language", "created_at")
INSERT = "INSERT INTO game.chat_history (campaign_id, user_id, role, content, metadata) VALUES ($1, $2, $3, $4, $5)"
Step = Callable[[], Awaitable[object]]


def sessions(world: World) -> list[Figure]:
    """Point reads, each in a session and a transaction of its own, one after the other."""
    database = world.database(SMALL)
    plain, bound = asyncio.run(_sessions(world, database, world.questions(READS)))
    against = "a bare SQLAlchemy session"
    return [
        throughput("db-sessions", f"{against}, without user", "reads/s", READS, plain["ours"], plain["bare"], 0.95),
        throughput("db-sessions", f"{against}, bound to a user", "reads/s", READS, bound["ours"], bound["bare"], 0.65),
    ]


async def _sessions(
    world: World, database: postgres.Database, questions: Sequence[Question]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """As the superuser without a user, for whom both sides find the row; and as the app bound to one."""
    superuser, app = _manager(database.url), _manager(database.url_as(APP))
    engine = create_async_engine(database.url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=20)
    opened = async_sessionmaker(engine, expire_on_commit=False)

    async def bare() -> None:
        for question in questions:
            async with opened() as session:
                (await session.execute(POINT, {"campaign": question.campaign_id})).one()
                await session.commit()  # faster than `opened.begin()`, which is one more block

    async def through(manager: DatabaseManager, bound: bool) -> None:
        for question in questions:
            async with manager.get_async_session(question.user_id if bound else None) as session:
                (await session.execute(POINT, {"campaign": question.campaign_id})).one()

    try:
        plain = await _in_turn(world, {"bare": bare, "ours": lambda: through(superuser, False)})
        bound = await _in_turn(world, {"bare": bare, "ours": lambda: through(app, True)})
    finally:
        await engine.dispose()
        await superuser.aclose()
        await app.aclose()
    return plain, bound


def writes(world: World) -> list[Figure]:
    """Messages written through the package, for a user and with COPY, and by asyncpg alone."""
    inserted, copied = asyncio.run(_writes(world, world.database(SMALL), world.questions(1)[0]))
    ours, many = inserted["ours"], inserted["bare"]
    return [
        throughput("db-writes", "inserts: asyncpg's executemany as owner", "rows/s", INSERTED, ours, many, 0.5),
        throughput("db-writes", "COPY: asyncpg's own", "rows/s", COPIED, copied["ours"], copied["bare"], 0.9),
    ]


async def _writes(
    world: World, database: postgres.Database, question: Question
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    app, owner = _manager(database.url_as(APP)), _manager(database.url)
    connection = await asyncpg.connect(database.url)
    messages = list(islice(_messages(question.campaign_id, question.user_id), COPIED))
    now = await connection.fetchval("SELECT now()")
    records = [(one.campaign_id, one.user_id, one.role, one.content, "{}", one.language, now) for one in messages]
    few = [record[:5] for record in records[:INSERTED]]

    async def insert_ours() -> None:
        async with app.get_async_session(question.user_id) as session:
            await insert(session, messages[:INSERTED])

    async def insert_bare() -> None:
        async with connection.transaction():
            await connection.executemany(INSERT, few)

    async def copy_ours() -> None:
        async with owner.get_async_session() as session:
            await copy(session, messages)

    async def copy_bare() -> None:
        await connection.copy_records_to_table("chat_history", schema_name="game", columns=COLUMNS, records=records)

    try:
        return (
            await _in_turn(world, {"bare": insert_bare, "ours": insert_ours}),
            await _in_turn(world, {"bare": copy_bare, "ours": copy_ours}),
        )
    finally:
        await connection.close()
        await app.aclose()
        await owner.aclose()


async def _in_turn(world: World, sides: dict[str, Step]) -> dict[str, list[float]]:
    """Seconds of each run, the first one of each side left out."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-1, world.runs):
        order = list(sides.items())
        for name, step in order if number % 2 else reversed(order):
            started = time.perf_counter()
            await step()
            if number >= 0:
                taken[name].append(time.perf_counter() - started)
    return taken


def _messages(campaign: UUID, user: UUID) -> Iterator[NewMessage]:
    dice = random.Random(3)
    tongue = Tongue(dice)
    while True:
        yield NewMessage(campaign, tongue.said(dice), user)


def _manager(url: str) -> DatabaseManager:
    variables = {"DATABASE_URL": url, "GAIA_IDENTITY_KEY": KEY}
    return DatabaseManager(from_environment(variables))
