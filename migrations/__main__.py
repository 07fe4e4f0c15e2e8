"""``python -m migrations``: the runner on the command line, as the deploy's job and a person use it.

The database's URL comes from GAIA_MIGRATIONS_URL, else DATABASE_URL; an argument could be read by every user.
How long a statement may run comes from --statement-timeout-s, else GAIA_MIGRATIONS_STATEMENT_TIMEOUT_S, else 900.
Where GAIA_INSTANCE names a Cloud SQL instance, ``upgrade`` is the deploy's job (``migrations.job``): a backup first.
"""

import argparse
import dataclasses
import datetime as dt
import gc
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from migrations import runner
from migrations.connection import (
    STATEMENT_TIMEOUT_VARIABLE,
    statement_timeout_from_environment,
    url_from_environment,
)
from migrations.errors import BadSetting, Busy, ConnectionFailed, MigrationError, NoDatabaseUrl, UnknownRevision

FINE, FAILED, USAGE, NOT_THERE, BUSY, INTERRUPTED = 0, 1, 2, 3, 4, 130

EPILOG = """exit codes:
  0  fine
  1  a revision failed, or check found a difference
  2  usage: no URL, an unknown command or revision, a setting that can't be read
  3  the server can't be reached or refuses the login
  4  another migration holds the lock
  130  interrupted; the database is at the last revision that worked

example:
  GAIA_MIGRATIONS_URL="$(./gaia url)" python -m migrations upgrade
"""

Outcome = tuple[int, Mapping[str, Any], str]
"""Exit code, the result as data, and as text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is _upgrade and os.environ.get("GAIA_INSTANCE"):
        if options.revision != "head" or options.statement_timeout_s is not None:
            parser.error("with GAIA_INSTANCE set, upgrade goes to head and takes everything from the environment")
        from migrations import job

        return job.main()
    try:
        code, data, text = options.run(options)
    except MigrationError as error:
        code, text = _exit_code(error), str(error)
        data = {"error": type(error).__name__, "message": text}
    except KeyboardInterrupt:
        code, text = INTERRUPTED, "interrupted: the database is at the last revision that worked; run it again to go on"
        data = {"error": "KeyboardInterrupt", "message": text}
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
    for command in (up, down):
        command.add_argument(
            "--statement-timeout-s", type=_seconds, metavar="S", help="bound of one statement; 0 for none"
        )
    planned = add("plan", _plan, "the pending revisions: their SQL, the locks it takes and its risk")
    planned.add_argument("revision", nargs="?", default="head", help="head (default), +N or a number such as 0002")
    keeps = add("maintain", _maintain, "make the partitions of the months ahead, detach those past their retention")
    for what in ("chat", "audit"):
        keeps.add_argument(f"--{what}-retention-months", type=_months, metavar="N", help="keep N months; else all")
    add("current", _current, "the revision the database is at")
    add("history", _history, "the revisions of this checkout (needs no database)")
    add("check", _check, "whether the database and db.models agree")
    return parser


def _upgrade(options: argparse.Namespace) -> Outcome:
    return _moved(runner.upgrade(url_from_environment(), options.revision, **_how(options)))


def _downgrade(options: argparse.Namespace) -> Outcome:
    return _moved(runner.downgrade(url_from_environment(), options.revision, **_how(options)))


def _how(options: argparse.Namespace) -> dict[str, Any]:
    return {"on_event": _teller(options), "statement_timeout_s": options.statement_timeout_s}


def _moved(result: runner.Result) -> Outcome:
    text = f"at {result.after or 'base'}" + ("" if result.applied else ": nothing to do")
    return FINE, dataclasses.asdict(result), text


def _plan(options: argparse.Namespace) -> Outcome:
    from migrations import plan

    pending = plan.plan(url_from_environment(), options.revision)
    return FINE, plan.document(pending), plan.text(pending)


def _maintain(options: argparse.Namespace) -> Outcome:
    from migrations import partitions

    done = partitions.maintain(
        url_from_environment(),
        chat_retention_months=options.chat_retention_months,
        audit_retention_months=options.audit_retention_months,
    )
    lines = [f"made {name}" for name in done.made] + [f"detached {name}" for name in done.detached]
    data = {"made": list(done.made), "detached": list(done.detached)}
    return FINE, data, "\n".join(lines) or "nothing to do"


def _seconds(text: str) -> float:
    try:
        return statement_timeout_from_environment({STATEMENT_TIMEOUT_VARIABLE: text})
    except BadSetting as error:
        raise argparse.ArgumentTypeError(str(error).replace(STATEMENT_TIMEOUT_VARIABLE, "it")) from None


def _months(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of months: give 1 or more")
    return int(text)


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
            _print_line(_log_line(event))
        else:
            print(event.message, flush=True)

    return tell


def _log_line(event: runner.Event) -> dict[str, Any]:
    """One line of the log: ``time`` in UTC, ``seconds`` to the millisecond or null."""
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        "event": event.kind,
        "revision": event.revision,
        "seconds": None if event.seconds is None else round(event.seconds, 3),
        "message": event.message,
    }


def _print_line(data: Mapping[str, Any]) -> None:
    print(json.dumps(data), flush=True)


def _exit_code(error: MigrationError) -> int:
    if isinstance(error, NoDatabaseUrl | UnknownRevision | BadSetting):
        return USAGE
    if isinstance(error, ConnectionFailed):
        return NOT_THERE
    return BUSY if isinstance(error, Busy) else FAILED


if __name__ == "__main__":
    # Half of a migration is imports, and a quarter of these the collector, which finds nothing in so short a life.
    gc.disable()
    sys.exit(main())
