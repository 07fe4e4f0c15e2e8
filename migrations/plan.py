"""What an upgrade would do: the pending revisions, their SQL, the locks it takes and its risk. Changes nothing."""

import dataclasses
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrations import connection as connections
from migrations import paths, statements
from migrations.errors import one_line
from migrations.revisions import DIRECTORY, history
from migrations.statements import ACCESS_EXCLUSIVE, MODES, RISKS, SHARE_ROW_EXCLUSIVE, Kind

if TYPE_CHECKING:
    import psycopg

_WIDTH = 80
_MADE_HERE = "nobody uses the table yet"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalog:
    """What of the live database decides who would wait. All names are ``schema.name``."""

    tables: frozenset[str] = frozenset()
    indexes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Index → its table."""
    references: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Table → the tables its foreign keys lead to; they are locked when it goes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a revision, and what it means for others."""

    sql: str
    locks: Mapping[str, str] | None
    """Table → strongest lock, of those that are there now; None if unknown."""
    risk: str
    """One of ``statements.RISKS``."""
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pending:
    """One revision that an upgrade would apply."""

    revision: str
    title: str
    statements: tuple[Statement, ...]
    failure: str | None = None
    """Why its SQL can't be shown, as for a revision that asks the database."""

    @property
    def risk(self) -> str:
        """The worst of its statements'."""
        found = [statement.risk for statement in self.statements] + (["unknown"] if self.failure else [])
        return max(found, key=RISKS.index, default=RISKS[0])

    @property
    def locks(self) -> Mapping[str, str]:
        """Table → the strongest lock that the revision takes on it."""
        return strongest(lock for s in self.statements for lock in (s.locks or {}).items())


def plan(url: str, revision: str = "head", *, directory: Path = DIRECTORY) -> tuple[Pending, ...]:
    """The revisions that ``upgrade`` to ``revision`` would apply; raises what that raises before its first step."""
    from migrations.lint.render import render

    with connections.connect(url) as connection:
        connections.become_owner(connection)
        line = history(directory)
        before = paths.known(line, connections.revision_of(connection))
        ids = [step.revision for step in paths.up_path(line, before, revision)]
        catalog = read_catalog(connection)
    rendered = [r for r in render(directory) if r.up and r.revision.id in ids] if ids else []
    return tuple(
        Pending(
            revision=r.revision.id,
            title=r.revision.title,
            statements=judge(((e.text, e.block) for e in r.emitted), catalog),
            failure=r.failure,
        )
        for r in rendered
    )


def judge(emitted: Iterable[tuple[str, int]], catalog: Catalog) -> tuple[Statement, ...]:
    """The statements of one revision, given as text and number of the transaction it runs in."""
    names = _Names(catalog)
    exclusive: dict[int, list[str]] = {}
    found = []
    for text, block in emitted:
        for sql in statements.split(text):
            held = exclusive.setdefault(block, [])
            found.append(_judged(sql, names, held, catalog))
            names.follow(statements.masked(sql))
            held.extend(t for t, mode in (found[-1].locks or {}).items() if mode == ACCESS_EXCLUSIVE and t not in held)
    return tuple(found)


def strongest(locks: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of (table, mode) pairs the strongest mode of each table, in the order in which they come."""
    found: dict[str, str] = {}
    for table, mode in locks:
        if MODES.index(mode) >= MODES.index(found.get(table, MODES[0])):
            found[table] = mode
    return found


class _Names:
    """Which name stands for which live table, as a revision renames them; None for one that it makes."""

    def __init__(self, catalog: Catalog) -> None:
        self._live = {name: name for name in catalog.tables}

    def live(self, written: str) -> str | None:
        return self._live.get(_plain(written))

    def follow(self, masked: str) -> None:
        if (renamed := statements.RENAMED.match(masked)) is not None:
            old = _plain(renamed["table"])
            if (table := self._live.pop(old, None)) is not None:
                self._live[f"{old.rpartition('.')[0]}.{_plain(renamed['new'])}"] = table


def _judged(sql: str, names: _Names, held: Sequence[str], catalog: Catalog) -> Statement:
    masked = statements.masked(sql)
    found = list(statements.kinds(masked))
    if not found:
        return Statement(sql=sql, locks=None, risk="unknown", reason="what it locks can't be told from its text")
    locks: list[tuple[str, str]] = []
    risks: list[tuple[str, str]] = []
    for kind, match in found:
        touched, risk, reason = _of_kind(kind, match, masked, names, catalog)
        locks += touched
        risks.append((risk, reason))
    if held and any(kind.slow for kind, _ in found):
        waiting = (
            f"takes its time while {', '.join(held)} can't be read: locked by an earlier statement of its transaction"
        )
        risks.append(("blocks reads", waiting))
    risk, reason = max(risks, key=lambda pair: RISKS.index(pair[0]))
    return Statement(sql=sql, locks=strongest(locks), risk=risk, reason=reason)


def _of_kind(
    kind: Kind, match: re.Match[str], masked: str, names: _Names, catalog: Catalog
) -> tuple[list[tuple[str, str]], str, str]:
    """The locks, the risk and its reason; a table that the plan itself makes keeps nobody waiting."""
    groups = match.groupdict()
    mode = " ".join(groups["mode"].upper().split()) if groups.get("mode") else kind.mode
    altered = statements.ALTER_TABLE.match(masked)
    written = [name for name in (altered["table"] if altered else None, groups.get("table")) if name]
    if "index" in groups:
        written = [catalog.indexes.get(_plain(groups["index"]), "")]
    tables = [table for name in written if (table := names.live(name)) is not None]
    locks = [(table, mode) for table in tables if mode]
    referred = [t for r in statements.REFERENCES.finditer(masked) if (t := names.live(r["table"])) is not None]
    locks += [(table, SHARE_ROW_EXCLUSIVE) for table in referred]
    if masked.upper().startswith("DROP TABLE"):
        locks += [(other, ACCESS_EXCLUSIVE) for table in tables for other in catalog.references.get(table, ())]
    if written and not tables and kind.risk != statements.WEAKENS:  # a guard is for later, whoever uses it now
        # Its foreign keys still stop writers elsewhere, until the transaction ends.
        return locks, "safe", f"{_MADE_HERE}; writers of {', '.join(referred)} wait" if referred else _MADE_HERE
    return locks, kind.risk, kind.reason


def _plain(written: str) -> str:
    """A name as the catalog has it: without quotes, in lower case where it had none."""
    return ".".join(p[1:-1] if p.startswith('"') else p.lower() for p in re.findall(r'"[^"]*"|[^."]+', written))


def read_catalog(connection: "psycopg.Connection[Any]") -> Catalog:
    """The tables, indexes and foreign keys of all schemas but PostgreSQL's own."""
    row = connection.execute(_CATALOG).fetchone()
    tables, indexes, references = row if row else ([], {}, {})
    return Catalog(
        tables=frozenset(tables),
        indexes=indexes,
        references={table: tuple(others) for table, others in references.items()},
    )


_CATALOG = """
WITH c AS (
    SELECT c.oid, nspname || '.' || relname AS name, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname !~ '^(pg_|information_schema$)'
)
SELECT
    coalesce((SELECT array_agg(name) FROM c WHERE relkind IN ('r', 'p', 'v', 'm', 'f')), '{}'),
    coalesce((SELECT jsonb_object_agg(c.name, t.name) FROM pg_index JOIN c ON c.oid = indexrelid
              JOIN c t ON t.oid = indrelid), '{}'),
    coalesce((SELECT jsonb_object_agg(name, others) FROM (
                  SELECT c.name, array_agg(DISTINCT f.name) AS others FROM pg_constraint
                  JOIN c ON c.oid = conrelid JOIN c f ON f.oid = confrelid WHERE contype = 'f' GROUP BY 1) r), '{}')
"""


def document(pending: Sequence[Pending]) -> dict[str, Any]:
    """The plan as data: ``revisions``, each with its ``statements``, ``locks``, ``risk`` and ``failure``."""
    return {
        "revisions": [
            {
                "revision": p.revision,
                "title": p.title,
                "risk": p.risk,
                "locks": dict(p.locks),
                "failure": p.failure,
                "statements": [dataclasses.asdict(statement) for statement in p.statements],
            }
            for p in pending
        ]
    }


def text(pending: Sequence[Pending]) -> str:
    """The plan for a person: each revision, its locks, and its statements; why, where one is not safe."""
    return "\n\n".join(_lines(p) for p in pending) or "nothing is pending"


def _lines(pending: Pending) -> str:
    lines = _wrapped(f"{pending.revision}  ", f"{pending.title}  [{pending.risk}]")
    lines += [f"    {mode} on {table}" for table, mode in pending.locks.items()]
    for statement in pending.statements:
        lines += _wrapped(f"  {statement.risk:13} ", one_line(statement.sql, 100))
        if statement.risk != "safe":
            lines += _wrapped(f"  {'':13}   ", f"({statement.reason})")
    if pending.failure:
        lines += _wrapped("  ", f"its SQL can't be shown ({pending.failure}): read the file")
    return "\n".join(lines)


def _wrapped(first: str, said: str) -> list[str]:
    """Lines of 80 columns, those after the first as far in as ``said`` begins."""
    return textwrap.wrap(
        f"{first}{said}",
        _WIDTH,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
