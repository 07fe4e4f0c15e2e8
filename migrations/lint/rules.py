"""All rules of ours for revisions, and what they say about them."""

from collections.abc import Iterator, Sequence

from migrations.lint import data, guards, locks, rights, transactions
from migrations.lint.findings import Finding, Rule, finding
from migrations.lint.scripts import Line, Script

RULES: tuple[Rule, ...] = (*rights.RULES, *data.RULES, *locks.RULES, *transactions.RULES, *guards.RULES)


def findings(scripts: Sequence[Script], files: dict[str, str]) -> Iterator[Finding]:
    """What our rules find; ``files`` names each revision's file."""
    line = Line(scripts)
    for script in scripts:
        seen: set[tuple[str, str, int | None]] = set()
        for rule in RULES:
            for fault in rule.find(script, line) if rule.find else ():
                number = fault.statement.line if fault.statement else None
                # A loop in a revision sends the same statement for many tables: each message once.
                if (key := (rule.id, fault.message, number)) not in seen:
                    seen.add(key)
                    yield finding(
                        rule,
                        fault.message,
                        revision=script.revision.id,
                        direction=script.direction,
                        file=files[script.revision.id],
                        line=number,
                    )
