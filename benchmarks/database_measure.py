"""Figures of the database benchmarks: two sides measured in turn, compared, and the table of it."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

Question = Callable[[Any], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One comparison against one bar."""

    name: str
    against: str
    """What the baseline is."""
    measure: str
    """What is compared: a p95, a median, a throughput."""
    unit: str
    ours: float
    baseline: float
    value: float
    """Ours by the baseline, or ours less the baseline in seconds."""
    bar: float
    at_least: bool = False
    """The value must reach the bar, rather than stay within it."""
    samples: int

    @property
    def ok(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def document(self) -> dict[str, Any]:
        """The figure for ``--json``."""
        rounded = {key: round(value, 3) for key, value in asdict(self).items() if isinstance(value, float)}
        return {**asdict(self), **rounded, "ok": self.ok}


def p95(samples: Sequence[float]) -> float:
    """What 95 in 100 samples stay under."""
    return quantiles(samples, n=20)[-1]


async def answers(sides: Mapping[str, Question], questions: Iterable[Any]) -> dict[str, list[float]]:
    """Milliseconds that each side took for each question: every question goes to all sides, one after the other."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides.items())
    for number, question in enumerate(questions):
        turn = number % len(order)
        for name, ask in (*order[turn:], *order[:turn]):
            started = time.perf_counter()
            await ask(question)
            taken[name].append((time.perf_counter() - started) * 1000)
    return taken


def in_turn(
    name: str, sides: dict[str, Callable[[], None]], clear: Callable[[], None], *, runs: int, say: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds of each run; what it made is removed before the next, and the disk is let come to rest."""
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(runs):
        for side, work in list(sides.items())[:: 1 if number % 2 else -1]:
            os.sync()
            started = time.perf_counter()
            work()
            taken[side].append(time.perf_counter() - started)
            clear()
        say(f"{name} {number + 1}/{runs}: {', '.join(f'{k} {v[-1]:.2f} s' for k, v in taken.items())}")
    return taken


def slower(name: str, against: str, how: str, ours: Sequence[float], baseline: Sequence[float], bar: float) -> Figure:
    """Ours by the baseline in milliseconds; ``how`` is ``p95`` or ``median``."""
    take = {"p95": p95, "median": median}[how]
    mine, other = take(ours), take(baseline)
    return Figure(
        name=name,
        against=against,
        measure=how,
        unit="ms",
        ours=mine,
        baseline=other,
        value=mine / other,
        bar=bar,
        samples=len(ours),
    )


def throughput(
    name: str, against: str, unit: str, many: int, ours: Sequence[float], baseline: Sequence[float], bar: float
) -> Figure:
    """Medians of runs (in seconds) that each did ``many`` things, as things a second."""
    mine, other = many / median(ours), many / median(baseline)
    return Figure(
        name=name,
        against=against,
        measure="throughput",
        unit=unit,
        ours=mine,
        baseline=other,
        value=mine / other,
        bar=bar,
        at_least=True,
        samples=len(ours),
    )


def added(name: str, against: str, ours: Sequence[float], baseline: Sequence[float], bar: float) -> Figure:
    """How many seconds ours takes more, by the medians."""
    mine, other = median(ours), median(baseline)
    return Figure(
        name=name,
        against=against,
        measure="added seconds",
        unit="s",
        ours=mine,
        baseline=other,
        value=mine - other,
        bar=bar,
        samples=len(ours),
    )


def ratio(name: str, against: str, ours: Sequence[float], baseline: Sequence[float], bar: float) -> Figure:
    """How often ours takes what the baseline takes, by the medians of runs in seconds."""
    mine, other = median(ours), median(baseline)
    return Figure(
        name=name,
        against=against,
        measure="ratio",
        unit="s",
        ours=mine,
        baseline=other,
        value=mine / other,
        bar=bar,
        samples=len(ours),
    )


def table(figures: Sequence[Figure]) -> str:
    """The figures for people, a line each."""
    heads = ("name", "against", "measure", "ours", "baseline", "value", "bar", "", "samples")
    rows = [heads, *(_row(figure) for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        figure.against,
        figure.measure,
        f"{figure.ours:,.2f} {figure.unit}",
        f"{figure.baseline:,.2f} {figure.unit}",
        f"{figure.value:.2f}",
        f"{'≥' if figure.at_least else '≤'} {figure.bar:g}",
        "ok" if figure.ok else "over",
        str(figure.samples),
    )
