"""What holds for every test: it leaves no event loop open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.loops import Ledger


@pytest.fixture(scope="session", autouse=True)
def loops() -> Iterator[Ledger]:
    """The loops of this process."""
    ledger = Ledger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.BaseEventLoop, "__init__", ledger.noting(asyncio.BaseEventLoop.__init__))
        yield ledger


@pytest.fixture(autouse=True)
def no_open_event_loop(loops: Ledger) -> Iterator[None]:
    """Blames a loop that is left open on the test that made it, not on the one that runs when it is collected."""
    yield
    if left := loops.left():
        pytest.fail("event loops were left open, made here:\n" + "\n".join(left), pytrace=False)
