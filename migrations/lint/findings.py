"""A rule, what it finds, and how that is said."""

import dataclasses
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrations.lint.scripts import Execute, Line, Script, Statement

ERROR, WARNING = "error", "warning"
_INDENT = "    "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """Something that must not be, why, and what to do instead."""

    id: str
    """``GAIA`` and three digits; of squawk's rules, their name."""
    slug: str
    reason: str
    safe: str
    """The safe way, as an order to whoever wrote the revision."""
    severity: str = ERROR
    find: "Callable[[Script, Line], Iterator[Fault]] | None" = None
    """Looks at one direction of one revision; None where something else finds it."""

    @property
    def name(self) -> str:
        """As it is printed and documented."""
        return f"{self.id}-{self.slug}" if self.slug else self.id


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """What a rule says about one statement, or about the script if there is none."""

    message: str
    statement: "Statement | Execute | None" = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault: where, which rule, what, and the way out."""

    rule: str
    """The rule's name, as a waiver gives it."""
    severity: str
    message: str
    safe: str
    revision: str | None = None
    direction: str | None = None
    """``upgrade`` or ``downgrade``; None where it is neither."""
    file: str | None = None
    line: int | None = None
    id: str = ""
    """The rule's id, which a waiver may give as well."""

    @property
    def place(self) -> str:
        """File and line, or ``database``."""
        return f"{self.file}:{self.line or 1}" if self.file else "database"

    def sentence(self, width: int | None = None) -> str:
        """What is wrong, and the safe way on an indented line; for a terminal, both wrapped at ``width``."""
        direction = f" ({self.direction})" if self.direction else ""
        fault = wrapped(f"{self.place}: {self.severity} {self.rule}{direction}: {self.message}", width)
        return f"{fault}\n{wrapped(f'{_INDENT}Safe way: {self.safe}', width)}"

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return dataclasses.asdict(self)


def finding(rule: Rule, message: str, **where: Any) -> Finding:
    """What ``rule`` found, with its severity and its safe way."""
    return Finding(rule=rule.name, id=rule.id, severity=rule.severity, message=message, safe=rule.safe, **where)


def wrapped(text: str, width: int | None) -> str:
    """``text`` on lines of at most ``width``, indented from the second; on one line where there is no terminal."""
    if width is None:
        return text
    return textwrap.fill(
        text, max(width, 40), subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
    )


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """By revision and line, the database's last."""
    return sorted(found, key=lambda f: (f.file is None, f.file or "", f.line or 0, f.rule, f.message))


def count(found: list[Finding], looked_at: str) -> str:
    """The last line: how many there are, and in what."""
    errors = sum(f.severity == ERROR for f in found)
    warnings = len(found) - errors
    if not found:
        return f"no finding in {looked_at}"
    parts = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((errors, ERROR), (warnings, WARNING)) if n]
    return f"{' and '.join(parts)} in {looked_at}"
