"""Resources as every service keeps them: by full name, made once, found or not, listed in order."""

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import GoogleError, already_exists, not_found
from rehearsal.cloud.state import Cloud, Resource


def made(cloud: Cloud, kind: str, name: str, document: Resource, exists: GoogleError | None = None) -> Resource:
    """Keep a new resource. Raises GoogleError 409."""
    with cloud.lock:
        kept = cloud.collection(kind)
        if name in kept:
            raise exists or already_exists(f"Resource '{name}' already exists.")
        kept[name] = document
        return document


def found(cloud: Cloud, kind: str, name: str, missing: GoogleError | None = None) -> Resource:
    """Raises GoogleError 404."""
    with cloud.lock:
        document = cloud.collection(kind).get(name)
    if document is None:
        raise missing or not_found(f"Resource '{name}' was not found.")
    return document


def inside(cloud: Cloud, kind: str, parent: str) -> list[Resource]:
    """Those whose name begins with the parent's, by name."""
    with cloud.lock:
        return [document for name, document in sorted(cloud.collection(kind).items()) if name.startswith(f"{parent}/")]


def chosen(sent: dict[str, Any], *fields: str) -> dict[str, Any]:
    """The fields of these that were sent."""
    return {field: sent[field] for field in fields if field in sent}
