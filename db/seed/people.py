"""Users, their provider accounts and their sessions."""

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import dataclass

from db.seed.copying import key, line, stamp
from db.seed.plan import Plan
from db.seed.times import midnight, moment
from db.seed.words import Tongue

DOMAIN = "example.invalid"
"""Reserved (RFC 6761): a mail to it reaches nobody."""
LEAD = dt.timedelta(days=90)
"""The first users came that long before the first message."""
SESSION = dt.timedelta(days=30)
AGENTS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Windows NT 10.0)", "Mozilla/5.0 (iPhone)", "Gaia/1.4")
USER_COLUMNS = "user_id, username, email, is_admin, is_active, email_verified_at, last_login_at, created_at, updated_at"
ACCOUNT_COLUMNS = "oauth_account_id, user_id, provider, provider_account_id, email, scopes, created_at, updated_at"
SESSION_COLUMNS = "session_id, user_id, token_hash, ip, user_agent, created_at, last_seen_at, expires_at, revoked_at"


@dataclass(frozen=True, slots=True)
class Person:
    """What the other rows need to know of a user."""

    user_id: str
    name: str
    since: dt.datetime
    last_login: dt.datetime


def people(plan: Plan, tongue: Tongue) -> list[Person]:
    """All users, first come first."""
    dice = plan.dice("people")
    end = midnight(plan.until)
    arrivals = sorted(moment(dice, midnight(plan.since) - LEAD, end) for _ in range(plan.users))
    return [_person(dice, tongue, since, end) for since in arrivals]


def _person(dice: random.Random, tongue: Tongue, since: dt.datetime, end: dt.datetime) -> Person:
    user_id = key(dice)
    name = f"{tongue.name(dice)}_{user_id.hex[:8]}"
    return Person(str(user_id), name, since, end - (end - since) * dice.random() ** 4)


def user_rows(plan: Plan, everybody: list[Person]) -> Iterator[str]:
    """``auth.users``: nobody can sign in with a password; the first is an administrator, one in fifty is barred."""
    dice = plan.dice("users")
    for number, person in enumerate(everybody):
        first = number == 0
        active = "t" if first or dice.random() > 0.02 else "f"
        verified = stamp(person.since + dt.timedelta(minutes=9)) if dice.random() < 0.9 else None
        since, last = stamp(person.since), stamp(person.last_login)
        email = f"{person.name.lower()}@{DOMAIN}"
        yield line(person.user_id, person.name, email, "t" if first else "f", active, verified, last, since, last)


def account_rows(plan: Plan, everybody: list[Person]) -> Iterator[str]:
    """``auth.oauth_accounts``: four users in ten came by a provider. No tokens."""
    dice = plan.dice("accounts")
    for person in everybody:
        if dice.random() < 0.4:
            provider = dice.choices(("google", "discord", "github"), (6, 3, 1))[0]
            email, since = f"{person.name.lower()}@{DOMAIN}", stamp(person.since)
            number = dice.getrandbits(60)
            yield line(key(dice), person.user_id, provider, number, email, "{openid,email}", since, since)


def session_rows(plan: Plan, everybody: list[Person]) -> Iterator[str]:
    """``auth.sessions``: two a user in the mean, most of them over. The hashes are of no token."""
    dice = plan.dice("sessions")
    for person in everybody:
        for _ in range(min(20, int(dice.expovariate(0.5)) + 1)):
            begun = moment(dice, person.since, person.last_login)
            revoked = stamp(begun + SESSION * dice.random()) if dice.random() < 0.2 else None
            seen, ends = stamp(begun + SESSION * dice.random() / 2), stamp(begun + SESSION)
            token, agent = dice.randbytes(32), dice.choice(AGENTS)
            yield line(key(dice), person.user_id, token, address(dice), agent, stamp(begun), seen, ends, revoked)


def address(dice: random.Random) -> str:
    """An address that belongs to nobody (RFC 2544)."""
    return f"198.{dice.choice((18, 19))}.{dice.getrandbits(8)}.{dice.getrandbits(8)}"
