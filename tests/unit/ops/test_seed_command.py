"""What ``./gaia seed`` refuses before it does anything."""

from __future__ import annotations

import datetime as dt

import pytest

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
