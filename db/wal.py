"""Places in the write-ahead log, and how old a replica's data are at most: rules on plain data.

Asked at some time, the primary names its log's end. A replica that has replayed so far shows everything that was
committed before that time. No server's clock is in it, and neither silence nor an idle primary looks like freshness.
"""

import re
from bisect import bisect_left, bisect_right
from typing import NamedTuple

PAGE_BYTES, PAGE_HEADER, SEGMENT_HEADER = 8192, 24, 40
ASK = "SELECT pg_current_wal_insert_lsn()::text, pg_size_bytes(current_setting('wal_segment_size'))"
"""Asked of the primary: where the next record begins, and how long a segment is."""
PLACE = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


class Look(NamedTuple):
    """What a server said when it was asked."""

    at: float
    """When, by time.monotonic(): just before it was asked."""
    standby: bool
    lsn: int
    """How far a standby has replayed, or a primary has flushed."""
    inserted: int
    """On a primary: no commit that was acknowledged before `at` lies beyond."""


class History:
    """What the primary said lately. Written by one thread; read by any."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._looks: tuple[Look, ...] = ()

    def add(self, look: Look) -> None:
        """Take note; of looks in quick succession the last one stays."""
        kept = self._looks
        if kept and look.lsn < kept[-1].lsn:  # another primary, so another log
            kept = ()
        if len(kept) > 1 and look.at - kept[-2].at < self._span_s / 100:
            kept = kept[:-1]
        old = bisect_right(kept, look.at - self._span_s, key=_at)
        self._looks = (*kept[max(0, old - 1) :], look)  # one that is too old shows that all was looked at

    def fresh_at(self, lsn: int) -> float | None:
        """When the primary was where a replica is that has replayed up to `lsn`; None if it isn't known."""
        looks = self._looks
        place = bisect_right(looks, lsn, key=lambda look: look.lsn)
        return looks[place - 1].at if place else None

    def covers(self, since: float) -> bool:
        """Whether it goes back so far."""
        return bool(self._looks) and self._looks[0].at <= since

    def target(self, since: float) -> int | None:
        """What has to be replayed to show all that was acknowledged before `since`; None if it isn't known."""
        looks = self._looks
        place = bisect_left(looks, since, key=_at)
        return looks[place].inserted if place < len(looks) else None


def mark(inserted: str, segment_bytes: int) -> str:
    """What ASK answers, as a mark that a replica can get past."""
    end = record_end(parse(inserted), segment_bytes)
    return f"{end >> 32:X}/{end & 0xFFFFFFFF:X}"


def parse(place: str) -> int:
    """The number of `16/B374D848`; raises ValueError."""
    if (match := PLACE.fullmatch(place)) is None:
        raise ValueError(
            f"after={place!r} is no place in the log; give what last_write_async or last_write_sync returned"
        )
    return int(match[1], 16) << 32 | int(match[2], 16)


def record_end(inserted: int, segment_bytes: int) -> int:
    """Where the last record ends, given where the next one begins.

    A record that ends with its page is followed by the next page's header, and replay never says that it is behind it.
    """
    if inserted % segment_bytes == SEGMENT_HEADER:
        return inserted - SEGMENT_HEADER
    return inserted - PAGE_HEADER if inserted % PAGE_BYTES == PAGE_HEADER else inserted


def _at(look: Look) -> float:
    return look.at
