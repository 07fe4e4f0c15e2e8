"""What the tests with the real engine share."""

from __future__ import annotations

import os

import pytest

from engine.acquire import Engine, acquire
from engine.errors import EngineError
from tests.clone import clone, port, session_clone
from tests.loops import own_event_loop

__all__ = ["clone", "own_event_loop", "port", "session_clone"]


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The Pulumi engine. Where it can't be had the test is skipped; in CI, where everything must run, it fails."""
    try:
        return acquire()
    except EngineError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no Pulumi engine: {error}")
