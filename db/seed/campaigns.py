"""Campaigns, who takes part in them, and who was given access besides."""

import bisect
import datetime as dt
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from db.seed.copying import key, line, stamp
from db.seed.people import LEAD, Person
from db.seed.plan import Plan
from db.seed.times import midnight, moment
from db.seed.words import Tongue

TAIL = 1.16
"""Pareto's exponent: a fifth of the campaigns have four fifths of the messages."""
CAMPAIGN_COLUMNS = "campaign_id, owner_id, name, description, settings, state, is_active, created_at, updated_at"
PARTICIPANT_COLUMNS = "campaign_id, user_id, role, character_name, joined_at, left_at"
GRANT_COLUMNS = (
    "access_control_id, user_id, resource_type, resource_id, permission_level, granted_by, created_at, expires_at"
)


@dataclass(frozen=True, slots=True)
class Campaign:
    """What the other rows need to know of a campaign."""

    campaign_id: str
    owner: Person
    since: dt.datetime
    players: tuple[Person, ...]
    """The owner is one of them."""


class Campaigns:
    """All campaigns, the oldest first, and how much is played in each."""

    def __init__(self, plan: Plan, everybody: list[Person]) -> None:
        dice = plan.dice("campaigns")
        begin, end = midnight(plan.since), midnight(plan.until)
        starts = sorted(moment(dice, begin - LEAD / 2, end) for _ in range(plan.campaigns))
        starts[0] = min(starts[0], begin - LEAD / 2)  # one is there from the first day
        self.all = [_campaign(dice, everybody, since) for since in starts]
        self._starts = starts
        self._sums = list(itertools.accumulate(dice.paretovariate(TAIL) for _ in starts))

    def open_on(self, day: dt.datetime) -> int:
        """How many are there by then."""
        return max(1, bisect.bisect_right(self._starts, day))

    def played(self, dice: random.Random, open_: int) -> Campaign:
        """One of the first ``open_`` ones, the big ones more often."""
        last = open_ - 1
        return self.all[bisect.bisect(self._sums, dice.random() * self._sums[last], 0, last)]


def _campaign(dice: random.Random, everybody: list[Person], since: dt.datetime) -> Campaign:
    owner = dice.choice(everybody)
    wanted = min(12, 2 + int(dice.expovariate(0.45)))
    players = {person.user_id: person for person in (owner, *dice.choices(everybody, k=wanted))}
    return Campaign(str(key(dice)), owner, since, tuple(players.values()))


def campaign_rows(plan: Plan, campaigns: Campaigns, tongue: Tongue) -> Iterator[str]:
    """``game.campaigns``"""
    dice = plan.dice("campaign rows")
    for campaign in campaigns.all:
        settings = {"difficulty": dice.choice(("easy", "normal", "hard")), "model": dice.choice(("gaia-1", "gaia-2"))}
        state = {"chapter": dice.randrange(1, 30), "place": tongue.name(dice)}
        since, active = stamp(campaign.since), "t" if dice.random() < 0.8 else "f"
        name, about = tongue.name(dice, 2), tongue.told(dice)
        yield line(campaign.campaign_id, campaign.owner.user_id, name, about, settings, state, active, since, since)


def participant_rows(plan: Plan, campaigns: Campaigns, tongue: Tongue) -> Iterator[str]:
    """``game.campaign_participants``: the owner is the game master in half of them; one player in twelve has left."""
    dice = plan.dice("participants")
    for campaign in campaigns.all:
        for person in campaign.players:
            role = _role(dice, owns=person is campaign.owner)
            left = moment(dice, campaign.since, midnight(plan.until)) if dice.random() < 0.08 else None
            character = tongue.name(dice) if role == "player" else None
            yield line(campaign.campaign_id, person.user_id, role, character, stamp(campaign.since), stamp(left))


def _role(dice: random.Random, *, owns: bool) -> str:
    if owns:
        return dice.choice(("game_master", "player"))
    return dice.choices(("player", "spectator", "game_master"), (88, 10, 2))[0]


def grant_rows(plan: Plan, campaigns: Campaigns, everybody: list[Person]) -> Iterator[str]:
    """``auth.access_control``: a guest in every fourth campaign, half of them for a while only."""
    dice = plan.dice("grants")
    for campaign in campaigns.all:
        if dice.random() < 0.25:
            level = dice.choices(("read", "write", "admin"), (7, 2, 1))[0]
            given = moment(dice, campaign.since, max(campaign.since, midnight(plan.until)))
            ends = stamp(given + dt.timedelta(days=dice.randrange(1, 365))) if dice.random() < 0.5 else None
            guest, owner = dice.choice(everybody).user_id, campaign.owner.user_id
            yield line(key(dice), guest, "campaign", campaign.campaign_id, level, owner, stamp(given), ends)
