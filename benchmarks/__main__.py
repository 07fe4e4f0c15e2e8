"""``python -m benchmarks [NAME…]``: times what is ours and the plain tools in turn, and prints the ratios."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import CASES, Bench, CannotRun, machine
from benchmarks.commands import CommandFailed
from benchmarks.copied import Copy
from benchmarks.database import DATABASE_CASES
from benchmarks.database_measure import Figure
from benchmarks.database_measure import table as figures_table
from benchmarks.database_world import world
from benchmarks.measure import Result, in_turn, table
from benchmarks.rehearsal import REHEARSAL_CASES
from tests.postgres import unavailable

FINE, OVER, INTERRUPTED = 0, 1, 130
ALL = (*CASES, *REHEARSAL_CASES, *DATABASE_CASES)
ROWS = 300_000
"""Messages in the large database, where nothing is said."""


def main(arguments: list[str]) -> int:
    """Run the named cases, or all; 0 when each is within its bar, 1 when one isn't or could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ALL)}; else all")
    parser.add_argument("--runs", type=int, default=5, help="how often each side runs (5)")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"messages in the large database ({ROWS:,})")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in ALL]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(ALL)}")
    if given.runs < 1:
        parser.error(f"--runs {given.runs}: must be at least 1")
    if given.rows < 1:
        parser.error(f"--rows {given.rows}: must be at least 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    before, names = machine(), given.names or list(ALL)
    try:
        results, failed = measure([name for name in names if name in CASES], given.runs)
        figures, unmeasured = measure_rehearsal([name for name in names if name in REHEARSAL_CASES], given.runs)
        more, unmeasured_too = measure_database(
            [name for name in names if name in DATABASE_CASES], given.runs, given.rows
        )
        figures, failed = [*figures, *more], failed | unmeasured | unmeasured_too
    except KeyboardInterrupt:
        _say("interrupted; everything that was made for it is removed")
        return INTERRUPTED
    found = [*results, *figures]
    ok = not failed and all(one.ok for one in found)
    if given.json:
        documents = [one.document() for one in found]
        print(json.dumps({"ok": ok, "machine": before, "results": documents, "failed": failed}, indent=2))
    else:
        tables = [*([table(results)] if results else []), *([figures_table(figures)] if figures else [])]
        print(before, *tables, *(f"{name}: not measured: {why}" for name, why in failed.items()), sep="\n")
    return FINE if ok else OVER


def measure(names: list[str], runs: int) -> tuple[list[Result], dict[str, str]]:
    """The results of the cases, and why the others have none."""
    results: list[Result] = []
    failed: dict[str, str] = {}
    if not names:
        return results, failed
    with tempfile.TemporaryDirectory(prefix="gaia-benchmark-") as place:
        folder = Path(place)
        folder.chmod(0o755)  # root's server runs as another user, who must get at its data
        _say("making a copy of the checkout, with its environment")
        (folder / "checkout").mkdir()
        (folder / "plain").mkdir()
        bench = Bench(Copy.make(folder / "checkout"), folder / "plain")
        for name in names:
            try:
                with CASES[name].open(bench) as (ours, baseline):
                    times = in_turn(name, ours, baseline, runs, _say)
                results += [Result(times=times, bar=bar) for bar in CASES[name].bars]
            except (CommandFailed, CannotRun) as error:
                failed[name] = str(error)
                _say(f"{name}: {error}")
    return results, failed


def measure_rehearsal(names: list[str], runs: int) -> tuple[list[Figure], dict[str, str]]:
    """The figures of the rehearsal's cases, and why the others have none; each on stages of its own."""
    figures: list[Figure] = []
    failed: dict[str, str] = {}
    for name in names:
        _say(f"measuring {name}")
        try:
            figures += REHEARSAL_CASES[name](runs, _say)
        except CommandFailed as error:
            failed[name] = str(error)
            _say(f"{name}: {error}")
    return figures, failed


def measure_database(names: list[str], runs: int, rows: int) -> tuple[list[Figure], dict[str, str]]:
    """The figures of the database's cases, and why the others have none; on a server of their own."""
    figures: list[Figure] = []
    failed: dict[str, str] = {}
    if not names:
        return figures, failed
    if reason := unavailable():
        return figures, dict.fromkeys(names, reason)
    with world(rows, runs, _say) as shared:
        for name in names:
            _say(f"measuring {name}")
            try:
                figures += DATABASE_CASES[name](shared)
            except (CommandFailed, CannotRun, RuntimeError) as error:
                failed[name] = str(error)
                _say(f"{name}: {error}")
    return figures, failed


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
