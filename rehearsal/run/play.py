"""Plays the phases, and times them: what goes wrong in one is its failed check, and ends the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ops.checks import Check
from rehearsal.run import faults, phases
from rehearsal.run.outcome import Phase
from rehearsal.run.stage import Stage

OnPhase = Callable[[str], None]
OnCheck = Callable[[Check], None]


_LAST = ("refused", "teardown")
"""Phases that come after the faults."""


def chosen(names: Iterable[str]) -> list[str]:
    """These phases and faults, and what they need, in their order; all phases, and no fault, where none is named."""
    wanted, needs = set(names) or set(phases.PHASES), {**phases.NEEDS, **faults.NEEDS}
    wanted |= {need for name in wanted for need in needs[name]}
    order = [*(name for name in phases.PHASES if name not in _LAST), *faults.FAULTS, *_LAST]
    return [name for name in order if name in wanted]


def play(stage: Stage, names: Iterable[str], *, on_phase: OnPhase, on_check: OnCheck) -> Iterable[Phase]:
    """Each phase as it ends; the first that fails is the last."""
    began, known = time.monotonic(), {**phases.PHASES, **faults.FAULTS}
    for name in names:
        on_phase(name)
        started = time.monotonic()
        checks: list[Check] = []
        try:
            for check in known[name](stage):
                checks.append(check)
                on_check(check)
        except Exception as error:  # whatever it is, it is this phase's failure, and the report says so
            checks.append(Check(f"{name} goes through", False, f"{type(error).__name__}: {error}"))
            on_check(checks[-1])
        stage.look()
        phase = Phase(
            name=name,
            seconds=round(time.monotonic() - started, 2),
            started_s=round(started - began, 2),
            checks=tuple(checks),
        )
        yield phase
        if not phase.ok:
            return
