"""What ``./gaia seed`` refuses before it does anything."""

from __future__ import annotations

import datetime as dt

import pytest

from db.seed.plan import Plan
from ops import seed
from ops.exits import Refused, UsageFault
from ops.report import Report

TOMORROW = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("until", "said"),
    [("yesterday", "must be a date such as"), (str(TOMORROW), "must not be after today")],
)
def test_a_day_that_cannot_be_is_refused(until: str, said: str) -> None:
    with pytest.raises(UsageFault, match=said):
        seed.seed(Report(), stack_name="local", users=1, messages=1, until=until)


def test_numbers_that_make_no_data_are_refused() -> None:
    with pytest.raises(UsageFault, match="at least one user"):
        seed.seed(Report(), stack_name="local", users=0, messages=1)


def test_a_stack_in_google_cloud_is_refused_before_anything_is_asked_of_it() -> None:
    with pytest.raises(Refused, match="stack prod is in Google Cloud"):
        seed.seed(Report(), stack_name="prod", users=1, messages=1)


def test_what_was_made_is_a_line_a_table_with_the_numbers_one_below_the_other() -> None:
    made = Plan.of(users=300, messages=100_000, campaigns=None, until=dt.date(2026, 11, 23), seed=7)
    said = seed._sentence({"auth.users": 300, "game.chat_history": 100_000}, made, 6.4)
    assert said.splitlines() == [
        f"made in 6.4 s, from {made.since} until 2026-11-23, seed 7:",
        "      300  auth.users",
        "  100,000  game.chat_history",
    ]
