"""Event loops that are left open are closed, or blamed on the test that made them."""

import asyncio
import threading

from tests.loops import Ledger, closing


def test_what_any_thread_made_is_closed_and_what_it_set_is_gone() -> None:
    made: list[asyncio.AbstractEventLoop] = []
    with closing():
        made.append(asyncio.get_event_loop())
        thread = threading.Thread(target=lambda: made.append(asyncio.new_event_loop()))
        thread.start()
        thread.join()
        assert not any(loop.is_closed() for loop in made)
    assert len(made) == 2 and all(loop.is_closed() for loop in made)


def test_what_is_pending_comes_to_its_end_before_the_loop_is_closed() -> None:
    told: list[str] = []

    async def waits(begun: asyncio.Event) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            told.append(type(asyncio.get_running_loop()).__name__)

    async def begins() -> None:
        begun = asyncio.Event()
        kept.append(asyncio.ensure_future(waits(begun)))
        await begun.wait()

    kept: list[asyncio.Task[None]] = []
    with closing():
        asyncio.get_event_loop().run_until_complete(begins())
        assert not told
    assert len(told) == 1 and kept[0].cancelled()


def test_only_what_is_open_and_idle_is_told_once_with_its_place(loops: Ledger) -> None:
    running, begun = asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=running.run_forever, daemon=True)
    running.call_soon(begun.set)
    thread.start()
    begun.wait()
    left = asyncio.new_event_loop()
    asyncio.new_event_loop().close()
    (told,) = loops.left()
    assert "test_only_what_is_open_and_idle_is_told_once_with_its_place" in told and left.is_closed()
    assert loops.left() == [] and not running.is_closed()
    running.call_soon_threadsafe(running.stop)
    thread.join()
    running.close()
