"""What was said, in the order of time: a day's evenings, each in one campaign, player and game in turn."""

import datetime as dt
import random
from collections.abc import Iterator
from itertools import repeat

from db.seed.campaigns import Campaign, Campaigns
from db.seed.copying import NULL
from db.seed.plan import Plan
from db.seed.times import CLOCK, LAST_SECOND, midnight, second_of_day, shares
from db.seed.words import Tongue

COLUMNS = "campaign_id, user_id, role, content, metadata, created_at"
EVENING = 40
"""Messages of an evening, in the mean."""
PAUSE_S = 35
"""Seconds between two messages, in the mean."""
SAID = 0.56
"""The part of the messages that players write; the others are the game's."""
_PLAIN = "{}"


class Evenings:
    """The messages of a plan, month by month. Only a day's are held at once."""

    def __init__(self, plan: Plan, campaigns: Campaigns, tongue: Tongue) -> None:
        self._plan = plan
        self._campaigns = campaigns
        self._tongue = tongue
        self._days = list(shares(list(plan.days()), plan.messages))

    def months(self) -> list[dt.date]:
        """The first day of each month that has messages."""
        return list(dict.fromkeys(day.replace(day=1) for day, count in self._days if count))

    def month(self, month: dt.date) -> Iterator[str]:
        """A month's rows of ``game.chat_history``: the same ones, whatever months were made before."""
        dice = self._plan.dice(f"messages of {month}")
        for day, count in self._days:
            if day.replace(day=1) == month:
                yield from self._day(dice, day, count)

    def _day(self, dice: random.Random, day: dt.date, count: int) -> list[str]:
        open_ = self._campaigns.open_on(midnight(day))
        said: list[tuple[int, str]] = []
        while (left := count - len(said)) > 0:
            length = min(left, 1 + int(dice.expovariate(1 / EVENING)))
            said += self._evening(dice, f"{day} ", self._campaigns.played(dice, open_), length)
        said.sort()
        return [row for _, row in said]

    def _evening(self, dice: random.Random, day: str, campaign: Campaign, length: int) -> Iterator[tuple[int, str]]:
        place = f"{campaign.campaign_id}\t"
        players = [f"{place}{person.user_id}\tuser\t" for person in campaign.players]
        game = (f"{place}{NULL}\tassistant\t", f"{place}{NULL}\tsystem\t", f"{place}{NULL}\ttool\t")
        second = second_of_day(dice)
        for _ in repeat(None, length):
            draw = dice.random()
            if draw < SAID:
                head, text, kept = players[int(draw / SAID * len(players))], self._tongue.said(dice), _PLAIN
            else:
                head, text, kept = _answer(game, draw), self._tongue.told(dice), _made_by(draw)
            second = min(LAST_SECOND, second + int(dice.random() * PAUSE_S * 2))
            yield second, f"{head}{text}\t{kept}\t{day}{CLOCK[second]}.{dice.getrandbits(19):06}+00\n"


def _answer(game: tuple[str, str, str], draw: float) -> str:
    return game[0] if draw < 0.97 else game[1] if draw < 0.99 else game[2]


def _made_by(draw: float) -> str:
    return f'{{"model": "gaia-2", "tokens": {int(draw * 800) - 400}}}'
