r"""Rows as COPY's text format has them: tabs between columns, ``\N`` for null."""

import datetime as dt
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

NULL = r"\N"
BLOCK = 1 << 17
"""Characters that are sent at once: large enough to cost little, small enough to show progress."""
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def line(*values: Any) -> str:
    """One row."""
    return "\t".join(map(field, values)) + "\n"


def field(value: Any) -> str:
    """One value."""
    if value is None:
        return NULL
    if isinstance(value, bytes):
        return rf"\\x{value.hex()}"
    if isinstance(value, dict):
        value = json.dumps(value)
    return value.translate(_ESCAPES) if isinstance(value, str) else str(value)


def blocks(lines: Iterable[str]) -> Iterator[tuple[bytes, int]]:
    """The lines in pieces for ``copy.write``, each with how many rows it has."""
    held: list[str] = []
    size = 0
    for text in lines:
        held.append(text)
        size += len(text)
        if size >= BLOCK:
            yield "".join(held).encode(), len(held)
            held, size = [], 0
    if held:
        yield "".join(held).encode(), len(held)


def key(dice: random.Random) -> UUID:
    """A random key that the dice repeat."""
    return UUID(int=dice.getrandbits(128), version=4)


def stamp(moment: dt.datetime | None) -> str | None:
    """A time to the microsecond, with its zone."""
    return moment.isoformat() if moment else None
