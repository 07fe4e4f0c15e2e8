"""Which of several hosts to try first, and what to say when none of them takes writes."""

from collections.abc import Sequence

from db.errors import DatabaseError, NotPrimary
from db.settings import Settings

_last: dict[str, Settings] = {}
"""By `Settings.where`, the host that took writes last: a dead one before it would cost each connection its time-out."""


def in_order(settings: Settings) -> Sequence[Settings]:
    """The settings of each host, the last good one first."""
    if (first := _last.get(settings.where)) is None:
        return settings.each
    return (first, *(one for one in settings.each if one.host != first.host or one.port != first.port))


def remember(settings: Settings, good: Settings) -> None:
    """Begin with `good` the next time."""
    if settings.others:
        _last[settings.where] = good


def none_of(settings: Settings, failures: Sequence[DatabaseError]) -> DatabaseError:
    """The error when no host takes writes; `failures` are of those that didn't answer."""
    if len(failures) == len(settings.each):
        return failures[0]
    silent = "".join(f"; {failure}" for failure in failures)
    return NotPrimary(
        f"no server takes writes as {settings.where}: what answers is a standby, as during a failover; run the"
        f" transaction again, or promote one{silent}"
    )
