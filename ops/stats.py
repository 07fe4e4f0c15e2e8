"""``./gaia stats``: what the database holds, who uses it, what holds it up. The source document's queries, and more."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ops import stacks
from ops.exits import FAILED, FINE, Missing, UsageFault
from ops.report import Report

if TYPE_CHECKING:
    from ops.stacks import Login
    from ops.statistics.look import Connection, Look
    from ops.statistics.section import Section

APPLICATION_NAME = "gaia-stats"
CONNECT_TIMEOUT_S = 5
SHORTEST_S = 0.2
"""Between two looks."""


def stats(report: Report, *, stack_name: str | None, only: Sequence[str], watch: bool, every_s: float) -> int:
    """Print the statistics of a stack's database, once or for as long as somebody looks."""
    if watch and report.as_json:
        raise UsageFault("--watch goes on for ever, --json is one document: take one of them")
    if every_s < SHORTEST_S:
        raise UsageFault(f"--every {every_s:g}: must be {SHORTEST_S} s or more")
    sections = chosen(only, live=watch)
    # The driver takes as long to import as opening the state does, which leaves Python to others meanwhile.
    threading.Thread(target=_import_driver, daemon=True).start()
    stack = stacks.open_stack(stack_name, report.long)
    login = stacks.logins(stack).superuser
    if watch:
        from ops.statistics import live

        live.watch(lambda: connect(login), sections, where=stack.name, every_s=every_s, every_row=bool(only))
        return FINE
    with connect(login) as connection:
        return _once(report, connection, sections, stack=stack.name, every_row=bool(only))


def chosen(only: Sequence[str], *, live: bool = False) -> tuple[Section, ...]:
    """The sections of these names, or all. Raises ``UsageFault``."""
    from ops.statistics.sections import LIVE, SECTIONS

    known = {section.name: section for section in SECTIONS}
    names = [name for given in only for name in given.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageFault(f"--only {', '.join(unknown)}: there is no such section; known: {', '.join(known)}")
    if names:
        return tuple(known[name] for name in dict.fromkeys(names))
    return LIVE if live else SECTIONS


def connect(login: Login) -> Connection:
    """A session that only looks. Raises ``Missing``."""
    from migrations import connection as connections
    from migrations.errors import ConnectionFailed
    from ops.statistics import look

    try:
        made = connections.connect(
            f"{login.url}?application_name={APPLICATION_NAME}&connect_timeout={CONNECT_TIMEOUT_S}"
        )
    except ConnectionFailed as error:
        raise Missing(f"{error}: run ./gaia up, then ./gaia logs") from None
    look.prepare(made)
    return made


def document(look: Look, stack: str) -> dict[str, Any]:
    """A look for programs."""
    server = look.server
    return {
        "ok": not any(answer.error for answer in look.answers),
        "stack": stack,
        "database": server.database,
        "server_version": server.version,
        "at": server.at.isoformat(timespec="seconds"),
        "started": server.started.isoformat(timespec="seconds"),
        "standby": server.standby,
        "counted_since": server.counted_since and server.counted_since.isoformat(timespec="seconds"),
        "seconds": look.seconds,
        "sections": {answer.section.name: answer.document() for answer in look.answers},
    }


def _once(report: Report, connection: Connection, sections: Sequence[Section], *, stack: str, every_row: bool) -> int:
    from ops.statistics import look, text

    taken = look.take(connection, sections)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    said = "\n".join(text.lines(taken, where=stack, width=width, every_row=every_row))
    whole = document(taken, stack)
    report.result(said, whole)
    return FINE if whole["ok"] else FAILED


def _import_driver() -> None:
    import psycopg

    _ = psycopg
