"""Clocks: the server's against this machine's, jumps since the server was started, rows from the future."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.doctor.finding import Finding, span

if TYPE_CHECKING:
    import psycopg

APART_MAX_S = 60
"""Identities live 300 s where nothing else is set: a minute is what they bear."""
JUMP_MIN_S = 300
_SET = "compare date -u with a clock you trust and set it (timedatectl set-ntp true; Docker Desktop: restart it)"
_ANEW = f"{_SET}, then run ./gaia destroy and ./gaia up, which start the server anew and keep the data"


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """What the clocks showed at one moment."""

    server: dt.datetime
    ours: dt.datetime
    """This machine's, half-way between question and answer."""
    started: dt.datetime
    """When the server was started, as it noted then."""
    process_started: dt.datetime | None = None
    """The same, counted back from now by how long the process has run; None where that can't be seen."""
    newest: Sequence[tuple[str, dt.datetime]] = ()
    """The newest row of each table that has rows from the future."""


def findings(found: Clocks) -> Iterator[Finding]:
    """Rules on the clocks."""
    apart = (found.server - found.ours).total_seconds()
    yield Finding(
        name="clocks agree",
        found=f"the server's clock is {span(apart)} {'ahead of' if apart > 0 else 'behind'} this machine's: "
        f"identities {'have ended before they arrive' if apart > 0 else 'live too long'}, users see no rows"
        if abs(apart) > APART_MAX_S
        else "",
        way=_ANEW,
    )
    yield _jump(found)
    yield Finding(
        name="no row from the future",
        found="; ".join(f"{table} has rows up to {at:%Y-%m-%d %H:%M} UTC" for table, at in found.newest)
        + ", later than now: the clock was ahead when they were written, or is behind now"
        if found.newest
        else "",
        way=f"{_SET}; rows that were written with a wrong clock: correct created_at by hand",
        level="warning",
    )


def _jump(found: Clocks) -> Finding:
    # The moment that was noted stays; what is counted back from now moves with the clock.
    counted = found.process_started or found.started
    jump = (counted - found.started).total_seconds()
    early = (found.started - found.server).total_seconds()
    what = ""
    if abs(jump) > JUMP_MIN_S:
        way_it_went = "forward" if jump > 0 else "back"
        what = f"the clock went {way_it_went} by {span(jump)} since the server was started"
    elif early > APART_MAX_S:
        what = f"the clock went back: the server was started {span(early)} from now"
    return Finding(name="clock is steady", found=what, way=_ANEW, level="warning")


def look(connection: psycopg.Connection[tuple[Any, ...]], postmaster: float | None) -> Iterator[Finding]:
    """Ask the server; ``postmaster`` is when its process was started, as this machine's clock counts now."""
    asked = dt.datetime.now(dt.UTC)
    row = connection.execute("SELECT clock_timestamp(), pg_postmaster_start_time()").fetchone()
    answered = dt.datetime.now(dt.UTC)
    assert row is not None
    yield from findings(
        Clocks(
            server=row[0],
            ours=asked + (answered - asked) / 2,
            started=row[1],
            process_started=dt.datetime.fromtimestamp(postmaster, dt.UTC) if postmaster else None,
            newest=_newest(connection, answered),
        )
    )


def _newest(connection: psycopg.Connection[tuple[Any, ...]], now: dt.datetime) -> list[tuple[str, dt.datetime]]:
    """Tables with rows from more than five minutes ahead. Partitions of the past are left out by their bounds."""
    found = []
    for table in ("audit.security_events", "game.chat_history", "game.campaigns", "auth.users"):
        there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
        if there != (True,):
            continue
        newest = connection.execute(
            f"SELECT max(created_at) FROM {table} WHERE created_at > %s::timestamptz".encode(),
            (now + dt.timedelta(seconds=JUMP_MIN_S),),
        ).fetchone()
        if newest and newest[0]:
            found.append((table, newest[0]))
    return found
