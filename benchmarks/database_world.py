"""A server of the benchmarks' own, and the databases on it, made when a case asks for them."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from benchmarks.database_fill import KEY, filled, plan
from db.identity import sign
from infra.settings import Tuning
from tests import postgres

SMALL = 100_000
"""Rows of the database that the large one is compared with."""
APP = "gaia_app"
LIFETIME_S = 3600
SETTINGS = {
    "shared_buffers": "3GB",
    "max_wal_size": "20GB",
    "checkpoint_timeout": "1h",
    "max_locks_per_transaction": "256",
    "random_page_cost": str(Tuning().random_page_cost),
    "effective_io_concurrency": str(Tuning().effective_io_concurrency),
}
_PAIRS = """
SELECT campaign_id, user_id FROM game.campaign_participants p JOIN auth.users u USING (user_id)
WHERE left_at IS NULL AND role <> 'spectator' AND is_active AND NOT is_admin AND
    (SELECT count(*) FROM (SELECT FROM game.chat_history h WHERE h.campaign_id = p.campaign_id LIMIT 50) s) = 50
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Question:
    """A user who asks for something of a campaign that they take part in."""

    campaign_id: UUID
    user_id: UUID
    words: str = ""

    @property
    def token(self) -> str:
        return sign(KEY, self.user_id, int(time.time()) + LIFETIME_S)


@dataclass
class World:
    """What the database cases share."""

    server: postgres.Server
    rows: int
    runs: int
    say: Callable[[str], None]
    _made: dict[int, postgres.Database] = field(default_factory=dict)

    def database(self, rows: int) -> postgres.Database:
        """A database with so many messages; made once."""
        if rows not in self._made:
            self.say(f"loading {rows:,} messages")
            started = time.monotonic()
            self._made[rows] = filled(self.server, f"messages_{rows}", plan(rows))
            self.say(f"loaded {rows:,} messages in {time.monotonic() - started:.0f} s")
        return self._made[rows]

    def questions(self, count: int) -> list[Question]:
        """The same for databases of every size: campaigns with 50 messages in the small one."""
        with self.database(SMALL).connect() as connection:
            pairs: list[Any] = connection.execute(_PAIRS).fetchall()
        dice = random.Random(1)
        return [Question(*dice.choice(pairs)) for _ in range(count)]

    def searches(self, count: int) -> list[Question]:
        """The same with a made-up word that was said in the campaign."""
        dice = random.Random(2)
        with self.database(SMALL).connect() as connection:
            return [
                Question(one.campaign_id, one.user_id, _word(connection, one, dice)) for one in self.questions(count)
            ]


def _word(connection: psycopg.Connection[Any], question: Question, dice: random.Random) -> str:
    rows = connection.execute(
        "SELECT content FROM game.chat_history WHERE campaign_id = %s ORDER BY created_at LIMIT 50",
        (question.campaign_id,),
    ).fetchall()
    words = {word.strip(",.").lower() for (content,) in rows for word in content.split()}
    return dice.choice(sorted(word for word in words if len(word) > 6))


@contextlib.contextmanager
def world(rows: int, runs: int, say: Callable[[str], None]) -> Iterator[World]:
    """A server that goes at the end, with everything on it."""
    with postgres.running(**SETTINGS) as server:
        yield World(server=server, rows=rows, runs=runs, say=say)
