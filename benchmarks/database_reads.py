"""Reading messages: the last ones of a campaign, and those that a search finds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg

from benchmarks.database_measure import Figure, answers, slower
from benchmarks.database_world import APP, SMALL, Question, World
from migrations.connection import OWNER
from tests import postgres

SAMPLES = 300
"""Questions of a run."""
WARM = 20
"""Questions that aren't timed; PostgreSQL keeps a prepared statement's plan from the sixth time on."""
IDENTITY = "SELECT set_config('app.identity', $1, true)"
COLUMNS = "h.message_id, h.user_id, h.role, h.content, h.metadata, h.created_at"
ORDER = "ORDER BY h.created_at DESC, h.message_id DESC LIMIT 50"
LAST = f"SELECT {COLUMNS} FROM game.chat_history h WHERE h.campaign_id = $1 {ORDER}"
JOINED = f"""
SELECT {COLUMNS} FROM game.chat_history h
WHERE h.campaign_id = $1 AND (
    EXISTS (
        SELECT FROM game.campaigns c
        WHERE c.campaign_id = $1 AND c.owner_id = (SELECT auth.current_user_id())
      UNION ALL
        SELECT FROM game.campaign_participants p
        WHERE p.campaign_id = $1 AND p.user_id = (SELECT auth.current_user_id()) AND p.left_at IS NULL
      UNION ALL
        SELECT FROM auth.access_control a
        WHERE a.user_id = (SELECT auth.current_user_id()) AND a.resource_type = 'campaign' AND a.resource_id = $1
          AND (a.expires_at IS NULL OR a.expires_at > statement_timestamp()))
    OR (SELECT auth.is_admin()))
{ORDER}
"""
"""What the policy says, written by hand for one campaign, as the owner, whom no policy binds."""
SEARCH = "SELECT message_id, created_at, user_id, role, content_snippet, rank FROM game.search_messages($1, $2)"
BARE_SEARCH = """
WITH q AS MATERIALIZED (
    SELECT websearch_to_tsquery('english', $2) AS words,
           quote_literal('@' || replace($1::uuid::text, '-', ''))::tsquery AS here
)
SELECT f.message_id, f.created_at, f.user_id, f.role,
       ts_headline('english', left(f.content, 20000), (SELECT words FROM q),
                   'StartSel=**, StopSel=**, MaxFragments=2, MaxWords=20, MinWords=5') AS content_snippet, f.rank
FROM (
    SELECT h.message_id, h.created_at, h.user_id, h.role, h.content,
           ts_rank(h.search, (SELECT words FROM q)) AS rank
    FROM game.chat_history h
    WHERE h.search @@ (SELECT here && words FROM q)
    ORDER BY rank DESC, h.message_id DESC
    LIMIT 20
) f
ORDER BY f.rank DESC, f.message_id DESC
"""
"""What the function does, for whoever may read everything; the words are parsed once, the plan is kept."""
Ask = Callable[[Question], Awaitable[Any]]


def last_50(world: World) -> list[Figure]:
    """The last 50 messages of a campaign as a user sees them, in a large and in a small database."""
    large, small = world.database(world.rows), world.database(SMALL)
    _require_same_partitions(large, small)

    async def measured() -> dict[str, list[float]]:
        async with _asking(large, LAST) as ours, _asking(small, LAST) as baseline:
            return await _compared(world, {"ours": ours, "baseline": baseline}, world.questions)

    taken = asyncio.run(measured())
    against = f"{world.rows:,} rows against {SMALL:,}"
    return [slower("db-last-50", against, "p95", taken["ours"], taken["baseline"], 1.2)]


def security(world: World) -> list[Figure]:
    """The same under row-level security against the owner, for whom there is none, and against a join by hand."""
    database = world.database(world.rows)

    async def measured() -> dict[str, list[float]]:
        async with (
            _asking(database, LAST) as ours,
            _asking(database, LAST, owner=True) as owner,
            _asking(database, JOINED, owner=True) as joined,
        ):
            return await _compared(world, {"ours": ours, "owner": owner, "joined": joined}, world.questions)

    taken = asyncio.run(measured())
    return [
        slower("db-security", "the query as owner", "median", taken["ours"], taken["owner"], 1.6),
        slower("db-security", "a membership join by hand", "median", taken["ours"], taken["joined"], 1.15),
    ]


def search(world: World) -> list[Figure]:
    """``game.search_messages`` as the app against the query within it, as owner."""
    database = world.database(world.rows)

    async def measured() -> dict[str, list[float]]:
        async with _asking(database, SEARCH) as ours, _asking(database, BARE_SEARCH, owner=True) as bare:
            for question in world.searches(WARM):
                if await ours(question) != await bare(question):
                    raise RuntimeError(f"the sides find different messages for {question}")
            return await _compared(world, {"ours": ours, "bare": bare}, world.searches)

    taken = asyncio.run(measured())
    return [slower("db-search", "the bare GIN query as owner", "p95", taken["ours"], taken["bare"], 1.3)]


async def _compared(
    world: World, sides: dict[str, Ask], questions: Callable[[int], list[Question]]
) -> dict[str, list[float]]:
    asked = questions(WARM + SAMPLES)
    await answers(sides, asked[:WARM])
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(world.runs):
        for name, samples in (await answers(sides, asked[WARM:])).items():
            taken[name] += samples
    return taken


@contextlib.asynccontextmanager
async def _asking(database: postgres.Database, query: str, *, owner: bool = False) -> AsyncIterator[Ask]:
    """A connection of its own and a prepared statement, asked in a transaction that begins with a signed identity."""
    connection = await asyncpg.connect(database.url if owner else database.url_as(APP))
    try:
        if owner:
            await connection.execute(f"SET ROLE {OWNER}")
        identity, statement = await connection.prepare(IDENTITY), await connection.prepare(query)

        async def ask(question: Question) -> Any:
            arguments = (question.campaign_id, question.words) if question.words else (question.campaign_id,)
            async with connection.transaction():
                await identity.fetch(question.token)
                return await statement.fetch(*arguments)

        yield ask
    finally:
        await connection.close()


def _require_same_partitions(*databases: postgres.Database) -> None:
    counts = set()
    for database in databases:
        with database.connect() as connection:
            counts |= set(
                connection.execute(
                    "SELECT count(*) FROM pg_inherits WHERE inhparent = 'game.chat_history'::regclass"
                ).fetchall()
            )
    if len(counts) != 1:
        raise RuntimeError(f"the databases differ in their number of partitions: {sorted(counts)}")
