"""``./gaia migrate prove``: the migrations proved on a server of their own, and the proof written down."""

from __future__ import annotations

import secrets
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from engine import checkout as places
from ops import throwaway
from ops.exits import FAILED, FINE
from ops.report import Report

if TYPE_CHECKING:
    from migrations.proof.document import Move, Proof, Proved
    from migrations.proof.run import Site

FILE = Path(".gaia") / "proof.json"
"""Where the proof is written, in the checkout."""
WIDTH = 80
"""Columns that the lines for people keep to."""
CLOSED = "ACCESS EXCLUSIVE"
"""The lock that keeps readers away too."""
NAMED = 3
"""So many locked tables are named, more are counted."""
CLOUD_ADMIN = "cloud_admin"
"""Owns the database and makes the roles, without being a superuser: as on Cloud SQL."""


def prove(report: Report, *, rows: int, out: Path | None = None) -> int:
    """Prove all revisions with ``rows`` messages; exit code 1 where something must not be."""
    from migrations.proof import document, run

    file = out or places.here().root / FILE
    with report.working("starting PostgreSQL") as working, throwaway.running() as server:
        site = _site(server, rows)
        found = run.prove(site, say=working.now, on_revision=lambda proved: working.done(_line(proved)))
    document.write(found, file)
    report.result(_text(found, file), {**document.written(found), "file": str(file)})
    return FINE if found.ok else FAILED


def _site(server: throwaway.Throwaway, rows: int) -> Site:
    import psycopg

    from migrations import roles
    from migrations.proof.run import Site

    admin = secrets.token_hex(16)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {CLOUD_ADMIN} LOGIN CREATEROLE CREATEDB PASSWORD '{admin}'".encode())
        connection.execute(f"ALTER DATABASE {throwaway.DATABASE} OWNER TO {CLOUD_ADMIN}".encode())
    passwords = {login: secrets.token_hex(16) for login in roles.LOGINS}
    return Site(
        superuser_url=server.url(),
        bootstrap_url=server.url(CLOUD_ADMIN, admin),
        migrator_url=server.url("gaia_migrator", passwords["gaia_migrator"]),
        passwords=passwords,
        pg_dump=server.binaries / "pg_dump",
        messages=rows,
    )


def _line(proved: Proved) -> str:
    lines = [_wrapped(f"{proved.revision}  {'proved' if proved.ok else 'NOT PROVED'}  ", proved.title)]
    ways = {"up": proved.up, "down": proved.down, "up again": proved.up_again}
    lines += [_wrapped(f"      {name:8} ", _move(move)) for name, move in ways.items() if move is not None]
    return "\n".join([*lines, *(_wrapped("      ! ", fault) for fault in proved.faults)])


def _wrapped(first: str, said: str) -> str:
    """Lines of 80 columns, those after the first as far in as ``said`` begins; lines that ``said`` has stay apart."""
    indent = " " * len(first)
    wrap = textwrap.TextWrapper(WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    head, *rest = said.replace(CLOSED, CLOSED.replace(" ", "\xa0")).splitlines() or [""]  # its words stay together
    lines = wrap.wrap(f"{first}{head}")
    for line in rest:
        lines += wrap.wrap(f"{indent}{line}")
    return "\n".join(lines).replace("\xa0", " ")


def _move(move: Move) -> str:
    parts = [f"{move.seconds:.2f} s"]
    if move.waited_for is not None:
        parts.append(f"a reader waited {move.longest_wait_ms:.0f} ms for {move.waited_for}")
    closed = [table for table, mode in move.locks.items() if mode == CLOSED]
    if closed:
        few = len(closed) <= NAMED
        parts.append(f"{CLOSED} on {', '.join(closed) if few else f'{len(closed)} tables (--json names them)'}")
    if move.rewritten:
        parts.append(f"rewrites {', '.join(move.rewritten)}")
    return ", ".join(parts)


def _text(proof: Proof, file: Path) -> str:
    rows = sum(proof.rows.values())
    told = f"PostgreSQL {proof.server_version}, {rows:,} rows, {proof.seconds:.0f} s"
    where = f"written to {file}"
    if proof.ok:
        return f"the migrations to {proof.head} are proved ({told})\n{where}"
    faults = (_wrapped("  ", fault) for fault in proof.sentences())
    return "\n".join([f"the migrations to {proof.head} are NOT proved ({told}):", *faults, where])
