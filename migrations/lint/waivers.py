"""Waivers: ``waivers = {"GAIA010": "why it is fine here"}`` in a revision's file. They are findings too if wrong."""

import ast
import dataclasses
from collections.abc import Collection, Iterator, Sequence

from migrations.lint.findings import Finding, Rule, finding

NAME = "waivers"
REASON_LENGTH_MIN = 10
"""Characters: "ok" is no reason."""

WRONG = Rule(
    id="GAIA090",
    slug="waiver-unreadable",
    reason="The file is read without running it.",
    safe=f'{NAME} = {{"GAIA010": "why it is fine here"}}, with plain strings',
)
WITHOUT_REASON = Rule(
    id="GAIA091",
    slug="waiver-without-reason",
    reason="Whoever reads it later has to know why it was fine.",
    safe="say in a sentence why it is fine here",
)
UNKNOWN = Rule(
    id="GAIA092",
    slug="waiver-unknown",
    reason="A waiver for a rule that there isn't waives nothing.",
    safe="an id of docs/lint.md, or the name of one of squawk's rules",
)
UNUSED = Rule(
    id="GAIA093",
    slug="waiver-unused",
    reason="It would hide the next fault of that kind.",
    safe="remove it",
)
RULES = (WRONG, WITHOUT_REASON, UNKNOWN, UNUSED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waiver:
    """One entry."""

    rule: str
    """As it is written: ``GAIA010``, ``GAIA010-data-loss``, or a name of squawk's."""
    reason: str
    line: int

    def covers(self, found: Finding) -> bool:
        """Whether it is about this finding."""
        return self.rule in (found.id, found.rule)


def read(source: str) -> tuple[list[Waiver], int | None]:
    """The waivers of a revision's file, and the line of what can't be read as waivers, if there is something."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == NAME for target in targets):
            return _entries(getattr(node, "value", None), node.lineno)
    return [], None


def _entries(value: ast.expr | None, line: int) -> tuple[list[Waiver], int | None]:
    if not isinstance(value, ast.Dict):
        return [], line
    found: list[Waiver] = []
    for key, reason in zip(value.keys, value.values, strict=True):
        texts = [_text(key), _text(reason)]
        if texts[0] is None or texts[1] is None:
            return found, reason.lineno
        found.append(Waiver(rule=texts[0], reason=texts[1].strip(), line=key.lineno if key else line))
    return found, None


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def apply(found: Sequence[Finding], source: str, known: Collection[str], file: str, revision: str) -> Iterator[Finding]:
    """What is left of a revision's findings once its waivers are heard, and what is wrong with these."""
    where = {"file": file, "revision": revision}
    waivers, wrong = read(source)
    if wrong is not None:
        yield finding(WRONG, f"{NAME} is no plain dictionary of strings", line=wrong, **where)
    yield from (f for f in found if not any(w.covers(f) for w in waivers))
    for waiver in waivers:
        if waiver.rule not in known:
            yield finding(UNKNOWN, f"there is no rule {waiver.rule}", line=waiver.line, **where)
        elif not any(waiver.covers(f) for f in found):
            yield finding(UNUSED, f"nothing here breaks {waiver.rule}", line=waiver.line, **where)
        if len(waiver.reason) < REASON_LENGTH_MIN:
            yield finding(WITHOUT_REASON, f"the waiver of {waiver.rule} has no reason", line=waiver.line, **where)
