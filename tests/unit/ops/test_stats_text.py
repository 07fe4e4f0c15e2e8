"""Statistics fit a terminal of 80 columns, are plain where they are piped, and one document as JSON."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from ops import stats
from ops.exits import UsageFault
from ops.report import Report
from ops.statistics import live, text
from ops.statistics.look import Answer, Look, Server
from ops.statistics.section import Section
from ops.statistics.sections import LIVE, SECTIONS
from ops.statistics.sessions import LOCKS, SESSIONS, STATEMENTS, TRAFFIC
from ops.statistics.sizes import TABLES

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
SERVER = Server(database="gaia", version="16.14", at=NOW, started=NOW, standby=False, counted_since=None)
LONG = "a_name_that_is_as_long_as_postgresql_lets_it_be_which_is_a_lot_63"
VALUES: dict[str, Any] = {
    "text": LONG,
    "statement": f"SELECT {LONG} FROM {LONG}",
    "count": 12_345_678,
    "rate": 1234.56,
    "bytes": 123_456_789_012,
    "percent": 99.94,
    "milliseconds": 1234.5,
    "seconds": 100_000.0,
    "moment": NOW - dt.timedelta(days=3),
}


def a_look(*answers: Answer, taken_s: float = 100.0) -> Look:
    return Look(server=SERVER, answers=answers, taken_s=taken_s, seconds=0.05)


def full(section: Section, rows: int = 20) -> Answer:
    """An answer with the longest of everything."""
    return Answer(section=section, rows=(tuple(VALUES[kind] for kind in section.columns.values()),) * rows)


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_every_section_fits_the_terminal_whatever_is_in_it(section: Section, width: int) -> None:
    for every_row in (True, False):
        lines = text.lines(a_look(full(section)), where="local", width=width, every_row=every_row)
        assert [line for line in lines if len(line) > width] == []


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_no_number_is_cut_at_80_columns(section: Section) -> None:
    shown = "\n".join(text.lines(a_look(full(section)), where="local", width=80, every_row=False))
    for kind in set(section.columns.values()) - {"text", "statement"}:
        assert text.cell(kind, VALUES[kind], NOW) in shown


def test_where_it_is_piped_nothing_is_cut_and_columns_stand_in_line() -> None:
    rows = (("auth", "users", "80 kB"), ("game", LONG, "8192 bytes"))
    lines = text.lines(a_look(Answer(section=TABLES, rows=rows)), where="local", width=None, every_row=True)
    assert lines == [
        "local: PostgreSQL 16.14, up 0.0 s, at 12:00:00 UTC",
        "",
        "Table sizes",
        f"schemaname  {'tablename':<65}  size",
        f"auth        {'users':<65}  80 kB",
        f"game        {LONG}  8192 bytes",
    ]


def test_numbers_stand_to_the_right_under_their_name() -> None:
    rows = (("active", 3, 1.5, 0.25), ("all", 1_200, 60.0, None))
    assert text.table(SESSIONS.columns, [_cells(SESSIONS, row) for row in rows], 80) == [
        "state   sessions  of_limit  longest",
        "active         3     1.5 %    0.2 s",
        "all        1,200    60.0 %        -",
    ]


def test_statements_stand_below_their_row_because_no_column_is_wide_enough() -> None:
    row = (2, 1.5, 750.0, 4, "SELECT ?")
    lines = text.lines(a_look(Answer(section=STATEMENTS, rows=(row,))), where="local", width=80, every_row=False)
    assert lines[2:] == [
        "Slow statements",
        "calls  total       mean  rows",
        "    2  1.5 s  750.00 ms     4",
        "    runs: SELECT ?",
    ]


def test_a_section_without_rows_an_extension_or_an_answer_says_so() -> None:
    answers = (
        Answer(section=LOCKS),
        Answer(section=STATEMENTS, absent="it is not here"),
        Answer(section=TABLES, error="took more than 5 s"),
    )
    shown = "\n".join(text.lines(a_look(*answers), where="local", width=80, every_row=False))
    assert "Who blocks whom: nobody waits for a lock" in shown
    assert "Slow statements: it is not here" in shown
    assert "Table sizes: not known: took more than 5 s" in shown


def test_where_rows_are_left_out_it_says_how_to_see_them() -> None:
    lines = text.lines(a_look(full(TABLES, 30)), where="local", width=80, every_row=False)
    assert lines[-1] == f"… {30 - text.ROWS_SHOWN} more: ./gaia stats --only tables"
    assert len(text.lines(a_look(full(TABLES, 30)), where="local", width=80, every_row=True)) == 34


def test_a_name_cannot_steer_the_terminal() -> None:
    assert text.cell("text", "a\x1b[2Jb\n", NOW) == "a?[2Jb?"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (200_000, "2 d 7 h")],
)
def test_a_time_span_has_two_units(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (8192, "8192 B"), (10_240, "10 kB"), (3 * 2**30, "3072 MB"), (2**60, "1048576 TB")]
)
def test_an_amount_has_a_unit(count: int, said: str) -> None:
    assert text.amount(count) == said


def test_as_json_a_look_is_one_document_with_plain_values() -> None:
    row = ("12", "gaia", 1.23456, "Share", "auth.users", "13", "gaia", "active", "SELECT ?", None)
    whole = json.loads(json.dumps(stats.document(a_look(Answer(section=LOCKS, rows=(row,))), "local")))
    assert whole["ok"] is True and whole["at"] == "2026-11-23T12:00:00+00:00"
    assert whole["sections"]["locks"]["rows"] == [
        {
            "blocked": "12",
            "user": "gaia",
            "waits_s": 1.235,
            "lock": "Share",
            "on": "auth.users",
            "by": "13",
            "by_user": "gaia",
            "by_state": "active",
            "blocked_runs": "SELECT ?",
            "by_runs": None,
        }
    ]


def test_a_section_that_could_not_be_asked_makes_the_document_not_ok() -> None:
    whole = stats.document(a_look(Answer(section=LOCKS, error="took more than 5 s"), Answer(section=TABLES)), "local")
    assert whole["ok"] is False and whole["sections"]["locks"]["error"] == "took more than 5 s"
    assert whole["sections"]["tables"]["error"] is None


def test_rates_are_counted_between_two_looks() -> None:
    before = a_look(Answer(section=TRAFFIC, rows=(("rows inserted", 100), ("deadlocks", 5))), taken_s=100.0)
    now = a_look(Answer(section=TRAFFIC, rows=(("rows inserted", 150), ("deadlocks", 0))), taken_s=102.0)
    answer = now.since(before).answers[0]
    assert answer.rows == (("rows inserted", 150, 25.0), ("deadlocks", 0, None))
    assert list(answer.section.columns) == ["what", "total", "per_second"]
    assert now.since(None) is now


def test_names_are_unlike_and_the_live_view_has_the_same_sections() -> None:
    names = [section.name for section in SECTIONS]
    assert len(set(names)) == len(names)
    assert sorted(section.name for section in LIVE) == sorted(names)


def test_sections_are_chosen_by_name_in_the_order_given() -> None:
    assert [section.name for section in stats.chosen(["locks", "cache,tables", "locks"])] == [
        "locks",
        "cache",
        "tables",
    ]
    assert stats.chosen([]) == SECTIONS
    assert stats.chosen([], live=True) == LIVE


def test_an_unknown_section_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageFault, match=r"--only sizes: there is no such section; known: database, tables, "):
        stats.chosen(["sizes"])


@pytest.mark.parametrize(("as_json", "every_s"), [(True, 2.0), (False, 0.1)])
def test_a_live_view_is_no_document_and_not_faster_than_five_a_second(as_json: bool, every_s: float) -> None:
    with pytest.raises(UsageFault):
        stats.stats(Report(as_json=as_json), stack_name=None, only=[], watch=True, every_s=every_s)


def test_a_screen_of_the_live_view_ends_between_sections_where_it_can() -> None:
    lines = ["a1", "a2", "", "b1", "b2", "", *(f"c{number}" for number in range(9))]
    assert live.pages(lines, 5) == [
        ["a1", "a2", ""],
        ["b1", "b2", ""],
        ["c0", "c1", "c2", "c3", "c4"],
        ["c5", "c6", "c7", "c8"],
    ]


def _cells(section: Section, row: tuple[Any, ...]) -> list[str]:
    return [text.cell(kind, value, NOW) for kind, value in zip(section.columns.values(), row, strict=True)]
