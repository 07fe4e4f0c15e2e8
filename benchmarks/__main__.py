"""``python -m benchmarks [NAME…]``: times our commands and the plain tools in turn, and prints the ratios."""

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
from benchmarks.measure import Result, in_turn, table

FINE, OVER, INTERRUPTED = 0, 1, 130


def main(arguments: list[str]) -> int:
    """Run the named cases, or all; 0 when each is within its bar, 1 when one isn't or could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(CASES)}; else all")
    parser.add_argument("--runs", type=int, default=5, help="how often each side runs (5)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in CASES]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(CASES)}")
    if given.runs < 1:
        parser.error(f"--runs {given.runs}: must be at least 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    before = machine()
    try:
        results, failed = measure(given.names or list(CASES), given.runs)
    except KeyboardInterrupt:
        _say("interrupted; everything that was made for it is removed")
        return INTERRUPTED
    ok = not failed and all(result.ok for result in results)
    if given.json:
        documents = [result.document() for result in results]
        print(json.dumps({"ok": ok, "machine": before, "results": documents, "failed": failed}, indent=2))
    else:
        print(before, table(results), *(f"{name}: not measured: {why}" for name, why in failed.items()), sep="\n")
    return FINE if ok else OVER


def measure(names: list[str], runs: int) -> tuple[list[Result], dict[str, str]]:
    """The results of the cases, and why the others have none."""
    results: list[Result] = []
    failed: dict[str, str] = {}
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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
