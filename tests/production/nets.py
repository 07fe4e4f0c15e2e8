"""What may notice that the program is wrong: the tests over plans as they are, and the plans that were reviewed.

A check is a test of the modules here with its parameters; those that look at no plan notice no mutation.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from tests.production import (
    plan_files,
    planning,
    test_alerts,
    test_conformance,
    test_everywhere,
    test_gcp_secrets,
    test_instance,
    test_order,
    test_plans,
    test_production,
    test_rights,
)
from tests.production.mutations import Mutation
from tests.production.planning import Plan

MODULES = (
    test_everywhere,
    test_order,
    test_rights,
    test_instance,
    test_alerts,
    test_gcp_secrets,
    test_production,
    test_plans,
    test_conformance,
)
MADE_FOR_SETTINGS = {
    test_conformance.test_a_setting_that_people_change_replaces_no_data,
    test_conformance.test_no_name_changes_with_a_setting,
    test_conformance.test_what_is_chosen_once_is_seen_to_make_something_anew,
    test_conformance.test_the_plugin_itself_replaced_nothing_for_what_people_change,
    test_conformance.test_every_property_whose_change_the_plugin_replaces_is_one_that_stays,
    test_conformance.test_no_value_that_the_plugin_or_the_server_refuses_is_one_of_ours,
}
"""Left out: they compare settings or recordings, which aren't everywhere, in a plan for each of them."""


@dataclass(frozen=True)
class Check:
    """One run of one test."""

    test: Callable[..., None]
    given: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        values = ", ".join(str(value) for _, value in self.given)
        return f"{self.test.__name__}({values})"

    def fails(self) -> bool:
        try:
            self.test(**dict(self.given))
        except pytest.skip.Exception:
            return False
        except (Exception, pytest.fail.Exception):
            return True
        return False


def checks() -> list[Check]:
    """Every check that looks at a plan of the program and holds."""
    looked: list[Check] = []
    for each in itertools.chain.from_iterable(map(_of, MODULES)):
        asked: list[Plan] = []

        def noted(plan: Plan, asked: list[Plan] = asked) -> Plan:
            asked.append(plan)
            return plan

        with planning.mutated(noted):
            failed = each.fails()
        if asked:
            assert not failed, f"{each.name} fails without any mutation"
            looked.append(each)
    return looked


def _of(module: ModuleType) -> Iterator[Check]:
    for name, test in vars(module).items():
        if name.startswith("test_") and inspect.isfunction(test) and test not in MADE_FOR_SETTINGS:
            given = [list(_values(mark)) for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
            for one in itertools.product(*given):
                pairs = tuple(itertools.chain.from_iterable(one))
                if {key for key, _ in pairs} == set(inspect.signature(test).parameters):
                    yield Check(test, pairs)


def _values(mark: pytest.Mark) -> Iterator[tuple[tuple[str, Any], ...]]:
    names, values = mark.args[:2]
    names = [each.strip() for each in names.split(",")] if isinstance(names, str) else list(names)
    for value in values:
        yield tuple(zip(names, value if len(names) > 1 else (value,), strict=True))


class Rules:
    """The checks, those first that noticed something of the kind before."""

    def __init__(self, given: Sequence[Check] | None = None) -> None:
        self.checks: Sequence[Check] = checks() if given is None else given
        self._noticed: dict[tuple[str, str], list[Check]] = {}

    def catch(self, mutation: Mutation) -> str | None:
        """The first check that fails because of it."""
        key = mutation.kind, mutation.what.split(" ")[0]
        before = self._noticed.setdefault(key, [])
        with planning.mutated(mutation.change):
            for each in itertools.chain(before, (one for one in self.checks if one not in before)):
                if each.fails():
                    if each not in before:
                        before.insert(0, each)
                    return each.name
        return None


def reviewed(mutation: Mutation) -> str | None:
    """The first plan in ``tests/plans`` that a reviewer would see change."""
    for name, config in planning.variants().items():
        plan = planning.planned(config)
        if mutation.urn and mutation.urn not in plan.resources:
            continue
        if _documented(name) != plan_files.document(mutation.change(plan)):
            return "prod" if name == "defaults" else f"prod-{name}"
    return None


@functools.cache
def _documented(name: str) -> dict[str, Any]:
    return plan_files.document(planning.planned(planning.variants()[name]))
