"""The requests that the provider makes against those that the official plugin was seen to make for the same resource.

Method, host, path, query and every field of the body. What differs is listed by name with its reason.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from rehearsal.provider import comparing, mapping
from rehearsal.provider.table import Properties
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


# --- updates ---

FIXED = "update-fixed"
"""The instance's update: 9.35.0 itself loses it, the recording is of a plugin in which that is mended."""


def changed_inputs(made: Exchange, subject: Subject, change: Exchange) -> Properties:
    """The inputs after the recorded update, read from what it sent."""
    body = change.body
    if made.resource == "serviceaccount.Account":
        body = {"email": "", **body["serviceAccount"]}
    elif made.resource == "monitoring.Dashboard":
        document = {name: value for name, value in body.items() if name != "etag"}
        return {**subject.inputs, "dashboardJson": json.dumps(document, sort_keys=True)}
    sent = mapping.outputs_of(subject.kind, body)
    news = {name: _over(value, sent.get(name)) for name, value in subject.inputs.items()}
    if "password" in news:
        news["password"] = body["password"]
    if "labels" in news and "labels" in body:
        labels = {key: value for key, value in body["labels"].items() if key != mapping.PROVISIONED[0]}
        news["labels"] = {key: value for key, value in labels.items() if value is not None}
    if "versionDestroyTtl" in sent:
        news["versionDestroyTtl"] = sent["versionDestroyTtl"]
    return news


def _over(given: Any, sent: Any) -> Any:
    if isinstance(given, dict) and isinstance(sent, dict):
        return {key: _over(value, sent.get(key)) for key, value in given.items()}
    return given if sent is None else sent


MASK = "the plugin says a changed field twice, and the least instances though they stay"
ETAG = "this provider reads the etag just before the update, the plugin has it in its state"
UPDATES: dict[str, tuple[list[str], str]] = {
    "vpcaccess.Connector": (
        ["query {'updateMask': 'maxInstances'} for {'updateMask': 'maxInstances,maxInstances,minInstances'}"],
        MASK,
    ),
    "monitoring.Dashboard": (["~etag"], ETAG),
}
"""By resource: what is asked otherwise in an update, and why."""


def _updates() -> list[Any]:
    found = []
    for param in SUBJECTS:
        made, subject = param.values
        phase = FIXED if made.resource == "sql.DatabaseInstance" else "update"
        changes = of_resource(subject, made, phase)
        if changes and made.resource != "secretmanager.SecretVersion":
            found.append(pytest.param(made, subject, changes, id=f"{made.resource}-{subject.name}"[:80]))
    return found


@pytest.mark.parametrize(("made", "subject", "changes"), _updates())
def test_an_update_asks_what_the_plugin_asked(made: Exchange, subject: Subject, changes: list[Exchange]) -> None:
    news = changed_inputs(made, subject, changes[0])
    found = comparing.changes(subject.kind, subject.state, subject.inputs, news)
    assert found, "nothing changes"
    player = Player(changes[0].phase, "up")
    recorded.resource(subject.kind, recorded.account_of(player)).update(subject.state, news, found)
    expected, _ = UPDATES.get(made.resource, ([], ""))
    assert compare(player.asked, changes) == expected


# --- what is deleted ---


@pytest.mark.parametrize(("made", "subject"), SUBJECTS)
def test_a_deletion_asks_what_the_plugin_asked(made: Exchange, subject: Subject) -> None:
    theirs = of_resource(subject, made, "destroy")
    player = Player("destroy")
    recorded.resource(subject.kind, recorded.account_of(player)).delete(_last_state(subject, made, theirs))
    assert compare(player.asked, theirs) == []


def _last_state(subject: Subject, made: Exchange, theirs: list[Exchange]) -> Properties:
    """The state before the end. No request says which policy the program gave: where nothing was asked, ABANDON."""
    state = {name: value for name, value in subject.state.items() if name != "deletionPolicy"}
    if not theirs:
        return {**state, "deletionPolicy": "ABANDON"}
    if made.resource == "secretmanager.SecretVersion":
        # One was replaced by its second version before, one is only switched off.
        name, _, verb = theirs[0].path.removeprefix("v1/").partition(":")
        return {**state, "name": name, "deletionPolicy": "DISABLE" if verb == "disable" else "DELETE"}
    return state
