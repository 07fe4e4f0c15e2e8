"""The arithmetic and the table of the benchmarks; what they time isn't run here."""

from __future__ import annotations

import pytest

from benchmarks.cases import CASES
from benchmarks.commands import plain_environment
from benchmarks.measure import Bar, Result, Side, Times, in_turn, table

TIMES = Times(name="up", ours=[3.0, 9.0, 2.4], baseline=[2.0, 1.0, 8.0])


@pytest.mark.parametrize(("measure", "value"), [("ratio", 1.5), ("seconds", 3.0), ("added seconds", 1.0)])
def test_medians_are_compared_and_not_means(measure: str, value: float) -> None:
    assert TIMES.value(measure) == value


def test_a_value_at_the_bar_is_within_it_and_one_above_is_not() -> None:
    assert Result(times=TIMES, bar=Bar(measure="ratio", at_most=1.5)).ok
    assert not Result(times=TIMES, bar=Bar(measure="ratio", at_most=1.49)).ok


def test_the_sides_run_in_turn_and_each_is_brought_back_after_its_run() -> None:
    done: list[str] = []

    def side(name: str) -> Side:
        return Side(run=lambda: done.append(name), after=lambda: done.append(f"{name} back"))

    times = in_turn("up", side("ours"), side("plain"), 2, lambda _line: None)

    assert done == ["plain", "plain back", "ours", "ours back"] * 2
    assert (len(times.ours), len(times.baseline)) == (2, 2)


def test_a_side_that_fails_is_brought_back_too() -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        in_turn("up", Side(run=fail, after=lambda: done.append("back")), None, 1, lambda _line: None)
    assert done == ["back"]


def test_the_table_has_a_line_for_each_bar_and_says_which_is_over() -> None:
    alone = Times(name="url", ours=[0.5])
    lines = table(
        [
            Result(times=TIMES, bar=Bar(measure="ratio", at_most=1.4)),
            Result(times=alone, bar=Bar(measure="seconds", at_most=0.8)),
        ]
    ).splitlines()

    assert lines[0].split() == ["name", "ours", "(s)", "baseline", "(s)", "measure", "value", "bar", "runs"]
    assert lines[1].split() == ["up", "3.00", "2.00", "ratio", "1.50", "≤", "1.4", "over", "3"]
    assert lines[2].split() == ["url", "0.50", "-", "seconds", "0.50", "≤", "0.8", "ok", "1"]


def test_the_document_has_the_single_runs_beside_the_medians() -> None:
    document = Result(times=TIMES, bar=Bar(measure="ratio", at_most=1.5)).document()

    assert document["ours_s"] == 3.0
    assert document["baseline_runs_s"] == [2.0, 1.0, 8.0]
    assert document["ok"] is True


def test_every_case_has_a_bar() -> None:
    assert all(case.bars for case in CASES.values())


def test_neither_side_sees_variables_that_steer_only_one() -> None:
    environ = {"PATH": "/bin", "PULUMI_STACK": "prod", "GAIA_STACK": "dev", "PGHOST": "db", "PULUMI_HOME": "/home/p"}

    assert plain_environment(environ) == {"PATH": "/bin", "PULUMI_HOME": "/home/p"}
