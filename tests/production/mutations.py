"""Production's program with one thing wrong: every mutation of what it registers, enumerated from its plans.

A mutation changes plans, not code: it stands for any program that would register that. Only what people read is left
alone: descriptions, titles, labels.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.production import planning
from tests.production.planning import Plan, Registered, opened, short

Step = str | int
Path = tuple[Step, ...]
Edit = Callable[[Any], Any]

READ_BY_PEOPLE = {"description", "displayName", "title", "labels", "userLabels", "subject"}
"""Left alone wherever they stand."""
OTHER_WORDS: dict[str, str] = {
    "edition": "ENTERPRISE_PLUS",
    "tier": "db-f1-micro",
    "databaseVersion": "POSTGRES_15",
    "availabilityType": "REGIONAL",
    "diskType": "PD_SSD",
    "sslMode": "ALLOW_UNENCRYPTED_AND_ENCRYPTED",
    "connectorEnforcement": "NOT_REQUIRED",
    "serverCaMode": "GOOGLE_MANAGED_CAS_CA",
    "updateTrack": "canary",
    "retentionUnit": "RETENTION_UNIT_UNSPECIFIED",
    "egress": "ALL_TRAFFIC",
    "machineType": "f1-micro",
    "timeZone": "Europe/Berlin",
    "httpMethod": "PUT",
    "project": "gaia-other",
    "region": "us-east1",
    "location": "us-east1",
    "role": "roles/viewer",
    "type": "CLOUD_IAM_USER",
    "deletionPolicy": "DELETE",
    "publicAccessPrevention": "inherited",
    "purpose": "GCE_ENDPOINT",
    "addressType": "EXTERNAL",
    "comparison": "COMPARISON_LT",
    "combiner": "AND",
    "severity": "WARNING",
    "perSeriesAligner": "ALIGN_MIN",
    "crossSeriesReducer": "REDUCE_MAX",
    "metricKind": "GAUGE",
    "valueType": "DOUBLE",
    "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN1",
    "format": "MAVEN",
    "action": "KEEP",
    "withState": "ANY",
    "storageClass": "NEARLINE",
    "schedule": "0 0 1 1 *",
}
"""Another value that is legal there, by the property's name."""
JSON_TEXTS = {"dashboardJson", "body"}
"""Properties that are documents themselves; a scheduler's body is one in base64."""


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One thing that is wrong, and with what."""

    kind: str
    """Such as ``binding dropped``."""
    what: str
    """Such as ``sql/DatabaseInstance primary: settings.tier``."""
    urn: str
    """The resource's; empty for an output."""
    change: Callable[[Plan], Plan]

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.what}"


def every(*shapes: str) -> dict[str, Mutation]:
    """All mutations of these shapes of production, by name; each is the same mutation of all of them."""
    found: dict[str, Mutation] = {}
    for shape in shapes:
        for each in _of(planning.planned(planning.variants()[shape])):
            found.setdefault(each.name, each)
    return found


def _of(plan: Plan) -> Iterator[Mutation]:
    for each in plan.custom():
        yield _gone(each)
        yield from _unordered(plan, each)
        yield from _unguarded(each)
        yield from _inputs(each)
    for name, value in plan.outputs.items():
        yield Mutation(kind="output dropped", what=name, urn="", change=_output(name, dropped=True))
        if not isinstance(value, dict):
            yield Mutation(kind="output changed", what=name, urn="", change=_output(name, dropped=False))


# --- whole resources ---

_KINDS = {
    "projects/Service": "API dropped",
    "secretmanager/SecretVersion": "secret version dropped",
}


def _gone(each: Registered) -> Mutation:
    kind = (
        "binding dropped"
        if {"member", "role"} <= set(each.inputs)
        else _KINDS.get(short(each.type), "resource dropped")
    )

    def change(plan: Plan) -> Plan:
        left = {
            urn: replace(one, dependencies=one.dependencies - {each.urn})
            for urn, one in plan.resources.items()
            if urn != each.urn
        }
        return Plan(resources=left, calls=plan.calls, outputs=plan.outputs)

    return Mutation(kind=kind, what=_called(each), urn=each.urn, change=change)


def _unordered(plan: Plan, each: Registered) -> Iterator[Mutation]:
    """A dependency that another one implies changes nothing where it is missing."""
    direct = [plan.resources[urn] for urn in sorted(each.dependencies) if urn in plan.resources]
    for other in direct:
        if not any(plan.waits_for(between, other) for between in direct):

            def change(plan: Plan, urn: str = other.urn) -> Plan:
                return _with(
                    plan, each.urn, lambda one: replace(one, dependencies=one.dependencies - {urn}), moves=True
                )

            what = f"{_called(each)} → {_called(other)}"
            yield Mutation(kind="dependency dropped", what=what, urn=each.urn, change=change)


def _unguarded(each: Registered) -> Iterator[Mutation]:
    for field in ("protect", "replace_first"):
        if getattr(each, field):

            def change(plan: Plan, field: str = field) -> Plan:
                return _with(plan, each.urn, lambda one: replace(one, **{field: False}))

            yield Mutation(kind=f"{field} off", what=_called(each), urn=each.urn, change=change)


def _called(each: Registered) -> str:
    return f"{short(each.type)} {each.name}"


def _with(plan: Plan, urn: str, edit: Callable[[Registered], Registered], *, moves: bool = False) -> Plan:
    """The plan with one resource edited, where it has it; ``moves``: in what it waits for."""
    if urn not in plan.resources:
        return plan
    resources = {**plan.resources, urn: edit(plan.resources[urn])}
    return Plan(resources=resources, calls=plan.calls, outputs=plan.outputs, reached={} if moves else plan.reached)


# --- inputs ---


def _inputs(each: Registered) -> Iterator[Mutation]:
    for path, value in _places(each.raw):
        what, flag = f"{_called(each)}: {written(path)}", "databaseFlags" in path
        edits: dict[str, Edit] = {"flag dropped" if flag else "input dropped": _drop}
        edits |= {f"{'flag' if flag else 'input'} {how}": edit for how, edit in _others(path, value)}
        for kind, edit in edits.items():
            kind, _, detail = kind.partition("|")
            shown = f"{what} {detail}".rstrip()
            yield Mutation(kind=kind, what=shown, urn=each.urn, change=_at(each.urn, path, edit))


_DROP = object()


def _drop(_: Any) -> Any:
    return _DROP


def _at(urn: str, path: Path, edit: Edit) -> Callable[[Plan], Plan]:
    def change(plan: Plan) -> Plan:
        def edited(one: Registered) -> Registered:
            raw = _edited(one.raw, path, edit)
            return replace(one, raw=raw, inputs=opened(raw))

        return _with(plan, urn, edited)

    return change


def _places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that holds no other ones, and every item of a list."""
    if isinstance(value, dict) and planning.SIGNATURE not in value:
        if not value or {"name", "value"} == set(value):
            yield path, value
        else:
            for name, inner in value.items():
                if name in JSON_TEXTS:
                    yield from _inside(inner, (*path, name))
                elif name not in READ_BY_PEOPLE and not name.startswith("__"):
                    yield from _places(inner, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            step = _step(index, item)
            if isinstance(item, dict) and set(item) != {"name", "value"} and item:
                yield (*path, step), _DROP
            yield from _places(item, (*path, step))
    else:
        yield path, value


def _inside(text: str, path: Path) -> Iterator[tuple[Path, Any]]:
    """Of a document in a text: each value of a request, each tile of a dashboard."""
    if path[-1] == "dashboardJson":
        for index in range(len(json.loads(text)["mosaicLayout"]["tiles"])):
            yield (*path, "()", "mosaicLayout", "tiles", index), _DROP
    else:
        yield from _places(json.loads(base64.b64decode(text)), (*path, "()"))


def _step(index: int, item: Any) -> Step:
    """An item by its name where it has one: it may stand elsewhere in another plan."""
    if isinstance(item, dict) and isinstance(item.get("name"), str):
        return f"[{item['name']}]"
    return index


def written(path: Path) -> str:
    return ".".join(str(step) for step in path).replace(".()", "()").replace(".[", "[")


def _edited(value: Any, path: Path, edit: Edit) -> Any:
    """A copy with the value at the path edited, or left as it is where nothing is there."""
    if not path:
        return edit(value)
    first, rest = path[0], path[1:]
    if first == "()":
        return _encoded(_edited(_decoded(value), rest, edit), value)
    result = copy.copy(value)
    if isinstance(value, list):
        index = first if isinstance(first, int) else _index(value, first)
        if index is None or index >= len(value):
            return value
        made = _edited(value[index], rest, edit)
        result[index : index + 1] = [] if made is _DROP else [made]
    elif isinstance(value, dict) and first in value:
        made = _edited(value[first], rest, edit)
        if made is _DROP:
            del result[first]
        else:
            result[first] = made
    return result


def _index(items: list[Any], step: str) -> int | None:
    return next((i for i, each in enumerate(items) if _step(i, each) == step), None)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(base64.b64decode(text))


def _encoded(document: Any, before: str) -> str:
    text = json.dumps(document)
    try:
        base64.b64decode(before, validate=True)
    except binascii.Error:
        return text
    return base64.b64encode(text.encode()).decode()


# --- other values ---


def _others(path: Path, value: Any) -> Iterator[tuple[str, Edit]]:
    """Kind of change, and the change."""
    # What an alert tells people may say anything, but it has to say something.
    if value is _DROP or value == {} or path[-1] == "content":
        return
    if isinstance(value, dict) and planning.SIGNATURE in value:
        yield "unmarked", lambda given: given["value"]
        yield "changed", lambda given: {**given, "value": _another(path, given["value"])}
        return
    if isinstance(value, dict):
        yield "changed", lambda given: {**given, "value": _another(path, given["value"])}
        return
    if isinstance(value, str):
        for part in (" AND ", " && ", " || "):
            for index, clause in enumerate(value.split(part) if part in value else ()):
                yield f"narrowed|without {clause}", lambda given, at=index, by=part: _without(given, at, by)
    yield "changed", lambda given: _another(path, given)


def _without(text: str, index: int, by: str) -> str:
    parts = text.split(by)
    return by.join(parts[:index] + parts[index + 1 :])


def _another(path: Path, value: Any) -> Any:
    """A value of the same kind that is another one."""
    name = next(step for step in reversed(path) if isinstance(step, str) and step != "()").strip("[]")
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if float(value).is_integer() else value / 2
    if not isinstance(value, str):
        return [] if isinstance(value, list) else {}
    if name in OTHER_WORDS and value != OTHER_WORDS[name]:
        return OTHER_WORDS[name]
    if value in _OPPOSITES:
        return _OPPOSITES[value]
    if found := re.fullmatch(r"(\d+)(s|Mi|Gi|)", value):
        return f"{int(found[1]) + 1}{found[2]}"
    if found := re.search(r"gaia-(\w+)-sa@", value):
        # Somebody else of the stack: legal, and wrong.
        return value.replace(found[1], "preview" if found[1] != "preview" else "export", 1)
    return f"{value}x"


_OPPOSITES = {"on": "off", "off": "on", "true": "false", "false": "true"}


def _output(name: str, *, dropped: bool) -> Callable[[Plan], Plan]:
    def change(plan: Plan) -> Plan:
        outputs = dict(plan.outputs)
        if name in outputs:
            outputs[name] = _another((name,), outputs[name])
            if dropped:
                del outputs[name]
        return replace(plan, outputs=outputs)

    return change
