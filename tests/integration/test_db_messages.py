"""Messages: pages that neither skip nor repeat, search, and writing many at once."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from uuid import UUID

import pytest

from db import errors, messages
from db.messages import Hit, Key, Message, NewMessage
from tests.integration.db_world import ADA, BOB, HERS, HIS, World, people, world

pytestmark = pytest.mark.postgres
__all__ = ["people", "world"]


@pytest.fixture(autouse=True)
def silence(world: World) -> Iterator[None]:
    yield
    with world.database.connect() as connection:
        connection.execute(b"TRUNCATE game.chat_history")


def said(number: int) -> list[NewMessage]:
    return [NewMessage(HERS, f"goblin {n}", ADA, metadata={"n": n} if n % 2 else None) for n in range(number)]


async def write(world: World, rows: list[NewMessage]) -> list[Key]:
    async with world.manager().get_async_session(ADA) as session:
        return await messages.insert(session, rows)


async def pages(world: World, size: int) -> list[list[Message]]:
    found: list[list[Message]] = []
    async with world.manager().get_async_session(ADA) as session:
        while page := await messages.history(session, HERS, found[-1][-1].key if found else None, limit=size):
            found.append(page)
    return found


def test_pages_go_back_through_all_messages_once(world: World) -> None:
    keys = asyncio.run(write(world, said(23)))  # one transaction, so all of the same time
    found = asyncio.run(pages(world, 5))
    assert [len(page) for page in found] == [5, 5, 5, 5, 3]
    everything = [message for page in found for message in page]
    assert [message.key for message in everything] == keys[::-1]
    assert [message.content for message in everything] == [f"goblin {n}" for n in range(22, -1, -1)]
    assert everything[-2].metadata == {"n": 1} and everything[-1].metadata == {}


def test_more_than_one_statement_holds_come_back_in_their_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "ROWS_A_STATEMENT", 4)
    keys = asyncio.run(write(world, said(10)))
    assert len(set(keys)) == 10 and keys == sorted(keys)


def test_nobody_writes_as_another_or_elsewhere(world: World) -> None:
    for row in (NewMessage(HERS, "x", BOB), NewMessage(HIS, "x", ADA), NewMessage(HERS, "x", None, "system")):
        with pytest.raises(errors.NotAllowed):
            asyncio.run(write(world, [row]))


def test_a_page_has_a_size_that_makes_sense(world: World) -> None:
    for limit in (0, -1, 501):
        with pytest.raises(ValueError, match="1 to 500"):
            asyncio.run(pages(world, limit))


def test_the_game_replies_where_the_user_may_write(world: World) -> None:
    async def run() -> list[Message]:
        async with world.manager().get_async_session(ADA) as session:
            made = await messages.reply(session, HERS, "Roll!", metadata={"dice": 20})
            found = await messages.history(session, HERS)
            assert made == found[0].message_id
            return found

    def run_sync(campaign: UUID, role: str, language: str = "english") -> int:
        with world.manager().get_sync_session(ADA) as session:
            return messages.reply_sync(session, campaign, "Night falls.", role=role, language=language)

    (first,) = asyncio.run(run())
    assert (first.role, first.content, first.metadata, first.user_id) == ("assistant", "Roll!", {"dice": 20}, None)
    second = run_sync(HERS, role="system", language="german")
    assert [message.message_id for message in asyncio.run(pages(world, 5))[0]] == [second, first.message_id]
    for campaign, role in ((HIS, "assistant"), (HERS, "user")):
        with pytest.raises(errors.NotAllowed):
            run_sync(campaign, role=role)


def test_search_finds_words_and_goes_on_where_it_left_off(world: World) -> None:
    rows = [NewMessage(HERS, f"the dragon number {n} sleeps", ADA) for n in range(5)]
    asyncio.run(write(world, [*rows, NewMessage(HERS, "a quiet inn", ADA)]))

    async def run() -> tuple[list[Hit], list[Hit], list[Hit]]:
        async with world.manager().get_async_session(ADA) as session:
            first = await messages.search(session, HERS, "dragon", limit=3)
            rest = await messages.search(session, HERS, "dragon", after=first[-1], limit=3)
            return first, rest, await messages.search(session, HERS, "drag", prefix=True)

    first, rest, begun = asyncio.run(run())
    assert len({hit.message_id for hit in (*first, *rest)}) == 5 == len(begun)
    assert "dragon" in first[0].content_snippet


def test_search_in_anothers_campaign_finds_nothing(world: World) -> None:
    asyncio.run(write(world, said(2)))

    async def run() -> list[Hit]:
        async with world.manager().get_async_session(BOB) as session:
            return await messages.search(session, HERS, "goblin")

    assert asyncio.run(run()) == []


def test_copy_is_for_logins_that_own_the_table(world: World) -> None:
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    rows = [*said(9), NewMessage(HERS, "earlier", ADA, created_at=yesterday), NewMessage(HERS, "x", None, "system")]

    async def run(user: str) -> int:
        async with world.manager(user).get_async_session(ADA) as session:
            return await messages.copy(session, rows)

    assert asyncio.run(run("gaia")) == 11
    found = asyncio.run(pages(world, 20))[0]
    assert found[-1].content == "earlier" and found[0].role == "system" and found[-1].created_at == yesterday
    with pytest.raises(errors.CopyRefused, match=r"messages\.insert"):
        asyncio.run(run("gaia_app"))


def test_what_a_copy_wrote_is_undone_with_its_block(world: World) -> None:
    async def run() -> None:
        async with world.manager("gaia").get_async_session() as session:
            assert await messages.copy(session, said(3)) == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert asyncio.run(pages(world, 5)) == []
