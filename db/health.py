"""Whether the database answers, in a form that a health endpoint can return."""

from dataclasses import dataclass

CHECK = "SELECT 1"


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
