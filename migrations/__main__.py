"""``python -m migrations``: the runner on the command line, as the deploy's job and a person use it.

The database's URL comes from GAIA_MIGRATIONS_URL, else DATABASE_URL; an argument could be read by every user.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from migrations import runner
from migrations.connection import url_from_environment
from migrations.errors import Busy, ConnectionFailed, MigrationError, NoDatabaseUrl, UnknownRevision

FINE, FAILED, USAGE, NOT_THERE, BUSY = 0, 1, 2, 3, 4

EPILOG = """exit codes:
  0  fine
  1  a revision failed, or check found a difference
  2  usage: no URL, an unknown command or revision
  3  the server can't be reached or refuses the login
  4  another migration holds the lock

example:
  GAIA_MIGRATIONS_URL="$(./gaia url)" python -m migrations upgrade
"""

Outcome = tuple[int, Mapping[str, Any], str]
"""Exit code, the result as data, and as text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code, data, text = options.run(options)
    except MigrationError as error:
        code, text = _exit_code(error), str(error)
        data = {"error": type(error).__name__, "message": text}
    if options.json:
        _print_line({"ok": code == FINE, **data})
    elif text:
        print(text, file=sys.stdout if code == FINE or "differences" in data else sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m migrations",
        description=(__doc__ or "").splitlines()[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], Outcome], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="one JSON object a line; the last is the result")
        command.set_defaults(run=run)
        return command

    up = add("upgrade", _upgrade, "go up to a revision, then bring the grants in order")
    up.add_argument("revision", nargs="?", default="head", help="head (default), +N or a number such as 0002")
    down = add("downgrade", _downgrade, "go down to a revision")
    down.add_argument("revision", help="base, -N or a number such as 0002")
    add("current", _current, "the revision the database is at")
    add("history", _history, "the revisions of this checkout (needs no database)")
    add("check", _check, "whether the database and db.models agree")
    return parser


def _upgrade(options: argparse.Namespace) -> Outcome:
    result = runner.upgrade(url_from_environment(), options.revision, on_event=_teller(options))
    return _moved(result)


def _downgrade(options: argparse.Namespace) -> Outcome:
    result = runner.downgrade(url_from_environment(), options.revision, on_event=_teller(options))
    return _moved(result)


def _moved(result: runner.Result) -> Outcome:
    text = f"at {result.after or 'base'}" + ("" if result.applied else ": nothing to do")
    return FINE, dataclasses.asdict(result), text


def _current(_options: argparse.Namespace) -> Outcome:
    revision = runner.current(url_from_environment())
    return FINE, {"revision": revision, "head": runner.head()}, revision or "base"


def _history(_options: argparse.Namespace) -> Outcome:
    line = runner.history()
    data = {"revisions": [{"id": r.id, "down": r.down, "title": r.title} for r in line]}
    return FINE, data, "\n".join(f"{r.id}  {r.title}" for r in line)


def _check(_options: argparse.Namespace) -> Outcome:
    found = runner.check(url_from_environment())
    text = "\n".join(found) or "the database and db.models agree"
    return (FAILED if found else FINE), {"differences": list(found)}, text


def _teller(options: argparse.Namespace) -> Callable[[runner.Event], None]:
    def tell(event: runner.Event) -> None:
        if options.json:
            _print_line({"event": event.kind, **dataclasses.asdict(event)})
        else:
            print(event.message, flush=True)

    return tell


def _print_line(data: Mapping[str, Any]) -> None:
    print(json.dumps(data), flush=True)


def _exit_code(error: MigrationError) -> int:
    if isinstance(error, NoDatabaseUrl | UnknownRevision):
        return USAGE
    if isinstance(error, ConnectionFailed):
        return NOT_THERE
    return BUSY if isinstance(error, Busy) else FAILED


if __name__ == "__main__":
    sys.exit(main())
