"""A finding: one thing that was looked at, what is wrong with it, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ops.checks import Check

Level = Literal["fault", "warning", "note"]
LEVELS: tuple[Level, ...] = ("fault", "warning", "note")
"""Worst first. A fault keeps somebody from working, a warning will, a note is good to know."""


@dataclass(frozen=True, kw_only=True)
class Mend:
    """Something safe that ``--fix`` can do."""

    kind: str
    """Its function in ``ops.doctor.mends``."""
    title: str
    """What is asked, and what is said afterwards."""
    subject: str = ""
    """On what it is done."""


UP = Mend(kind="up", title="run ./gaia up")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check, with its way out apart from what was found."""

    name: str
    found: str = ""
    """What is wrong; empty where all is well."""
    way: str = ""
    """What to do, the command included."""
    level: Level = "fault"
    mend: Mend | None = None

    @property
    def check(self) -> Check:
        """The same as a check: a note is none that fails."""
        hint = f"{self.found}: {self.way}" if self.found and self.way else self.found
        return Check(self.name, not self.found or self.level == "note", hint)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        check = self.check
        return {"name": check.name, "ok": check.ok, "hint": check.hint, "level": self.level if self.found else None}


def span(seconds: float) -> str:
    """A length of time for people: ``5 s``, ``12 min``, ``3 h``, ``1.0 days``."""
    seconds = abs(seconds)
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 80_000)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
