"""An event loop for programs that Pulumi's Automation API runs in a test: it makes one and never closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_event_loop() -> Iterator[None]:
    """The SDK takes the thread's loop where there is one; unclosed, another test would be blamed for it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
