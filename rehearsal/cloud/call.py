"""A call of a method, and the register of the functions that answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from rehearsal.cloud.discovery import Method
from rehearsal.cloud.state import Cloud

Depth = Literal["modelled", "checked"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, checked against Google's documents. Names have the project's id, never its number."""

    cloud: Cloud
    method: Method
    path: dict[str, str]
    query: dict[str, Any]
    body: dict[str, Any]
    """Without the fields that were sent as null."""
    sent: dict[str, Any]
    """The body with its nulls: where a patch is merged, null deletes."""
    principal: str
    media: bytes | None = None
    """An object's content, with an upload."""
    headers: dict[str, str] = field(default_factory=dict)
    """Their names in small letters."""
    alt: str = "json"
    """``media`` asks for an object's content."""
    upload: dict[str, str] = field(default_factory=dict)
    """The whole query of an upload: ``uploadType``, ``upload_id``."""

    @property
    def name(self) -> str:
        """The first parameter of the path: the resource, or the parent of what is made."""
        return self.path[self.method.names[0]] if self.method.names else ""

    @property
    def short(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Media:
    """An answer that isn't JSON: a file's content, or text."""

    content: Path | bytes
    media_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    code: int = 200


Answer = dict[str, Any] | Media | None
"""JSON, an object's content, or nothing (204)."""
Handler = Callable[[Call], Answer]
F = TypeVar("F", bound=Handler)


@dataclass(frozen=True, kw_only=True)
class Registered:
    """How a method is answered, and what its caller needs."""

    id: str
    handler: Handler
    permission: str | None
    """What a service account has to be allowed; None: anybody who is known."""
    on: Callable[[Call], str]
    """The resource on which."""
    depth: Depth
    note: str
    """What isn't so, in the table of the docs."""


METHODS: dict[str, Registered] = {}
"""By discovery id; filled as ``rehearsal.cloud.services`` is imported."""


def method(
    *ids: str,
    permission: str | None,
    on: Callable[[Call], str] | None = None,
    depth: Depth = "modelled",
    note: str = "",
) -> Callable[[F], F]:
    """Register a function for these methods.

    ``depth`` is "checked" where a request is checked and kept, but what it asks for doesn't happen.
    """

    def register(handler: F) -> F:
        for each in ids:
            METHODS[each] = Registered(
                id=each, handler=handler, permission=permission, on=on or _on_name, depth=depth, note=note
            )
        return handler

    return register


def _on_name(call: Call) -> str:
    return call.name
