"""What a rehearsal found: phases with their checks, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ops.checks import Check


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part of the run."""

    name: str
    seconds: float
    checks: tuple[Check, ...]
    started_s: float = 0
    """Since the run began."""

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)


@dataclass(kw_only=True)
class Run:
    """All that came of it so far."""

    stack: str
    provider: str
    """``official`` or ``builtin``."""
    phases: list[Phase] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What this run did not model, or did otherwise than Google would."""

    @property
    def ok(self) -> bool:
        return bool(self.phases) and all(phase.ok for phase in self.phases)

    @property
    def seconds(self) -> float:
        return round(sum(phase.seconds for phase in self.phases), 2)

    def document(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "ok": self.ok,
            "stack": self.stack,
            "provider": self.provider,
            "seconds": self.seconds,
            "phases": [
                {
                    "name": phase.name,
                    "ok": phase.ok,
                    "seconds": phase.seconds,
                    "checks": [{"name": c.name, "ok": c.ok, "hint": c.hint} for c in phase.checks],
                }
                for phase in self.phases
            ],
            "notes": self.notes,
        }
