"""When people play: more each month, more at weekends, most in the evening."""

import datetime as dt
import itertools
import random
from collections.abc import Iterator, Sequence

HOURS = (4, 2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 6, 7, 7, 7, 8, 10, 13, 18, 24, 28, 26, 18, 9)
"""How much is played in each hour of the day (UTC)."""
WEEKEND = 1.7
GROWTH = 2.0
"""How much more is played on the last day than on the first, besides what was played then."""
CLOCK = tuple(
    f"{hour:02}:{minute:02}:{second:02}" for hour in range(24) for minute in range(60) for second in range(60)
)
"""Each second of a day as COPY reads it."""
LAST_SECOND = len(CLOCK) - 1
_HOURS = tuple(itertools.accumulate(HOURS))


def shares(days: Sequence[dt.date], total: int) -> Iterator[tuple[dt.date, int]]:
    """Each day with its part of ``total``; the parts add up."""
    weights = [
        (1 + GROWTH * number / len(days)) * (WEEKEND if day.weekday() >= 5 else 1) for number, day in enumerate(days)
    ]
    sums = list(itertools.accumulate(weights, initial=0.0))
    bounds = [round(total * upto / sums[-1]) for upto in sums]
    for day, (begin, end) in zip(days, itertools.pairwise(bounds), strict=True):
        yield day, end - begin


def second_of_day(dice: random.Random) -> int:
    """When an evening begins."""
    return dice.choices(range(24), cum_weights=_HOURS)[0] * 3600 + dice.randrange(3600)


def moment(dice: random.Random, first: dt.datetime, last: dt.datetime) -> dt.datetime:
    """Some time between the two."""
    return first + (last - first) * dice.random()


def midnight(day: dt.date) -> dt.datetime:
    """The beginning of a day in UTC."""
    return dt.datetime.combine(day, dt.time(), dt.UTC)
