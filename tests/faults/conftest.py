"""What the fault tests share: how often a fault is made, and the table of what was made and what came of it.

Few times in an ordinary run, the full number with ``GAIA_FAULTS=full``, which ``./gaia test --faults --full`` sets.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.clone import clone, port, session_clone
from tests.postgres import database, empty_database, server, shared_database, template
from tests.restoring import backed_up, copy

__all__ = [
    "backed_up",
    "clone",
    "copy",
    "database",
    "empty_database",
    "port",
    "server",
    "session_clone",
    "shared_database",
    "template",
]

_PROPERTY = "fault"
_table: list[tuple[str, str]] = []


@pytest.fixture
def counts() -> Callable[[int, int], int]:
    """How often a fault is made: the first number in an ordinary run, the second in a full one."""
    full = os.environ.get("GAIA_FAULTS") == "full"
    return lambda few, many: many if full else few


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Note ``(fault, what came of it)`` for the table at the end: ``record("SIGKILL of a backup", "50 of 50 …")``."""
    return lambda fault, outcome: record_property(_PROPERTY, f"{fault}\t{outcome}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Runs where the table is printed: a test's properties come with its report, from another process too."""
    if report.when == "call":
        noted = [str(value) for name, value in report.user_properties if name == _PROPERTY]
        _table.extend((fault, outcome) for fault, _, outcome in (line.partition("\t") for line in noted))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not _table:
        return
    terminalreporter.section("faults")
    for fault, outcome in sorted(_table):
        terminalreporter.write_line(f"{fault}: {outcome}")
