"""``./gaia migrate lint``: what is dangerous in the revisions, and what is wrong in the database of the stack."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from engine import checkout as places
from ops import stacks
from ops.exits import FAILED, FINE, Missing
from ops.report import Report

if TYPE_CHECKING:
    from migrations.lint.findings import Finding


def lint(report: Report, *, stack_name: str | None) -> int:
    """Look at every revision, and at the stack's database where one is up and at head; 1 if there is a finding.

    Without ``stack_name`` a database is no must: the revisions are looked at in any case.
    """
    from ops import develop

    checkout = places.here()
    develop.require_tools(checkout)
    from migrations.lint import check, findings

    found = check.revisions()
    in_database, where = _database(report, checkout, stack_name)
    found += in_database
    looked_at = f"the revisions{where}"
    width = _width()
    lines = [*(f.sentence(width) for f in found), findings.wrapped(findings.count(found, looked_at), width)]
    document = {
        "ok": not found,
        "findings": [f.document() for f in found],
        "looked_at": looked_at,
        "seconds": report.seconds,
    }
    report.result("\n".join(lines), document)
    return FAILED if found else FINE


def _database(report: Report, checkout: places.Checkout, name: str | None) -> tuple[list[Finding], str]:
    """The catalog's findings, and how the last line says whether there was a catalog to look at."""
    from migrations import runner
    from migrations.connection import connect
    from migrations.errors import ConnectionFailed
    from migrations.lint import catalog

    if name is None and stacks.chosen(checkout) is None:
        return [], "; no stack is up, so no database was looked at"
    stack = stacks.open_stack(name, report.long)
    try:
        url = stacks.logins(stack).superuser.url
        if (at := runner.current(url)) != (head := runner.head()):
            return [], f"; stack {stack.name} is at {at or 'base'}, not {head}: its database was not looked at"
        with connect(url) as connection:
            return catalog.findings(connection), f" and the database of stack {stack.name}"
    except (Missing, ConnectionFailed):
        if name is not None:
            raise
        return [], f"; stack {stack.name} is not up, so no database was looked at"


def _width() -> int | None:
    """The terminal's width; None where the output goes elsewhere: one line a finding."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
