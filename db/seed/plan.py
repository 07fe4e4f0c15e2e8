"""How much is made, of what, up to which day."""

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import dataclass

MONTHS = 24
USERS_PER_CAMPAIGN = 3
"""How many users there are for each campaign, where the number of campaigns isn't given."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is made. The same plan makes the same rows."""

    users: int
    messages: int
    campaigns: int
    until: dt.date
    """The first day that has no messages any more (UTC)."""
    seed: int = 0
    batch: int = 0
    """How many users were there before: a second run makes other rows than the first."""

    @classmethod
    def of(
        cls, *, users: int, messages: int, until: dt.date, campaigns: int | None = None, seed: int = 0, batch: int = 0
    ) -> "Plan":
        """A plan; a third as many campaigns as users where nothing is said, at least one. Raises ``ValueError``."""
        if campaigns is None:
            campaigns = max(1, users // USERS_PER_CAMPAIGN)
        if users < 1 or campaigns < 1 or messages < 0:
            raise ValueError("at least one user, one campaign and no fewer than 0 messages")
        return cls(users=users, messages=messages, campaigns=campaigns, until=until, seed=seed, batch=batch)

    @property
    def since(self) -> dt.date:
        """The first day that has messages: the first of a month, two years before."""
        months = self.until.year * 12 + self.until.month - 1 - MONTHS
        return dt.date(months // 12, months % 12 + 1, 1)

    def days(self) -> Iterator[dt.date]:
        """Every day that has messages."""
        return (self.since + dt.timedelta(days=number) for number in range((self.until - self.since).days))

    def dice(self, subject: str) -> random.Random:
        """Random numbers for one subject: they don't depend on how many another one took."""
        return random.Random(f"{self.seed}/{self.batch}/{subject}")
