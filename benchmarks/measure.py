"""Two sides timed in turn, their medians compared with a bar, and the table of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal


def _nothing() -> None: ...


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison. Only ``run`` is timed."""

    run: Callable[[], object]
    after: Callable[[], object] = _nothing
    """Brings everything back to where it was before ``run``."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a median must stay within."""

    measure: Literal["ratio", "seconds", "added seconds"]
    """Ours by the baseline, ours alone, or ours less the baseline."""
    at_most: float


@dataclass(frozen=True, kw_only=True)
class Times:
    """What was measured of one case, in seconds, in the order of the runs."""

    name: str
    ours: Sequence[float]
    baseline: Sequence[float] = ()
    """Empty where there is nothing to compare with."""

    def value(self, measure: str) -> float:
        """The medians as ``measure`` takes them."""
        ours = median(self.ours)
        if measure == "seconds":
            return ours
        return ours / median(self.baseline) if measure == "ratio" else ours - median(self.baseline)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One case against one bar."""

    times: Times
    bar: Bar

    @property
    def value(self) -> float:
        return self.times.value(self.bar.measure)

    @property
    def ok(self) -> bool:
        return self.value <= self.bar.at_most

    def document(self) -> dict[str, Any]:
        """The result for ``--json``."""
        baseline = self.times.baseline
        return {
            "name": self.times.name,
            "ours_s": round(median(self.times.ours), 3),
            "baseline_s": round(median(baseline), 3) if baseline else None,
            "measure": self.bar.measure,
            "value": round(self.value, 3),
            "bar": self.bar.at_most,
            "ok": self.ok,
            "runs": len(self.times.ours),
            "ours_runs_s": [round(seconds, 3) for seconds in self.times.ours],
            "baseline_runs_s": [round(seconds, 3) for seconds in baseline],
        }


def in_turn(name: str, ours: Side, baseline: Side | None, runs: int, say: Callable[[str], None]) -> Times:
    """Time baseline, ours, baseline, ours, ...: what else the machine does falls on both."""
    sides: dict[str, Side] = {**({"baseline": baseline} if baseline else {}), "ours": ours}
    taken: dict[str, list[float]] = {"baseline": [], "ours": []}
    for number in range(1, runs + 1):
        for which, side in sides.items():
            taken[which].append(_timed(side))
        both = ", ".join(f"{which} {taken[which][-1]:.2f} s" for which in sides)
        say(f"{name} {number}/{runs}: {both}")
    return Times(name=name, ours=taken["ours"], baseline=taken["baseline"])


def _timed(side: Side) -> float:
    started = time.perf_counter()
    try:
        side.run()
        return time.perf_counter() - started
    finally:
        side.after()


def table(results: Sequence[Result]) -> str:
    """The results for people, a line each."""
    heads = ("name", "ours (s)", "baseline (s)", "measure", "value", "bar", "", "runs")
    rows = [heads, *(_row(result) for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(result: Result) -> tuple[str, ...]:
    found = result.document()
    baseline = "-" if found["baseline_s"] is None else f"{found['baseline_s']:.2f}"
    return (
        found["name"],
        f"{found['ours_s']:.2f}",
        baseline,
        found["measure"],
        f"{found['value']:.2f}",
        f"≤ {found['bar']:g}",
        "ok" if found["ok"] else "over",
        str(found["runs"]),
    )
