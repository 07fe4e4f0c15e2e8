"""The recorded exchanges of the official provider, sent to the cloud one after the other.

Names that a server chooses (ids, etags, operations) are ours: what the recorded answers call them is replaced, in all
that follows, by what our answers called them.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from rehearsal.cloud.app import Asked, respond
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.state import Cloud, Fault

SHARED = Path(os.environ.get("GAIA_SHARED") or Path(__file__).resolve().parents[3] / "shared")
CHOSEN = frozenset(
    {
        "name",
        "etag",
        "id",
        "labelFingerprint",
        "fingerprint",
        "uniqueId",
        "selfLinkWithId",
        "email",
        "targetId",
        "serviceAccountEmailAddress",
    }
)
"""Fields whose values the server chooses."""
VOLATILE = CHOSEN | {
    "address",
    "cert",
    "commonName",
    "completionTime",
    "createTime",
    "creationTimestamp",
    "creator",
    "databaseInstalledVersion",
    "deleteTime",
    "destroyTime",
    "effectiveTime",
    "endTime",
    "expirationTime",
    "generateTime",
    "generation",
    "insertTime",
    "ipAddress",
    "lastEnableTime",
    "lastModifier",
    "lastRestartTime",
    "lastTransitionTime",
    "lockedTime",
    "maintenanceVersion",
    "mutateTime",
    "mutatedBy",
    "oauth2ClientId",
    "progress",
    "scheduleTime",
    "selfLink",
    "sha1Fingerprint",
    "startTime",
    "targetLink",
    "timeCreated",
    "uid",
    "updateTime",
    "updated",
    "user",
    "userUpdateTime",
}
"""Fields whose values are of their time and place: that they are there is compared, what they say isn't."""
_SHORTEST = 6
_OPERATION_TIMEOUT_S = 120


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request of the official provider, and the answer that satisfied it."""

    seq: int
    phase: str
    service: str
    method: str
    path: str
    query: str
    body: Any
    status: int
    answer: Any

    def __str__(self) -> str:
        return f"{self.seq} {self.phase} {self.method} {self.service}/{self.path}"


@functools.cache
def exchanges() -> tuple[Exchange, ...]:
    file = SHARED / "recordings" / "traffic.jsonl"
    if not file.exists():
        pytest.skip(f"{file} isn't here: the recordings are no part of the repository")
    with file.open(encoding="utf-8") as lines:
        return tuple(_exchange(json.loads(line)) for line in lines)


def _exchange(line: Mapping[str, Any]) -> Exchange:
    host, _, path = line["host_path"].partition("/")
    return Exchange(
        seq=line["seq"],
        phase=line["phase"],
        service=host.partition(".")[0],
        method=line["method"],
        path=path,
        query=line["query"],
        body=line["request_body"],
        status=line["status"],
        answer=line["response_body"],
    )


@dataclass(kw_only=True)
class Replay:
    """Sends exchanges to one cloud.

    ``outside`` is what somebody else did before the exchange of that number, ``queries`` what is sent instead of a part
    of every query.
    """

    cloud: Cloud
    outside: Mapping[int, Callable[[Cloud], None]] = field(default_factory=dict)
    queries: Mapping[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """What ours call it, by what the recording calls it."""
    differences: list[str] = field(default_factory=list)

    def send(self, chosen: Collection[Exchange]) -> None:
        for exchange in chosen:
            if exchange.seq in self.outside:
                self.outside[exchange.seq](self.cloud)
            code, answer = self._answered(exchange)
            if code != exchange.status:
                self.differences.append(f"{exchange}: {exchange.status} was recorded, {code} came: {_words(answer)}")
                continue
            self.names |= dict(_pairs(exchange.answer, answer))
            recorded = self._mapped(exchange.answer)
            self.differences += [f"{exchange}: {each}" for each in compared(recorded, answer, "")]
            if isinstance(answer, dict) and "error" in answer and "error" not in recorded:
                self.differences.append(f"{exchange}: it fails: {answer['error']}")
            self._await_operations()

    def _answered(self, exchange: Exchange) -> tuple[int, Any]:
        query = exchange.query
        for theirs, instead in self.queries.items():
            query = query.replace(theirs, instead)
        asked = Asked(
            verb=exchange.method,
            path=f"{exchange.service}/{self._ours(exchange.path)}",
            query=[(name, self._ours(value)) for name, value in parse_qsl(query, keep_blank_values=True)],
            headers={"authorization": f"Bearer {self.cloud.operator_token}"},
            body=b"" if exchange.body is None else json.dumps(self._mapped(exchange.body)).encode(),
        )
        injected = exchange.status >= 400 and exchange.phase.startswith("fault-") and exchange.seq not in self.outside
        if not injected:
            return respond(self.cloud, asked)
        # What the recording's server was told to fail with, ours is told too.
        with self.cloud.faulty(Fault(method="*", error=_error(exchange))):
            return respond(self.cloud, asked)

    def _mapped(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._mapped(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._mapped(inner) for inner in value]
        return self._ours(value) if isinstance(value, str) else value

    def _ours(self, text: str) -> str:
        for theirs, ours in self.names.items():
            if theirs in text:
                text = text.replace(theirs, ours)
        return text

    def _await_operations(self) -> None:
        for kept in list(self.cloud.collection("operations").values()):
            assert kept["operation"].finished.wait(_OPERATION_TIMEOUT_S)


def compared(recorded: Any, ours: Any, at: str) -> Iterator[str]:
    """What the recorded answer has and ours hasn't: fields, types, and values that aren't of their time."""
    if isinstance(recorded, dict):
        if not isinstance(ours, dict):
            yield f"{at}: an object was recorded"
            return
        for name, value in recorded.items():
            here = f"{at}.{name}" if at else name
            if name not in ours:
                yield f"{here} is missing"
            elif name not in VOLATILE or isinstance(value, dict | list):
                yield from compared(value, ours[name], here)
    elif isinstance(recorded, list):
        yield from _compared_lists(recorded, ours, at)
    elif type(recorded) is not type(ours):
        yield f"{at}: {type(recorded).__name__} was recorded, {type(ours).__name__} came"
    elif recorded != ours:
        yield f"{at}: {recorded!r} was recorded, {ours!r} came"


def _compared_lists(recorded: list[Any], ours: Any, at: str) -> Iterator[str]:
    if not isinstance(ours, list):
        yield f"{at}: a list was recorded"
        return
    for index, value in enumerate(recorded):
        same = [each for each in ours if _named(value) is not None and _named(each) == _named(value)]
        if same:
            yield from compared(value, same[0], f"{at}[]")
        elif index >= len(ours):
            yield f"{at}[{index}] is missing"
        else:
            yield from compared(value, ours[index], f"{at}[]")


def _named(value: Any) -> str | None:
    """What an element of a list is known by, wherever it stands."""
    return value.get("name") or value.get("role") if isinstance(value, dict) else None


def _pairs(recorded: Any, ours: Any) -> Iterator[tuple[str, str]]:
    """What the two answers call the same thing."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for name, value in recorded.items():
            other = ours.get(name)
            if name in CHOSEN and isinstance(value, str) and isinstance(other, str) and value != other:
                yield from _parts(value, other)
            else:
                yield from _pairs(value, other)
    elif isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        for value, other in zip(recorded, ours, strict=True):
            yield from _pairs(value, other)


def _parts(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """Of names with slashes, the parts that differ."""
    if theirs.count("/") != ours.count("/"):
        yield theirs, ours
        return
    for one, other in zip(theirs.split("/"), ours.split("/"), strict=True):
        if one != other and len(one) >= _SHORTEST:
            yield one, other


def _error(exchange: Exchange) -> GoogleError:
    error = exchange.answer["error"]
    reasons = [each["reason"] for each in error.get("errors", [])]
    return GoogleError(
        error["code"],
        error["message"],
        status=error.get("status"),
        reason=reasons[0] if reasons else None,
        details=tuple(error.get("details", ())),
    )


def _words(answer: Any) -> str:
    return answer["error"]["message"] if isinstance(answer, dict) and "error" in answer else "an answer"
