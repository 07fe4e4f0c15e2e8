"""Every fault that can be asked for, played: production gets well again, and nothing is made twice or lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.acquire import acquire
from rehearsal.run.faults import FAULTS
from rehearsal.run.play import chosen, play
from rehearsal.run.stage import opened
from tests import postgres

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]
HALVES = {
    "the API": ["slow-api", "too-many-requests", "server-error", "precondition"],
    "what it works on": ["operation-dies", "job-killed", "primary-lost"],
}


@pytest.mark.parametrize("names", HALVES.values(), ids=HALVES)
def test_production_gets_well_again(names: list[str]) -> None:
    if (reason := postgres.unavailable()) is not None:
        pytest.skip(reason)
    with opened(ROOT, "prod", acquire(), choice="builtin") as stage:
        played = list(play(stage, chosen(names), on_phase=lambda _: None, on_check=lambda _: None))
    failed = [f"{phase.name}: {check.name}: {check.hint}" for phase in played for check in phase.checks if not check.ok]
    assert failed == []
    assert [phase.name for phase in played][-len(names) :] == names


def test_none_is_left_out() -> None:
    assert sorted(name for names in HALVES.values() for name in names) == sorted(FAULTS)
