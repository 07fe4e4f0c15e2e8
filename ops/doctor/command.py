"""The command itself: examine, tell, and mend what may be mended, one thing after the other."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from engine import checkout as places
from ops.doctor import mends, scene
from ops.doctor.examine import examine
from ops.doctor.finding import LEVELS, Finding, Mend
from ops.exits import FAILED, FINE, Refused, UsageFault
from ops.report import Report

WIDTH_MAX = 100
_HEAD = {"fault": "FAULT", "warning": "warning", "note": "note"}


def doctor(report: Report, *, stack_name: str | None, fix: bool, yes: bool) -> int:
    """Say what is wrong; with ``fix`` offer the safe mends, or do them all with ``yes``. Returns the exit code."""
    if yes and not fix:
        raise UsageFault("--yes goes with --fix: ./gaia doctor --fix --yes")
    at = scene.of(places.here(), stack_name)
    findings = examine(at, report.long)
    mended: list[str] = []
    if fix and (offered := _offered(findings)):
        _require_somebody(offered, yes=yes)
        report.say(text(findings, report.seconds, _width()))
        mended = [said for mend in offered if yes or _agreed(mend) for said in _mended(mend, at, report)]
        findings = examine(scene.of(at.checkout, stack_name), report.long) if mended else findings
    ok = not any(finding.found and finding.level == "fault" for finding in findings)
    document = {
        "ok": ok,
        "stack": at.stack if at.chosen else None,
        "checks": [finding.document() for finding in findings],
        "mended": mended,
        "seconds": report.seconds,
    }
    report.result(text(findings, report.seconds, _width()), document)
    return FINE if ok else FAILED


def text(findings: Sequence[Finding], seconds: float, width: int) -> str:
    """For people: the worst first, each with its way out on a line of its own; then a line of what is well."""
    wrong = [finding for level in LEVELS for finding in findings if finding.found and finding.level == level]
    well = list(dict.fromkeys(finding.name for finding in findings if not finding.found))
    lines = [line for finding in wrong for line in _told(finding, width)]
    lines += [_in_a_line(well, width)] if well else []
    counts = [(level, sum(finding.level == level for finding in wrong)) for level in LEVELS]
    counted = ", ".join(_many(count, level) for level, count in counts if count)
    fixable = len(_offered(findings))
    offer = f"; ./gaia doctor --fix offers {_many(fixable, 'mend')}" if fixable else ""
    looked = f"{_many(len(findings), 'check')} in {seconds:.1f} s"
    return "\n".join([*lines, f"{counted or 'nothing is wrong'}; {looked}{offer}"])


def _in_a_line(names: Sequence[str], width: int) -> str:
    """As many of the names as a line holds; ``--json`` lists them all."""
    for shown in range(len(names), 0, -1):
        more = len(names) - shown
        line = f"well: {', '.join(names[:shown])}" + (f" and {more} more" if more else "")
        if len(line) <= width:
            return line
    return f"well: {len(names)} checks"


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _told(finding: Finding, width: int) -> list[str]:
    indent = " " * 9
    body = textwrap.wrap(finding.found, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
    # A way out is never broken: its command is there to be copied.
    return [f"{_HEAD[finding.level]:<8} {finding.name}", *body, *([f"{indent}→ {finding.way}"] if finding.way else [])]


def _offered(findings: Sequence[Finding]) -> list[Mend]:
    """Each mend once, in the order of the findings; what `up` mends is mended last, and with one run."""
    mends = dict.fromkeys(finding.mend for finding in findings if finding.found and finding.mend)
    return sorted(mends, key=lambda mend: mend.kind == "up")


def _require_somebody(offered: Sequence[Mend], *, yes: bool) -> None:
    if yes or (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    listed = "; ".join(mend.title for mend in offered)
    raise Refused(f"--fix asks before each mend, and nobody is there to answer: add --yes to do all of: {listed}")


def _agreed(mend: Mend) -> bool:
    import typer

    return typer.confirm(f"{mend.title[0].upper()}{mend.title[1:]}?", default=False, err=True)


def _mended(mend: Mend, at: scene.Scene, report: Report) -> list[str]:
    """Carry it out and say so. One that fails keeps none of the others from being done."""
    try:
        done = mends.do(mend, at, report.say)
    except Exception as error:  # of the engine, of PostgreSQL, of ours: the examination that follows tells the rest
        report.say(f"could not {mend.title}: {str(error).strip().partition(chr(10))[0]}")
        return []
    report.say(done)
    return [done]


def _width() -> int:
    return min(WIDTH_MAX, shutil.get_terminal_size((80, 24)).columns)
