"""Places in the log as numbers, and what the primary's looks prove about a replica's age."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import wal
from db.wal import History, Look

SEGMENT = 16 * 1024 * 1024


def primary(at: float, lsn: int, inserted: int | None = None) -> Look:
    return Look(at, False, lsn, lsn if inserted is None else inserted)


def test_a_place_is_a_number_and_back() -> None:
    assert wal.parse("16/B374D848") == 0x16B374D848
    assert wal.mark("16/B374D848", SEGMENT) == "16/B374D848"


@pytest.mark.parametrize("text", ["", "16", "16/", "16/B374D8488", "-1/0", "0/x", "0/1 ", "'; DROP"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no place in the log"):
        wal.parse(text)


@pytest.mark.parametrize(
    ("inserted", "end"),
    [
        (SEGMENT * 3 + 40, SEGMENT * 3),  # behind the long header of a segment
        (SEGMENT * 3 + 8192 + 24, SEGMENT * 3 + 8192),  # behind a page's
        (SEGMENT * 3 + 8192 + 40, SEGMENT * 3 + 8192 + 40),  # 16 bytes of a record
        (SEGMENT * 3 + 48, SEGMENT * 3 + 48),
    ],
)
def test_a_header_is_no_record(inserted: int, end: int) -> None:
    assert wal.record_end(inserted, SEGMENT) == end


def test_a_replica_is_as_fresh_as_the_last_look_at_which_the_primary_was_where_it_is() -> None:
    history = History(5)
    assert history.fresh_at(100) is None and not history.covers(0)
    for at, lsn in ((1, 100), (2, 100), (3, 200)):
        history.add(primary(at, lsn))
    assert [history.fresh_at(lsn) for lsn in (99, 100, 199, 200, 999)] == [None, 2, 2, 3, 3]
    assert history.covers(1) and not history.covers(0.5)


def test_a_write_is_shown_by_what_the_primary_had_inserted_at_the_first_look_after_it() -> None:
    history = History(5)
    for at, lsn in ((1, 100), (2, 200)):
        history.add(primary(at, lsn, lsn + 10))
    assert [history.target(since) for since in (0, 1, 1.5, 2, 2.5)] == [110, 110, 210, 210, None]


def test_what_is_older_than_the_span_goes_but_for_one() -> None:
    history = History(5)
    for at in range(20):
        history.add(primary(at, at))
    assert history.fresh_at(13) is None and history.fresh_at(14) == 14


def test_another_primary_begins_another_history() -> None:
    history = History(5)
    history.add(primary(1, 500))
    history.add(primary(2, 400))
    assert history.fresh_at(450) == 2 and not history.covers(1)


@given(st.lists(st.tuples(st.floats(0, 0.4), st.integers(0, 50)), max_size=200), st.integers(0, 3000))
def test_however_many_looks_nothing_is_taken_for_fresher_than_it_is(steps: list[tuple[float, int]], lsn: int) -> None:
    history, looks, at, end = History(2), list[Look](), 0.0, 0
    for pause, bytes_ in steps:
        at, end = at + pause, end + bytes_
        looks.append(primary(at, end))
        history.add(looks[-1])
    proven = [look.at for look in looks if look.lsn <= lsn]
    told = history.fresh_at(lsn)
    assert told is None or told <= max(proven)
    if proven and max(proven) > at - 1.9:  # what is within the span is known to a hundredth of it
        assert told is not None and told >= max(proven) - 0.04
