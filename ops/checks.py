"""A check: a name, whether it holds, and what to do where it doesn't."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ops.exits import FAILED, FINE
from ops.report import Report


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    hint: str = ""
    """What was found, and the way out; empty where all is well."""


def tell(report: Report, stack: str, checks: list[Check]) -> int:
    """Print the checks; returns the exit code."""
    ok = all(check.ok for check in checks)
    lines = [
        f"{'ok  ' if check.ok else 'FAIL'}  {check.name}" + (f": {check.hint}" if check.hint else "")
        for check in checks
    ]
    failed = sum(not check.ok for check in checks)
    lines.append(f"{len(checks) - failed} of {len(checks)} checks hold" + (f", {failed} failed" if failed else ""))
    report.result("\n".join(lines), {"ok": ok, "stack": stack, "checks": [asdict(check) for check in checks]})
    return FINE if ok else FAILED
