"""All sections, in the order in which they are printed."""

from __future__ import annotations

from ops.statistics import indexes, sessions, sizes, upkeep
from ops.statistics.section import Section

SECTIONS: tuple[Section, ...] = (
    sizes.DATABASE,
    sizes.TABLES,
    sizes.CONNECTIONS,
    sessions.SESSIONS,
    sessions.TRAFFIC,
    indexes.CACHE,
    indexes.INDEX_USE,
    indexes.UNUSED_INDEXES,
    indexes.DUPLICATE_INDEXES,
    upkeep.BLOAT,
    sessions.LONG_TRANSACTIONS,
    sessions.LOCKS,
    sessions.STATEMENTS,
    upkeep.VACUUM,
    upkeep.FREEZE,
    sizes.PARTITIONS,
    sessions.REPLICATION,
)

LIVE: tuple[Section, ...] = (
    sessions.SESSIONS,
    sessions.TRAFFIC,
    sessions.LOCKS,
    sessions.LONG_TRANSACTIONS,
    *(
        section
        for section in SECTIONS
        if section not in (sessions.SESSIONS, sessions.TRAFFIC, sessions.LOCKS, sessions.LONG_TRANSACTIONS)
    ),
)
"""The same for a live view: first what changes from one look to the next."""
