"""Answers the provider's calls with what the official plugin got for the same ones, and writes down what was asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from rehearsal.provider.rest import Rest
from tests.unit.rehearsal import recorded
from tests.unit.rehearsal.recorded import Exchange

PATIENCE = 200


@dataclass(frozen=True)
class Asked:
    """One request of the provider."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    body: Any


class Player(Rest):
    """The recordings of some phases in the place of the network."""

    def __init__(self, *phases: str, after: int = 0) -> None:
        super().__init__("", threading.Event())
        self._left = [
            each for phase in phases for each in recorded.exchanges() if each.phase == phase and _still(each, after)
        ]
        self._waits = 0
        self._last: dict[tuple[str, str], Exchange] = {}
        self._turn = threading.Lock()
        self.asked: list[Asked] = []
        self.unknown: list[Asked] = []

    def _once(self, verb: str, url: str, body: Any) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(url)
        query = {key: one for key, one in parse_qsl(parts.query, keep_blank_values=True) if key != "alt"}
        asked = Asked(verb, parts.netloc, parts.path.lstrip("/"), query, body)
        with self._turn:
            self.asked.append(asked)
            found = self._next(asked)
        if found is None:
            self.unknown.append(asked)
            return 404, {"error": {"code": 404, "message": "not recorded"}}
        return found.status, found.answer or {}

    def wait(self, seconds: float) -> None:
        self._waits += 1
        assert self._waits < PATIENCE, f"an operation never ends: {self.asked[-1]}"

    def _next(self, asked: Asked) -> Exchange | None:
        """The first that fits and wasn't given yet; a read that comes once more gets the last answer again."""
        key = (asked.method, f"{asked.host}/{asked.path}")
        fitting = [each for each in self._left if fits(each, asked)]
        exact = [each for each in fitting if each.body == asked.body]
        for each in [*exact, *fitting]:
            self._left.remove(each)
            self._last[key] = each
            return each
        return self._last.get(key)


def _still(each: Exchange, after: int) -> bool:
    """What is looked up for many resources at once may have been asked before this one's turn."""
    return each.seq >= after or each.resource.startswith(("project-lookup", "servicenetworking"))


def fits(each: Exchange, asked: Asked) -> bool:
    """Whether a recorded request is the same one, its body aside."""
    return (
        each.method == asked.method
        and each.host == asked.host
        and unquote(each.path) == unquote(asked.path)
        # The test compares what a change says; a reading is another one with another query.
        and (each.method != "GET" or each.query == asked.query)
    )
