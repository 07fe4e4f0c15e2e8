"""What Google refuses, as tables: each rule with its source, its message and, under the same key, a test.

A module of this package holds the rules of a service. A rule with ``check`` is looked at before its methods are
answered; one without is raised by the service's function, by ``refuse``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.cloud.call import Call
from rehearsal.cloud.errors import GoogleError

Details = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One refusal. ``message`` is Google's, with the places that ``check`` or ``refuse`` fills."""

    key: str
    methods: tuple[str, ...]
    message: str
    source: str
    check: Callable[[Call], Details | None] | None = None
    """What fills the message where the call is refused, or None."""
    code: int = 400
    status: str | None = None
    reason: str | None = None

    def error(self, **details: Any) -> GoogleError:
        return GoogleError(self.code, self.message.format(**details), status=self.status, reason=self.reason)


RULES: dict[str, Rule] = {}
_BY_METHOD: dict[str, list[Rule]] = {}


def add(*rules: Rule) -> None:
    """Put rules into the table."""
    for rule in rules:
        if rule.key in RULES:
            raise ValueError(f"two rules are called {rule.key}")
        RULES[rule.key] = rule
        for each in rule.methods:
            _BY_METHOD.setdefault(each, []).append(rule)


def check(call: Call) -> None:
    """Raise the first refusal of the table that this call meets."""
    for rule in _BY_METHOD.get(call.method.id, ()):
        details = rule.check(call) if rule.check else None
        if details is not None:
            raise rule.error(**details)


def refuse(key: str, **details: Any) -> GoogleError:
    """The error of a rule that a service's function finds itself: ``raise refuse("secret-exists", name=…)``."""
    return RULES[key].error(**details)
