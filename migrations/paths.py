"""The steps from one revision to another, on plain data."""

import dataclasses

from migrations import revisions
from migrations.errors import UnknownRevision
from migrations.revisions import BASE, Revision


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One revision to apply or to undo."""

    revision: str
    """The revision that is applied or undone."""
    to: str
    """The revision the database is at afterwards, or ``base``."""
    start: str | None
    """The revision the database is at before, None for base; it stays there if the step fails."""
    up: bool


def up_path(line: tuple[Revision, ...], before: str | None, revision: str) -> list[Step]:
    """The steps from ``before`` up to ``revision``; empty if the database is there or beyond."""
    end = revisions.position(line, target(line, before, revision))
    return [Step(revision=r.id, to=r.id, start=r.down, up=True) for r in line[revisions.position(line, before) : end]]


def down_path(line: tuple[Revision, ...], before: str | None, revision: str) -> list[Step]:
    """The steps from ``before`` down to ``revision``; empty if the database is there or below."""
    end = revisions.position(line, target(line, before, revision))
    undone = reversed(line[end : revisions.position(line, before)])
    return [Step(revision=r.id, to=r.down or BASE, start=r.id, up=False) for r in undone]


def target(line: tuple[Revision, ...], before: str | None, revision: str) -> str:
    """``revision`` as a number or ``base``; raises UnknownRevision."""
    if revision == "head":
        return line[-1].id if line else BASE
    if revision[:1] in {"+", "-"} and revision[1:].isdigit():
        number = revisions.position(line, before) + int(revision)
        if not 0 <= number <= len(line):
            raise UnknownRevision(f"{revision} leads beyond what there is: the database is at {before or BASE}")
        return line[number - 1].id if number else BASE
    revisions.position(line, revision)
    return revision


def known(line: tuple[Revision, ...], live: str | None) -> str | None:
    """``live``, if this checkout has it; raises UnknownRevision."""
    if live is not None and live not in {r.id for r in line}:
        raise UnknownRevision(
            f"the database is at {live}, which this checkout doesn't have: update the checkout, "
            "or downgrade the database from the checkout that has it"
        )
    return live
