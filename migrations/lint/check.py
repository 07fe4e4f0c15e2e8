"""Looks at all revisions of a checkout: squawk's rules, ours, and the waivers in the files."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from migrations.lint import rules, scripts, squawk, squawk_rules, waivers
from migrations.lint.findings import Finding, in_order
from migrations.lint.render import render
from migrations.revisions import DIRECTORY

_OURS = (*rules.RULES, *waivers.RULES)
KNOWN = frozenset({*(rule.id for rule in _OURS), *(rule.name for rule in _OURS), *squawk_rules.RULES})
"""What a waiver may name."""


def revisions(directory: Path = DIRECTORY) -> list[Finding]:
    """Every finding in the revisions that no waiver covers; raises SquawkFailed, BrokenHistory."""
    rendered = render(directory)
    files = {item.revision.id: _short(item.revision.path) for item in rendered}
    parsed = [scripts.parse(item) for item in rendered]
    with ThreadPoolExecutor(max_workers=1) as beside:
        by_squawk = beside.submit(lambda: list(squawk.findings(rendered, parsed, files)))
        found = list(rules.findings(parsed, files))
        found += by_squawk.result()
    left: list[Finding] = []
    for item in rendered:
        if item.up:
            revision = item.revision.id
            own = [f for f in found if f.revision == revision]
            left += waivers.apply(own, item.source, KNOWN, files[revision], revision)
    return in_order(left)


def _short(path: Path) -> str:
    """As one would type it from where one stands."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
