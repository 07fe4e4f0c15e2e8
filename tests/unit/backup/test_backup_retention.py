"""Which backups go: whatever clocks, failures and damage do, the newest two that are good stay."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from backup import folder
from backup.folder import Entry, to_remove
from tests.unit.backup.samples import NOON, entry

JUMPS = st.integers(-400 * 86_400, 400 * 86_400) | st.integers(1, 86_400) | st.just(0)
STEPS = st.lists(
    st.tuples(JUMPS, st.sampled_from(["made", "made", "made", "failed", "damaged"]), st.integers(0, 20)), max_size=60
)


def newest(there: list[Entry], how: str) -> set[str]:
    good = [e for e in there if e.verified and e.manifest]
    keys = {"time": lambda e: (e.made_at, e.manifest.number), "making": lambda e: e.manifest.number}
    return {e.name for e in sorted(good, key=keys[how])[-2:]}


@given(STEPS, st.integers(0, 12))
def test_the_newest_two_by_time_and_by_making_always_stay_and_only_good_ones_go(
    steps: list[tuple[int, str, int]], keep: int
) -> None:
    clock, number, there = NOON, 0, list[Entry]()
    for jump, what, which in steps:
        clock += timedelta(seconds=jump)
        if what == "damaged" and there:
            there[which % len(there)] = dataclasses.replace(there[which % len(there)], fault="one byte")
        if what == "made":
            number += 1
            there.append(entry(number, clock))
        going = {e.name for e in to_remove(there, keep)}
        assert all(e.verified for e in there if e.name in going)
        assert not going & (newest(there, "time") | newest(there, "making"))
        good = len([e for e in there if e.verified])
        there = [e for e in there if e.name not in going]
        left = len([e for e in there if e.verified])
        assert min(good, max(keep, 2)) <= left <= max(keep, 2) + 2


@given(st.lists(st.integers(1, 86_400), max_size=40), st.integers(2, 12))
def test_while_the_clock_goes_on_exactly_the_last_ones_stay(waits: list[int], keep: int) -> None:
    clock, there = NOON, list[Entry]()
    for number, wait in enumerate(waits, start=1):
        clock += timedelta(seconds=wait)
        there.append(entry(number, clock))
        gone = {e.name for e in to_remove(there, keep)}
        there = [e for e in there if e.name not in gone]
    assert [e.manifest.number for e in there if e.manifest] == list(range(1, len(waits) + 1))[-keep:]


def test_one_that_was_made_while_the_clock_was_a_year_behind_is_not_the_first_to_go() -> None:
    there = [entry(number, NOON + timedelta(days=number)) for number in range(1, 11)]
    late = entry(11, NOON - timedelta(days=365))
    assert to_remove([*there, late], 10) == []
    assert [e.name for e in to_remove([*there, late], 9)] == ["gaia_backup_1"]


def test_damaged_ones_neither_count_nor_go() -> None:
    there = [entry(number, NOON + timedelta(days=number), fault="cut" if number > 3 else None) for number in range(9)]
    assert [e.name for e in to_remove(there, 2)] == ["gaia_backup_0", "gaia_backup_1"]


def test_ten_are_kept_where_nothing_is_said() -> None:
    there = [entry(number, NOON + timedelta(days=number)) for number in range(12)]
    assert folder.KEPT == 10
    assert [e.name for e in to_remove(there)] == ["gaia_backup_0", "gaia_backup_1"]
