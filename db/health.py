"""Whether the database answers, in a form that a health endpoint can return."""

from dataclasses import dataclass
from typing import Any

from db.errors import DatabaseError, NotAllowed
from db.identity import key_id
from db.settings import Settings
from db.translate import sqlstate

CHECK = "SELECT 1"
CHECK_KEY = "SELECT auth.knows_key(:key)"
NO_SCHEMA = ("42883", "3F000")
"""There is no such function, no such schema."""


@dataclass(frozen=True, kw_only=True)
class ReplicaHealth:
    """What is known of a replica."""

    where: str
    ok: bool
    """Whether it serves read-only sessions; if not, the primary does."""
    lag_s: float | None
    """How old its data are at most; None if that isn't known."""
    reason: str | None = None
    """Why it doesn't serve; None when it does."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What a health check found."""

    ok: bool
    latency_ms: float
    """From asking for a session to having the answer."""
    reason: str | None = None
    """Why not, in a sentence without secrets; None when it is ok."""
    pool_size: int
    """Connections that the pool may keep."""
    pool_in_use: int
    """Connections that sessions hold now, this check's not counted."""
    replicas: tuple[ReplicaHealth, ...] = ()
    """Those of DATABASE_REPLICA_URL. `ok` doesn't depend on them."""


def question(settings: Settings) -> tuple[str, dict[str, Any]]:
    """What the database is asked: whether it knows the key that identities are signed with, if there is one."""
    if not settings.identity_keys:
        return CHECK, {}
    return CHECK_KEY, {"key": key_id(settings.identity_keys[0])}


def verdict(settings: Settings, answer: Any) -> str | None:
    """What is wrong with the answer; None if nothing is."""
    if answer is not False:
        return None
    name = key_id(settings.identity_keys[0])
    return (
        f"the database doesn't know the key {name} of GAIA_IDENTITY_KEY, so users see nothing: give it the key that"
        " the database has, or install this one"
    )


def trouble(error: Exception) -> str | None:
    """Why the database didn't answer; None for a login that may not ask for keys, which had an answer too."""
    if isinstance(error, NotAllowed):
        return None
    if isinstance(error, DatabaseError):
        return str(error)
    if sqlstate(error) in NO_SCHEMA:
        return "the database isn't migrated: it has no auth.knows_key"
    raise error
