"""The messages of a campaign: page by page, searched, and written many at a time. Mostly for sessions of asyncpg."""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from db.errors import CopyRefused
from db.translate import statement_error

if TYPE_CHECKING:
    from db.sessions import AsyncSession, Session

LONGEST_PAGE = 500
MOST_HITS = 100
ROWS_A_STATEMENT = 5_000


class Key(NamedTuple):
    """Where a message stands in its campaign: after all with a smaller key."""

    created_at: dt.datetime
    message_id: int


class Message(NamedTuple):
    """A message as it was said."""

    message_id: int
    created_at: dt.datetime
    user_id: UUID | None
    """None for the game itself and for deleted users."""
    role: str
    content: str
    metadata: Mapping[str, Any]

    @property
    def key(self) -> Key:
        """What `history(before=…)` goes on from."""
        return Key(self.created_at, self.message_id)


class Hit(NamedTuple):
    """A message that a search found."""

    message_id: int
    created_at: dt.datetime
    user_id: UUID | None
    role: str
    content_snippet: str
    """The parts of the content that fit, with the words found between **."""
    rank: float


class NewMessage(NamedTuple):
    """A message to be written. As the backend's login: `user_id` is the session's user and `role` is user.

    What the game says itself is a `reply`.
    """

    campaign_id: UUID
    content: str
    user_id: UUID | None = None
    role: str = "user"
    metadata: Mapping[str, Any] | None = None
    language: str = "english"
    created_at: dt.datetime | None = None
    """None for now; only the table's owner may say something else, and only `copy` asks."""


async def history(
    session: "AsyncSession", campaign_id: UUID, before: Key | None = None, limit: int = 50
) -> list[Message]:
    """The last `limit` messages (1 to 500), newest first; the page after one ends `before=page[-1].key`.

    By key, so a page deep down costs what the first one costs, and messages that arrive meanwhile move nothing.
    """
    given = {"campaign": campaign_id, "size": _within(limit, LONGEST_PAGE)}
    if before is None:
        return [Message._make(row) for row in await session.execute(FIRST_PAGE, given)]
    given |= {"at": before.created_at, "id": before.message_id}
    return [Message._make(row) for row in await session.execute(NEXT_PAGE, given)]


async def search(
    session: "AsyncSession",
    campaign_id: UUID,
    query: str,
    *,
    language: str = "english",
    prefix: bool = False,
    after: Hit | None = None,
    limit: int = 20,
) -> list[Hit]:
    """What fits `query`, best first; the next page is `after=page[-1]`. With `prefix` the last word may go on.

    1 to 100 at a time. Nothing in a campaign that the session's user can't read.
    """
    given = {
        "campaign": campaign_id,
        "query": query,
        "language": language,
        "prefix": prefix,
        "size": _within(limit, MOST_HITS),
        "rank": after.rank if after else None,
        "id": after.message_id if after else None,
    }
    return [Hit._make(row) for row in await session.execute(SEARCH, given)]


async def insert(session: "AsyncSession", rows: Iterable[NewMessage]) -> list[Key]:
    """Write `rows`, thousands in one statement; the keys they got, in the same order. Raises NotAllowed.

    Raises ValueError, before anything is sent, for a message with a time of its own or in an unknown language.
    """
    from db.models import LANGUAGES

    keys: list[Key] = []
    for batch in _batches([_insertable(row, LANGUAGES) for row in rows], ROWS_A_STATEMENT):
        campaigns, contents, users, roles, metadata, languages, _ = zip(*batch, strict=True)
        given = {
            "campaigns": campaigns,
            "users": users,
            "roles": roles,
            "contents": contents,
            "metadata": [_json(value) for value in metadata],
            "languages": languages,
        }
        keys += [Key._make(row) for row in await session.execute(INSERT, given)]
    return keys


async def reply(
    session: "AsyncSession",
    campaign_id: UUID,
    content: str,
    *,
    role: str = "assistant",
    metadata: Mapping[str, Any] | None = None,
    language: str = "english",
) -> int:
    """Write what the game itself says (`role` isn't user) in a campaign that the session's user may write in; its key.

    Raises NotAllowed.
    """
    return int(await session.scalar(REPLY, _reply(campaign_id, content, role, metadata, language)))


def reply_sync(
    session: "Session",
    campaign_id: UUID,
    content: str,
    *,
    role: str = "assistant",
    metadata: Mapping[str, Any] | None = None,
    language: str = "english",
) -> int:
    """The same for a session of psycopg."""
    return int(session.scalar(REPLY, _reply(campaign_id, content, role, metadata, language)))


async def copy(session: "AsyncSession", rows: Iterable[NewMessage]) -> int:
    """Write `rows` with COPY, as a login that owns the table (migrations, seeds, imports); how many there were.

    Raises CopyRefused as the backend's login: PostgreSQL has no COPY FROM under row-level security.
    """
    import asyncpg

    now = await session.scalar("SELECT now()")  # begins the transaction, which the driver below wouldn't
    raw = await (await session.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    try:
        status = await driver.copy_records_to_table(
            "chat_history", schema_name="game", columns=COPIED, records=_records(rows, now)
        )
    except (asyncpg.FeatureNotSupportedError, asyncpg.InsufficientPrivilegeError) as error:
        raise CopyRefused(
            "this login can't COPY into game.chat_history, as PostgreSQL has no COPY FROM under row-level security: use"
            " messages.insert, or a login that owns the table"
        ) from error
    except asyncpg.PostgresError as error:
        raise statement_error(error, session.sync_session.settings, lost=driver.is_closed()) or error from error
    return int(status.removeprefix("COPY "))


def _records(rows: Iterable[NewMessage], now: dt.datetime) -> Iterator[tuple[Any, ...]]:
    for campaign_id, content, user_id, role, metadata, language, created_at in rows:
        yield campaign_id, user_id, role, content, _json(metadata), language, created_at or now


def _insertable(row: NewMessage, languages: Sequence[str]) -> NewMessage:
    if row.created_at is not None:
        raise ValueError(f"created_at {row.created_at}: only copy() takes it")
    if row.language not in languages:
        raise ValueError(f"language {row.language!r} is unknown; known: {', '.join(languages)}")
    return row


def _reply(
    campaign_id: UUID, content: str, role: str, metadata: Mapping[str, Any] | None, language: str
) -> Mapping[str, Any]:
    return {
        "campaign": campaign_id,
        "role": role,
        "content": content,
        "metadata": _json(metadata),
        "language": language,
    }


def _json(value: Mapping[str, Any] | None) -> str:
    return json.dumps(value) if value else "{}"


def _batches(rows: Iterable[NewMessage], size: int) -> Iterator[Sequence[NewMessage]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


def _within(limit: int, most: int) -> int:
    if not 1 <= limit <= most:
        raise ValueError(f"limit {limit}: a page has 1 to {most} messages")
    return limit


COPIED = ("campaign_id", "user_id", "role", "content", "metadata", "language", "created_at")

_PAGE = """
SELECT message_id, created_at, user_id, role, content, metadata FROM game.chat_history
WHERE campaign_id = :campaign{further} ORDER BY created_at DESC, message_id DESC LIMIT :size
"""
FIRST_PAGE = _PAGE.format(further="")
# The comparison of rows finds the place in the index; the one of times leaves out whole partitions.
NEXT_PAGE = _PAGE.format(
    further=" AND created_at <= CAST(:at AS timestamptz)"
    " AND (created_at, message_id) < (CAST(:at AS timestamptz), CAST(:id AS bigint))"
)
SEARCH = """
SELECT message_id, created_at, user_id, role, content_snippet, rank FROM game.search_messages(
    campaign => :campaign, query => :query, language => :language, prefix => :prefix,
    page_size => :size, after_rank => CAST(:rank AS real), after_id => CAST(:id AS bigint))
"""
REPLY = "SELECT game.post_reply(:campaign, :role, :content, CAST(:metadata AS jsonb), :language)"
INSERT = """
INSERT INTO game.chat_history (campaign_id, user_id, role, content, metadata, language)
SELECT * FROM unnest(
    CAST(:campaigns AS uuid[]), CAST(:users AS uuid[]), CAST(:roles AS text[]),
    CAST(:contents AS text[]), CAST(:metadata AS jsonb[]), CAST(:languages AS text[]))
RETURNING created_at, message_id
"""
