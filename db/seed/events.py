"""What the audit log would have of it: logins."""

from collections.abc import Iterator

from db.seed.copying import key, line, stamp
from db.seed.people import AGENTS, Person, address
from db.seed.plan import Plan
from db.seed.times import midnight, moment

COLUMNS = "event_id, event_type, user_id, ip, user_agent, details, created_at"


def event_rows(plan: Plan, everybody: list[Person]) -> Iterator[str]:
    """``audit.security_events``: five logins a user in the mean, one in ten of them failed."""
    dice = plan.dice("events")
    begin = midnight(plan.since)
    for person in everybody:
        for _ in range(min(50, 1 + int(dice.expovariate(0.2)))):
            failed = dice.random() < 0.1
            kind, who = ("login_failed", None) if failed else ("login_succeeded", person.user_id)
            at = moment(dice, max(begin, person.since), max(begin, person.last_login))
            details = {"seed": plan.seed, **({"attempted": person.name} if failed else {})}
            yield line(key(dice), kind, who, address(dice), dice.choice(AGENTS), details, stamp(at))
