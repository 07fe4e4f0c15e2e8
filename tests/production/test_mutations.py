"""Whatever goes wrong in the program is noticed: by a rule over its plans, else by a plan that somebody reviews.

Whatever can be missing is tried in every run; of the inputs one in ten, of the dependencies one in four, and all with
``GAIA_FAULTS=full``, which ``./gaia test --tier production --full`` sets.
``docs/rehearsal.md`` lists what nothing notices.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from fnmatch import fnmatchcase

import pytest

from tests.production import mutations, nets, planning
from tests.production.mutations import Mutation

# One process: each of them would have to make the plans.
pytestmark = pytest.mark.xdist_group("mutations")
PAGE = planning.ROOT / "docs" / "rehearsal.md"
FULL = os.environ.get("GAIA_FAULTS") == "full"
RULE, REVIEWED, NOTHING = "a rule", "only the reviewed plan", "nothing"
GROUPS = {
    "what is ordered": ("dependency dropped",),
    "what is there": (
        "API dropped",
        "binding dropped",
        "resource dropped",
        "secret version dropped",
        "flag dropped",
        "flag changed",
        "output dropped",
        "output changed",
        "protect off",
        "replace_first off",
        "input unmarked",
    ),
    "what is left out": ("input dropped", "input narrowed"),
    "what is another value": ("input changed",),
}
SAMPLED = {"what is ordered": 4, "what is left out": 10, "what is another value": 10}
"""One in so many, where not all are tried."""


@functools.cache
def every() -> dict[str, Mutation]:
    return mutations.every(*planning.variants())


@functools.cache
def rules() -> nets.Rules:
    return nets.Rules()


def tried(group: str) -> list[Mutation]:
    found = [each for name, each in sorted(every().items()) if each.kind in GROUPS[group]]
    return found[:: 1 if FULL else SAMPLED.get(group, 1)]


def listed() -> dict[str, int]:
    """The page's patterns of mutations that nothing notices, and how many each of them means."""
    section = PAGE.read_text(encoding="utf-8").partition("## What no test notices\n")[2].partition("\n## ")[0]
    return {name: int(count) for name, count in re.findall(r"^\| `([^`]+)` \| (\d+) \| .+ \|$", section, re.MULTILINE)}


def test_every_kind_of_mutation_belongs_to_a_group() -> None:
    kinds = {kind for group in GROUPS.values() for kind in group}
    assert {each.kind for each in every().values()} == kinds


def test_a_mutation_changes_a_plan() -> None:
    shapes = [planning.planned(config) for config in planning.variants().values()]
    for each in list(every().values())[::20]:
        assert any(each.change(plan) != plan for plan in shapes), each.name


@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", GROUPS)
def test_whatever_is_wrong_is_noticed_but_for_what_the_page_lists(group: str) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    unnoticed: list[str] = []
    for each in tried(group):
        by = RULE if rules().catch(each) else REVIEWED if nets.reviewed(each) else NOTHING
        counts[each.kind, by] += 1
        if by == NOTHING:
            unnoticed.append(each.name)
        if by == REVIEWED:
            print(f"{REVIEWED}: {each.name}")
    for (kind, by), count in sorted(counts.items()):
        print(f"{kind}: {count} noticed by {by}")
    patterns = listed()
    found = [name for name in unnoticed if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    assert found == [], "nothing notices these, and docs/rehearsal.md doesn't list them"
    if group not in SAMPLED or FULL:
        mine = {pattern: count for pattern, count in patterns.items() if pattern.partition(":")[0] in GROUPS[group]}
        counted = {pattern: sum(fnmatchcase(name, pattern) for name in unnoticed) for pattern in mine}
        assert counted == mine, "docs/rehearsal.md lists another number"


def test_a_rule_that_is_gone_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rule of what is protected, a bucket without its protection is noticed by nobody but a reviewer."""
    mutation = every()["protect off: sql/Database database"]
    guards = ("test_whatever_can_be_lost_is_guarded", "test_what_holds_data_is_protected")
    kept = [check for check in rules().checks if check.test.__name__ not in guards]
    assert rules().catch(mutation)
    blind = nets.Rules(kept)
    assert blind.catch(mutation) is None
