"""The requests that the provider makes against those that the official plugin was seen to make for the same resource.

Method, host, path, query and every field of the body. What differs is listed by name with its reason.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.rehearsal import recorded
from tests.unit.rehearsal.player import Asked, Player
from tests.unit.rehearsal.recorded import Exchange, Subject


def _subjects() -> list[Any]:
    try:
        return [
            pytest.param(made, subject, id=f"{made.resource}-{subject.name}"[:80])
            for made, subject in recorded.subjects()
        ]
    except pytest.skip.Exception:
        return []


SUBJECTS = _subjects()
VOLATILE = ("nextRotationTime",)
"""What is the time, and so never the same."""


def clean(body: Any) -> Any:
    """A body without what is never the same, and lists without an order in one."""
    if isinstance(body, dict):
        return {
            key: sorted(map(repr, value)) if key in UNORDERED else clean(value)
            for key, value in body.items()
            if key not in VOLATILE
        }
    return [clean(one) for one in body] if isinstance(body, list) else body


UNORDERED = ("env", "databaseFlags", "serviceIds")


def test_the_recorded_creations_are_here() -> None:
    assert len(list(recorded.subjects())) > 25


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """The fields of two bodies that differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted({*ours, *theirs}):
            if key not in ours:
                found.append(f"-{path}{key}")
            elif key not in theirs:
                found.append(f"+{path}{key}")
            else:
                found += differences(ours[key], theirs[key], f"{path}{key}.")
        return found
    return [] if ours == theirs else [f"~{path.rstrip('.')}"]


def compare(asked: list[Asked], theirs: list[Exchange]) -> list[str]:
    """What is asked otherwise: a change that nobody recorded, one that is missing, or fields of its body."""
    found, left = [], list(theirs)
    for each in asked:
        if each.method == "GET":
            continue
        same = [one for one in left if (one.method, one.host, one.path) == (each.method, each.host, each.path)]
        if not same:
            found.append(f"new {each.method} {each.host}/{each.path}")
            continue
        best = min(same, key=lambda one: len(differences(clean(each.body), clean(one.body))))
        left.remove(best)
        found += differences(clean(each.body), clean(best.body))
        if each.query != best.query:
            found.append(f"query {each.query} for {best.query}")
    return [*found, *(f"missing {one.method} {one.host}/{one.path}" for one in left)]


def of_resource(subject: Subject, made: Exchange, phase: str) -> list[Exchange]:
    """The recorded changes of one resource in a phase."""
    answer = made.answer if isinstance(made.answer, dict) else {}
    names = {subject.name, str(answer.get("name", "")).rsplit("/operations/")[0]} - {"it", ""}
    return [
        each
        for each in recorded.exchanges()
        if each.phase == phase
        and each.method != "GET"
        and each.resource == made.resource
        and any(_about(each, name) for name in names)
    ]


def _about(each: Exchange, name: str) -> bool:
    body = each.body if isinstance(each.body, dict) else {}
    path = f"/{each.path}/".replace(":", "/")
    named = (body.get("name"), body.get("accountId"), body.get("displayName"), *each.query.values())
    return f"/{name}/".replace("//", "/") in path or name in named


@pytest.mark.parametrize(("made", "subject"), SUBJECTS)
def test_a_creation_asks_what_the_plugin_asked(made: Exchange, subject: Subject) -> None:
    player = Player("up", after=made.seq)
    resource = recorded.resource(subject.kind, recorded.account_of(player))
    resource.create(subject.inputs)
    theirs = [each for each in of_resource(subject, made, "up") if each.seq >= made.seq]
    if made not in theirs:
        theirs.append(made)
    assert compare(player.asked, theirs) == []
    # What was read is what the plugin read; a name that it never asked for would have been answered 404.
    assert [each for each in player.unknown if each.method == "GET"] == []
