"""Everything the cloud knows: one project, plain dictionaries under one lock, buckets on disk in its own folder."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rehearsal.cloud.errors import GoogleError

ENABLED_AT_FIRST = (
    "cloudapis",
    "logging",
    "servicemanagement",
    "serviceusage",
    "storage",
    "storage-api",
    "storage-component",
)
"""What a new project has: https://cloud.google.com/service-usage/docs/enabled-service#default"""
Resource = dict[str, Any]


@dataclass(kw_only=True)
class Fault:
    """Something that goes wrong on request: ``method`` is a discovery id, or its beginning with a ``*``."""

    method: str
    error: GoogleError | None = None
    """Answered instead of the method's own answer; with ``in_operation``, how its operation ends."""
    delay_s: float = 0
    in_operation: bool = False
    after_work: bool = False
    """The call or its operation fails although its work is done: what it made is there, and nobody knows of it."""
    writes_alone: bool = False
    """Requests that only read go through."""
    once_each: bool = False
    """Each method meets it once, and then no more."""
    meanwhile: Callable[[], None] | None = None
    """What happens before the request is answered, or before its operation does its work."""
    times: int = 1
    met: set[str] = field(default_factory=set)
    """The methods that met it."""

    def fits(self, method: str, *, in_operation: bool, writes: bool = True) -> bool:
        wanted = self.method
        same = method.startswith(wanted[:-1]) if wanted.endswith("*") else method == wanted
        left = self.times > 0 and not (self.once_each and method in self.met)
        return same and left and self.in_operation == in_operation and (writes or not self.writes_alone)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One request that was answered; never its body, which may hold a secret."""

    at: float
    """Seconds since the cloud was made."""
    seconds: float
    method: str
    resource: str
    principal: str
    code: int
    message: str | None
    """What was refused."""


@dataclass(kw_only=True)
class Cloud:
    """One project. Handlers read and change it while they hold ``lock``."""

    folder: Path
    """The cloud's own, empty at first: objects of buckets lie here."""
    project: str
    region: str
    number: str = ""
    enabled: set[str] = field(default_factory=lambda: set(ENABLED_AT_FIRST))
    operator: str = "user:operator@example.com"
    operator_token: str = field(default_factory=lambda: f"ya29.{secrets.token_urlsafe(32)}", repr=False)
    url: str = ""
    """Where the server listens, once it does: ``http://127.0.0.1:PORT``."""
    servers: Any = None
    """The servers behind the Cloud SQL instances (``rehearsal.sql.servers.Servers``)."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    faults: list[Fault] = field(default_factory=list)
    journal: list[Entry] = field(default_factory=list, repr=False)
    closing: list[Callable[[], None]] = field(default_factory=list, repr=False)
    """What has to be ended when the cloud ends: threads, processes."""

    def __post_init__(self) -> None:
        self.number = self.number or str(random.SystemRandom().randrange(10**11, 10**12))
        self._collections: dict[str, dict[str, Resource]] = {}
        self._tokens = {self.operator_token: self.operator}
        self._used: dict[tuple[str, str], float] = {}
        self._born, self._count = time.monotonic(), 0

    def collection(self, kind: str) -> dict[str, Resource]:
        """The resources of a kind (``secretmanager.secrets``), by their full name with the project's id."""
        with self.lock:
            return self._collections.setdefault(kind, {})

    def canonical(self, name: str) -> str:
        """The name with the project's id where it has the project's number: Google takes both."""
        head = f"projects/{self.number}"
        return f"projects/{self.project}{name[len(head) :]}" if name == head or name.startswith(f"{head}/") else name

    def numbered(self, name: str) -> str:
        """The name with the project's number where it has the project's id."""
        head = f"projects/{self.project}"
        return f"projects/{self.number}{name[len(head) :]}" if name == head or name.startswith(f"{head}/") else name

    def service_account(self, name: str) -> str:
        """The address of a service account of this project."""
        return f"{name}@{self.project}.iam.gserviceaccount.com"

    # Who calls.

    def token_for(self, email: str) -> str:
        """A token that stands for this service account."""
        with self.lock:
            token = f"ya29.c.{secrets.token_urlsafe(32)}"
            self._tokens[token] = f"serviceAccount:{email}"
            return token

    def principal(self, token: str) -> str | None:
        """``user:…`` or ``serviceAccount:…``; None for a token that nobody was given."""
        with self.lock:
            return self._tokens.get(token)

    # Names that stay taken for a while.

    def retire(self, kind: str, name: str) -> None:
        """Remember that this name was deleted now."""
        with self.lock:
            self._used[kind, name] = time.monotonic()

    def retired(self, kind: str, name: str, *, within_s: float) -> bool:
        """Whether this name was deleted less than so long ago."""
        with self.lock:
            at = self._used.get((kind, name))
            return at is not None and time.monotonic() - at < within_s

    # Faults and the journal.

    @contextmanager
    def faulty(self, fault: Fault) -> Iterator[Fault]:
        """With this fault, for as long as the block lasts."""
        with self.lock:
            self.faults.append(fault)
        try:
            yield fault
        finally:
            with self.lock:
                self.faults.remove(fault)

    def fault(self, method: str, *, in_operation: bool = False, writes: bool = True) -> Fault | None:
        """The fault that this call meets, counted as met."""
        with self.lock:
            for fault in self.faults:
                if fault.fits(method, in_operation=in_operation, writes=writes):
                    fault.times -= 1
                    fault.met.add(method)
                    return fault
        return None

    def record(
        self, *, started: float, method: str, resource: str, principal: str, code: int, message: str | None
    ) -> None:
        now = time.monotonic()
        entry = Entry(
            at=started - self._born,
            seconds=now - started,
            method=method,
            resource=resource,
            principal=principal,
            code=code,
            message=message,
        )
        with self.lock:
            self.journal.append(entry)

    # Small things that every service needs.

    def next_number(self) -> int:
        """Counts up by one."""
        with self.lock:
            self._count += 1
            return self._count

    def close(self) -> None:
        """End what was started."""
        while self.closing:
            self.closing.pop()()


def now() -> str:
    """As Google writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def etag() -> str:
    """A new one; quoted, as Secret Manager and others have it."""
    return f'"{secrets.token_hex(7)}"'


def long_id() -> str:
    """A number such as Google gives resources."""
    return str(random.SystemRandom().randrange(10**18, 9 * 10**18))
