"""Messages that can't be inserted are refused before anything is sent."""

import asyncio
import datetime as dt
from typing import Any, cast
from uuid import UUID

import pytest

from db.messages import NewMessage, insert

GOOD = NewMessage(UUID(int=1), "hello")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (GOOD._replace(created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)), r"only copy\(\) takes it"),
        (GOOD._replace(language="klingon"), "language 'klingon' is unknown; known: .*english"),
    ],
)
def test_a_message_that_cannot_be_inserted_is_refused_before_sending(row: NewMessage, sentence: str) -> None:
    no_session = cast(Any, None)  # whatever was sent would fail on it
    with pytest.raises(ValueError, match=sentence):
        asyncio.run(insert(no_session, [GOOD, row]))
