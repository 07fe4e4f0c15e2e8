"""Made-up data: the same for the same plan, as many rows as asked for, of the shape that real ones have."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import chain
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.seed import campaigns, people
from db.seed.copying import blocks, line
from db.seed.messages import Evenings
from db.seed.plan import Plan
from db.seed.times import HOURS, shares
from db.seed.words import COMMON, Tongue

UNTIL = dt.date(2026, 11, 23)
PLAN = Plan.of(users=60, messages=6_000, campaigns=40, until=UNTIL)


def evenings(plan: Plan) -> Evenings:
    tongue = Tongue(plan.dice("words"))
    return Evenings(plan, campaigns.Campaigns(plan, people.people(plan, tongue)), tongue)


def said(plan: Plan) -> list[list[str]]:
    """The columns of every message."""
    made = evenings(plan)
    rows = chain.from_iterable(made.month(month) for month in made.months())
    return [row.removesuffix("\n").split("\t") for row in rows]


MESSAGES = said(PLAN)
CAMPAIGN, USER, ROLE, CONTENT, METADATA, CREATED = range(6)


def test_the_same_plan_makes_the_same_rows_and_another_seed_others() -> None:
    assert said(PLAN) == MESSAGES
    assert said(Plan.of(users=60, messages=6_000, campaigns=40, until=UNTIL, seed=1)) != MESSAGES


def test_a_month_is_the_same_whatever_was_made_before_it() -> None:
    month = evenings(PLAN).months()[-2]
    of_the_month = [columns for columns in MESSAGES if columns[CREATED].startswith(f"{month:%Y-%m}")]
    assert [row.removesuffix("\n").split("\t") for row in evenings(PLAN).month(month)] == of_the_month


@given(total=st.integers(0, 10_000), days=st.integers(1, 400))
def test_the_days_have_exactly_what_was_asked_for(total: int, days: int) -> None:
    span = [UNTIL + dt.timedelta(days=number) for number in range(days)]
    parts = dict(shares(span, total))
    assert list(parts) == span
    assert sum(parts.values()) == total
    assert min(parts.values()) >= 0


def test_messages_come_in_the_order_of_time_within_the_two_years() -> None:
    times = [columns[CREATED] for columns in MESSAGES]
    assert len(times) == 6_000
    assert [time[:19] for time in times] == sorted(time[:19] for time in times)
    assert times[0] >= "2024-11-01"
    assert times[-1] < str(UNTIL)


def test_only_players_of_a_campaign_speak_in_it_and_the_game_is_nobody() -> None:
    tongue = Tongue(PLAN.dice("words"))
    played = campaigns.Campaigns(PLAN, people.people(PLAN, tongue))
    players = {one.campaign_id: {person.user_id for person in one.players} for one in played.all}
    for columns in MESSAGES:
        if columns[ROLE] == "user":
            assert columns[USER] in players[columns[CAMPAIGN]]
        else:
            assert columns[USER] == r"\N"


def test_most_is_said_in_the_evening() -> None:
    hours = Counter(int(columns[CREATED][11:13]) for columns in MESSAGES)
    assert hours[20] > 5 * hours[4]
    assert HOURS.index(max(HOURS)) in range(18, 23)


def test_a_fifth_of_the_campaigns_has_most_of_the_messages() -> None:
    big = Plan.of(users=300, messages=6_000, campaigns=200, until=UNTIL)
    sizes = sorted(Counter(columns[CAMPAIGN] for columns in said(big)).values(), reverse=True)
    assert sum(sizes[:40]) > 0.5 * sum(sizes)


def test_words_are_as_frequent_as_words_are_and_texts_as_long() -> None:
    words = Counter(word.strip(",.").lower() for columns in MESSAGES for word in columns[CONTENT].split())
    assert words["the"] > 1.5 * words["and"] > 0
    assert words["the"] > 20 * words[COMMON[-1]]
    lengths = [len(columns[CONTENT].split()) for columns in MESSAGES]
    assert mean(lengths) > 1.2 * median(lengths)


def test_no_mail_reaches_anybody() -> None:
    tongue = Tongue(PLAN.dice("words"))
    rows = [row.split("\t") for row in people.user_rows(PLAN, people.people(PLAN, tongue))]
    assert len(rows) == 60
    assert all(row[2].endswith("@example.invalid") for row in rows)
    assert len({row[1].lower() for row in rows}) == 60
    assert [row[3] for row in rows].count("t") == 1


def test_a_second_batch_has_other_people() -> None:
    more = Plan(**{**PLAN.__dict__, "batch": 60})
    names = [{person.name for person in people.people(plan, Tongue(plan.dice("words")))} for plan in (PLAN, more)]
    assert names[0].isdisjoint(names[1])


def test_what_would_break_a_copy_is_escaped() -> None:
    assert (
        line("a\tb\\c\nd\r", None, b"\x00\xff", {"q": "\n"}, 7)
        == 'a\\tb\\\\c\\nd\\r\t\\N\t\\\\x00ff\t{"q": "\\\\n"}\t7\n'
    )


def test_blocks_hold_every_line_once() -> None:
    lines = [f"{number}\n" * 100 for number in range(5_000)]
    made = list(blocks(lines))
    assert b"".join(block for block, _ in made).decode() == "".join(lines)
    assert sum(count for _, count in made) == len(lines)
    assert len(made) > 1


@pytest.mark.parametrize(("users", "messages", "made"), [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_a_plan_without_people_is_refused(users: int, messages: int, made: int) -> None:
    with pytest.raises(ValueError, match="at least one user"):
        Plan.of(users=users, messages=messages, campaigns=made, until=UNTIL)


def test_there_is_a_campaign_for_every_three_users_and_at_least_one() -> None:
    assert Plan.of(users=1, messages=0, until=UNTIL).campaigns == 1
    assert Plan.of(users=300, messages=0, until=UNTIL).campaigns == 100
