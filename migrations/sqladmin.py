"""Requests to the Cloud SQL Admin API, with the standard library alone: a token, bounded retries, plain sentences.

Shapes and meanings after https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1; it was never run against
Google's own server from here.
"""

import dataclasses
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from migrations.errors import BadSetting, MigrationError

API = "https://sqladmin.googleapis.com/v1"
METADATA_HOST = "metadata.google.internal"
"""Answers inside Google Cloud alone: Cloud Run, Cloud Build, virtual machines."""
REQUEST_TIMEOUT_S = 30.0
ATTEMPTS = 7
"""How often a request is sent that meets 429, 5xx or no answer; with the pauses between, about a minute."""
LONGEST_PAUSE_S = 20.0
LONGEST_RETRY_AFTER_S = 120.0
PROPAGATION_S = 120.0
"""A binding made a moment ago may take some minutes to be in force, so 403 is tried again for so long."""
BUSY_PAUSE_S = 10.0
MOST_BYTES = 4 * 1024 * 1024
MOST_PAGES = 20
_EXPIRES_EARLY_S = 60.0
_QUOTA = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"})
_FINAL_403 = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})

Clock = Callable[[], float]
Sleep = Callable[[float], None]


class ApiError(MigrationError):
    """Do what the message says: grant the role, enable the API, correct GAIA_INSTANCE, or run it again later."""

    def __init__(
        self, message: str, *, status: int | None = None, reason: str = "", retry_after_s: float = 0.0
    ) -> None:
        self.status = status
        """HTTP status; None where there was no answer."""
        self.reason = reason
        """As the API names it, such as ``operationInProgress``."""
        self.retry_after_s = retry_after_s
        """How long the API wants to be left alone."""
        super().__init__(message)


class NoAnswer(ApiError):
    """Run it again: no attempt was answered, or each with 5xx. What was asked may have been done."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
    """A Cloud SQL instance."""

    project: str
    region: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Instance":
        """Of ``project:region:instance``, where the project may have a domain of its own; raises BadSetting."""
        parts = text.rsplit(":", 2)
        if len(parts) != 3 or not all(parts) or any(c.isspace() or c in "/?#" for c in text):
            raise BadSetting(f"GAIA_INSTANCE is {text!r}: give the connection name, project:region:instance")
        return cls(project=parts[0], region=parts[1], name=parts[2])

    @property
    def path(self) -> str:
        """Below the API's address."""
        return f"{self.project_path}/instances/{quote(self.name, safe='')}"

    @property
    def project_path(self) -> str:
        """Below the API's address."""
        return f"projects/{quote(self.project, safe='')}"

    def __str__(self) -> str:
        return f"{self.project}:{self.region}:{self.name}"


class Token:
    """Who asks: a given token, or that of the service account this runs as, from the metadata server."""

    def __init__(self, given: str | None = None, *, host: str = METADATA_HOST, clock: Clock = time.monotonic) -> None:
        self._given, self._host, self._clock = given, host, clock
        self._value, self._until = "", 0.0

    def __repr__(self) -> str:
        return "Token(***)"

    @property
    def renewable(self) -> bool:
        """Whether another one can be had."""
        return self._given is None

    def value(self) -> str:
        """A token that is good for a while; raises ApiError."""
        if self._given is not None:
            return self._given
        if self._clock() >= self._until:
            self._value, lifetime_s = self._fetch()
            self._until = self._clock() + max(0.0, lifetime_s - _EXPIRES_EARLY_S)
        return self._value

    def drop(self) -> None:
        """Ask for another one next time."""
        self._until = 0.0

    def _fetch(self) -> tuple[str, float]:
        url = f"http://{self._host}/computeMetadata/v1/instance/service-accounts/default/token"
        request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
        try:
            with _opener(proxies=False).open(request, timeout=REQUEST_TIMEOUT_S) as answer:
                found = json.loads(answer.read(MOST_BYTES))
                return str(found["access_token"]), float(found.get("expires_in", 0))
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            raise ApiError(
                f"no token from the metadata server {self._host} ({_cause(error)}): outside Google Cloud set "
                'GOOGLE_OAUTH_ACCESS_TOKEN="$(gcloud auth print-access-token)"'
            ) from None


class Client:
    """Sends requests, each tried again while that can help and ``deadline`` (of ``clock``) is not reached."""

    def __init__(
        self,
        token: Token,
        *,
        base_url: str = API,
        deadline: float | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.base_url = checked_url(base_url)
        self.deadline, self.clock, self.sleep = deadline, clock, sleep
        self._token, self._on_wait = token, on_wait

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The resource at ``path``; raises ApiError."""
        return self._patiently("GET", f"{path}?{urlencode(query)}" if query else path, None, repeatable=True)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises NoAnswer at the first failure after which it may have been done all the same, else ApiError."""
        return self._patiently("POST", path, body, repeatable=False)

    def pages(self, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The ``items`` of a list, page after page; raises ApiError."""
        token = ""
        for _ in range(MOST_PAGES):
            page = self.get(path, {**query, "pageToken": token} if token else query)
            yield from page.get("items") or []
            token = str(page.get("nextPageToken") or "")
            if not token:
                return

    def time_left(self) -> float:
        """Seconds until the deadline."""
        return float("inf") if self.deadline is None else self.deadline - self.clock()

    def _patiently(self, method: str, path: str, body: Mapping[str, Any] | None, *, repeatable: bool) -> dict[str, Any]:
        attempt, renewed, since = 0, False, self.clock()
        while True:
            try:
                return self._once(method, path, body)
            except ApiError as error:
                if error.status == 401 and self._token.renewable and not renewed:
                    renewed = True
                    self._token.drop()
                    continue
                attempt += 1
                pause = self._pause(error, attempt, self.clock() - since, repeatable)
                if pause is None or pause > self.time_left():
                    raise
                if self._on_wait is not None:
                    self._on_wait(f"{error}; tries again in {pause:.0f} s")
                self.sleep(pause)

    def _pause(self, error: ApiError, attempt: int, waited_s: float, repeatable: bool) -> float | None:
        """How long to wait before the next attempt; None if none would help."""
        if error.status == 409 and error.reason == "operationInProgress":
            return BUSY_PAUSE_S if self.deadline is not None else None
        if error.status == 403 and error.reason not in _QUOTA:
            return BUSY_PAUSE_S if error.reason not in _FINAL_403 and waited_s < PROPAGATION_S else None
        quota = error.status == 429 or error.reason in _QUOTA
        if attempt >= ATTEMPTS or not (quota or (isinstance(error, NoAnswer) and repeatable)):
            return None
        return max(min(2.0 ** (attempt - 1), LONGEST_PAUSE_S), error.retry_after_s)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.base_url}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self._token.value()}", "Content-Type": "application/json"},
        )
        where = f"{method} {path.partition('?')[0]}"
        try:
            with _opener().open(request, timeout=REQUEST_TIMEOUT_S) as answer:
                found = json.loads(answer.read(MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(where, error) from None
        except ValueError:
            raise NoAnswer(f"{where}: the answer is no JSON") from None
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"{where}: no answer ({_cause(error)})") from None
        if not isinstance(found, dict):
            raise NoAnswer(f"{where}: the answer is no JSON object")
        return found


def checked_url(url: str) -> str:
    """``url`` without a slash at its end; a token goes out over TLS, or stays on this machine. Raises BadSetting."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not parts.hostname or not (parts.scheme == "https" or local) or parts.username or parts.query:
        raise BadSetting("GAIA_SQLADMIN_URL: give an https address such as " + API)
    return url.rstrip("/")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token along."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        return None


def _opener(*, proxies: bool = True) -> urllib.request.OpenerDirector:
    handlers: list[Any] = [_NoRedirects()]
    if not proxies:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _refused(where: str, error: urllib.error.HTTPError) -> ApiError:
    said, reason = _said(error)
    ways_out = {
        401: "; the token has expired or is no Google token",
        403: "; the identity needs cloudsql.backupRuns.create, .get and .list, and cloudsql.instances.get",
        404: "; GAIA_INSTANCE names no instance of this project",
    }
    kind = NoAnswer if error.code >= 500 else ApiError
    after = error.headers.get("Retry-After", "")
    return kind(
        f"{where}: {error.code} {said}".rstrip() + ways_out.get(error.code, ""),
        status=error.code,
        reason=reason,
        retry_after_s=min(float(after), LONGEST_RETRY_AFTER_S) if after.isdigit() else 0.0,
    )


def _said(error: urllib.error.HTTPError) -> tuple[str, str]:
    """Message and reason, of the shape that Cloud SQL gives (``errors``) or the newer one (``details``)."""
    try:
        given = json.loads(error.read(MOST_BYTES))["error"]
        entries = [*(given.get("errors") or []), *(given.get("details") or [])]
        reason = next((str(entry["reason"]) for entry in entries if entry.get("reason")), "")
        return " ".join(str(given.get("message", "")).split())[:500], reason
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return "", ""


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__
