"""Schedules of Cloud Scheduler in the form of cron: whether one is right, and when it is due next.

https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules
The other form (``every 5 minutes``) isn't read.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_NAMES = ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", "SUN MON TUE WED THU FRI SAT")
_MONTHS = {name: index for index, name in enumerate(_NAMES[0].split(), 1)}
_DAYS = {name: index for index, name in enumerate(_NAMES[1].split())}
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 7, _DAYS),
)
_YEARS = 5


def values(schedule: str) -> list[set[int]] | None:
    """What each of the five fields allows; None where it isn't such a schedule."""
    fields = schedule.split()
    if len(fields) != 5:
        return None
    read = [_field(text, *spec) for text, spec in zip(fields, _FIELDS, strict=True)]
    if any(found is None for found in read):
        return None
    allowed = [found or set() for found in read]
    if 7 in allowed[4]:
        allowed[4] = (allowed[4] - {7}) | {0}
    return allowed


def next_time(schedule: str, zone: str, after: datetime) -> datetime | None:
    """When it is due first after this moment; None where never within five years, or the schedule isn't one."""
    allowed = values(schedule)
    if allowed is None:
        return None
    fields = schedule.split()
    # Both a day of the month and one of the week: either will do, as in cron.
    either = fields[2] != "*" and fields[4] != "*"
    at = after.astimezone(ZoneInfo(zone)).replace(second=0, microsecond=0) + timedelta(minutes=1)
    for _ in range(366 * _YEARS):
        if _day_fits(at, allowed, either):
            for hour in sorted(allowed[1]):
                for minute in sorted(allowed[0]):
                    due = at.replace(hour=hour, minute=minute)
                    if due >= at:
                        return due.astimezone(UTC)
        at = (at + timedelta(days=1)).replace(hour=0, minute=0)
    return None


def _day_fits(at: datetime, allowed: list[set[int]], either: bool) -> bool:
    of_month, of_week = at.day in allowed[2], at.isoweekday() % 7 in allowed[4]
    return at.month in allowed[3] and (of_month or of_week if either else of_month and of_week)


def _field(text: str, least: int, most: int, names: dict[str, int]) -> set[int] | None:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\*|[0-9A-Za-z]+)(?:-([0-9A-Za-z]+))?(?:/([0-9]+))?", part)
        if match is None:
            return None
        step = int(match[3] or 1)
        first = least if match[1] == "*" else _number(match[1], names)
        last = most if match[1] == "*" else _number(match[2] or (match[1] if not match[3] else str(most)), names)
        if first is None or last is None or step < 1 or not least <= first <= last <= most:
            return None
        found |= set(range(first, last + 1, step))
    return found


def _number(text: str, names: dict[str, int]) -> int | None:
    return int(text) if text.isdigit() else names.get(text.upper())
