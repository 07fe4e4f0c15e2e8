"""Calls of a REST API over connections that stay open, tried again where Google says to."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT_S = 120
AGAIN = (429, 500, 502, 503)
TRIES = 8
BUSY_S = 120.0
"""How long another operation on the same thing may take."""
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 5.0
_A_MINUTES_QUOTA = re.compile(r"Quota exceeded for quota metric '.*' and limit '.* per minute' of service")


@dataclass(eq=False)
class RestError(Exception):
    """An answer that is no success."""

    status: int
    message: str
    reason: str = ""
    """Such as ``operationInProgress``; only some services give one."""

    def __str__(self) -> str:
        end = f", {self.reason}" if self.reason else ""
        return f"googleapi: Error {self.status}: {self.message}{end}"


def passes(error: RestError) -> bool:
    """Whether the official provider sends the same request again, whatever its verb: also one that makes something.

    ``defaultErrorRetryPredicates`` of GoogleCloudPlatform/magic-modules, mmv1/third_party/terraform/transport/
    error_retry_predicates.go: 429, 500, 502, 503; 409 ``operationInProgress``; 403 of a quota by the minute; 400 of a
    subnetwork that isn't ready. Not 412: the recorded update failed with it (phase fault-sql412). It goes on for 90 s
    (retry_transport.go) within the resource's own 20 minutes and more (``SendRequest`` in transport.go); ours gives up
    after ``TRIES``, some six seconds.
    """
    quota = error.status == 403 and _A_MINUTES_QUOTA.search(error.message)
    unready = error.status == 400 and error.reason == "resourceNotReady" and "subnetworks" in error.message
    return error.status in AGAIN or busy(error) or bool(quota) or unready


def busy(error: RestError) -> bool:
    """Another operation is under way on the same thing."""
    return error.status == 409 and error.reason == "operationInProgress"


class Rest:
    """An HTTP client for many threads. ``close`` it."""

    def __init__(self, token: str, cancelled: threading.Event) -> None:
        self._token, self._cancelled = token, cancelled
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()
        self.calls: Callable[[str, str, Any], None] | None = None

    def call(self, verb: str, url: str, query: Mapping[str, str] | None = None, body: Any = None) -> dict[str, Any]:
        """The answer's document. Raises ``RestError``."""
        full = f"{url}?{urlencode({'alt': 'json', **(query or {})})}"
        wait, tried, late = FIRST_WAIT_S, 0, deadline(BUSY_S)
        while True:
            if self._cancelled.is_set():
                raise RestError(499, "the update was cancelled")
            status, answer = self._once(verb, full, body)
            if status < 300:
                return answer
            error = _error(status, answer)
            tried += not busy(error)
            if not passes(error) or (late() if busy(error) else tried == TRIES):
                raise error
            self._cancelled.wait(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)

    def wait(self, seconds: float) -> None:
        """Sleep, unless everything is to end."""
        if self._cancelled.wait(seconds):
            raise RestError(499, "the update was cancelled")

    def close(self) -> None:
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _once(self, verb: str, url: str, body: Any) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(url)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif verb in ("POST", "PUT", "PATCH"):
            data = b""
        for fresh in (False, True):
            connection = self._take(parts.scheme, parts.netloc, fresh=fresh)
            try:
                connection.request(verb, f"{parts.path}?{parts.query}", body=data, headers=headers)
                response = connection.getresponse()
                content = response.read()
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                # A server may close a connection that was idle just as it is used again.
                if fresh or not isinstance(error, http.client.RemoteDisconnected | ConnectionError):
                    raise RestError(0, f"{parts.netloc} doesn't answer: {error}") from error
                continue
            if response.will_close:
                connection.close()
            else:
                self._give_back(parts.netloc, connection)
            return response.status, _document(content)
        raise AssertionError("the second try returns or raises")

    def _take(self, scheme: str, netloc: str, *, fresh: bool) -> http.client.HTTPConnection:
        with self._lock:
            if not fresh and (idle := self._idle.get(netloc)):
                return idle.pop()
        made = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        return made(netloc, timeout=TIMEOUT_S)

    def _give_back(self, netloc: str, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault(netloc, []).append(connection)


def _document(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content) if content.strip() else {}
    except ValueError:
        return {"error": {"message": content.decode(errors="replace")[:500]}}
    return found if isinstance(found, dict) else {"value": found}


def _error(status: int, answer: Mapping[str, Any]) -> RestError:
    error = answer.get("error") or {}
    if not isinstance(error, Mapping):
        return RestError(status, str(error))
    first = next(iter(error.get("errors") or []), {})
    return RestError(status, error.get("message") or "no message", first.get("reason", ""))


def deadline(seconds: float) -> Callable[[], bool]:
    """A function that says whether this many seconds are over."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end
