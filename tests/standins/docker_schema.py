"""What the ``docker`` provider's resources take, which properties replace, and checks and diffs on plain data.

Modelled on pulumi-docker 5.x. A property that isn't modelled here is refused by name, never ignored.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rehearsal.provider.protocol import UNKNOWN, Properties, has_unknown

NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
REMOTE_IMAGE = "docker:index/remoteImage:RemoteImage"
CONTAINER = "docker:index/container:Container"

Kind = Literal["string", "integer", "boolean", "strings", "map", "object", "objects"]
Change = Literal["add", "update", "delete"]

DEFAULTED = "__defaults"
"""The input in which Pulumi's bridge keeps the names of those inputs that the provider, not the program, set."""
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
RESTART_POLICIES = ("no", "on-failure", "always", "unless-stopped")


@dataclass(frozen=True, kw_only=True)
class Property:
    """One property of a resource, or of an object in it."""

    kind: Kind
    replaces: bool = False
    """A change replaces the resource."""
    computed: bool = False
    """Docker fills it in where the program says nothing: no difference then."""
    default: Any = None
    required: bool = False
    unordered: bool = False
    duration: bool = False
    choices: tuple[str, ...] = ()
    fields: Mapping[str, Property] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    """Fields of the official provider that the stand-in refuses."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource type: what it takes, what it gives besides, and what the stand-in refuses."""

    inputs: Mapping[str, Property]
    outputs: tuple[str, ...]
    """What only Docker knows: unknown in a preview."""
    refused: frozenset[str]
    """Inputs of the official provider that the stand-in refuses."""
    autonamed: bool = True


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An input that can't be accepted."""

    property: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One property whose wanted value is not the one in the state."""

    property: str
    change: Change
    replaces: bool


def _text(**flags: Any) -> Property:
    return Property(kind="string", **flags)


def _number(**flags: Any) -> Property:
    return Property(kind="integer", **flags)


def _flag(**flags: Any) -> Property:
    return Property(kind="boolean", **flags)


def _texts(**flags: Any) -> Property:
    return Property(kind="strings", **flags)


LABELS = {"label": _text(required=True, replaces=True), "value": _text(required=True, replaces=True)}
PORT = {
    "internal": _number(required=True, replaces=True),
    "external": _number(replaces=True, computed=True),
    "ip": _text(replaces=True, default="0.0.0.0"),
    "protocol": _text(replaces=True, default="tcp", choices=("tcp", "udp", "sctp")),
}
CONTAINER_VOLUME = {
    "volumeName": _text(replaces=True),
    "hostPath": _text(replaces=True),
    "containerPath": _text(replaces=True),
    "readOnly": _flag(replaces=True, default=False),
}
NETWORK_ADVANCED = {
    "name": _text(required=True, replaces=True),
    "aliases": _texts(replaces=True, unordered=True),
    "ipv4Address": _text(replaces=True),
}
HEALTHCHECK = {
    "tests": _texts(),
    "interval": _text(duration=True, computed=True),
    "timeout": _text(duration=True, computed=True),
    "startPeriod": _text(duration=True, computed=True),
    "startInterval": _text(duration=True, computed=True),
    "retries": _number(computed=True),
}

RESOURCES: Mapping[str, Resource] = {
    NETWORK: Resource(
        inputs={
            "name": _text(replaces=True),
            "driver": _text(replaces=True, computed=True),
            "internal": _flag(replaces=True, computed=True),
            "attachable": _flag(replaces=True, default=False),
            "labels": Property(kind="objects", replaces=True, unordered=True, fields=LABELS),
            "options": Property(kind="map", replaces=True, computed=True),
            "ipamConfigs": Property(
                kind="objects",
                replaces=True,
                computed=True,
                unordered=True,
                fields={
                    "subnet": _text(replaces=True),
                    "gateway": _text(replaces=True, computed=True),
                    "ipRange": _text(replaces=True),
                },
                refused=frozenset({"auxAddress"}),
            ),
        },
        outputs=("scope",),
        refused=frozenset({"ingress", "ipamDriver", "ipamOptions", "ipv6"}),
    ),
    VOLUME: Resource(
        inputs={
            "name": _text(replaces=True),
            "driver": _text(replaces=True, computed=True),
            "driverOpts": Property(kind="map", replaces=True),
            "labels": Property(kind="objects", replaces=True, unordered=True, fields=LABELS),
        },
        outputs=("mountpoint",),
        refused=frozenset({"cluster"}),
    ),
    REMOTE_IMAGE: Resource(
        inputs={
            "name": _text(replaces=True, required=True),
            "keepLocally": _flag(),
            "forceRemove": _flag(),
            "pullTriggers": _texts(replaces=True, unordered=True),
        },
        outputs=("imageId", "repoDigest"),
        refused=frozenset({"build", "platform", "triggers"}),
        autonamed=False,
    ),
    CONTAINER: Resource(
        inputs={
            "name": _text(replaces=True),
            "image": _text(replaces=True, required=True),
            "command": _texts(replaces=True, computed=True),
            "entrypoints": _texts(replaces=True, computed=True),
            "envs": _texts(replaces=True, computed=True, unordered=True),
            "labels": Property(kind="objects", replaces=True, computed=True, unordered=True, fields=LABELS),
            "user": _text(replaces=True),
            "workingDir": _text(replaces=True),
            "hostname": _text(replaces=True, computed=True),
            "ports": Property(kind="objects", replaces=True, fields=PORT),
            "volumes": Property(
                kind="objects",
                replaces=True,
                unordered=True,
                fields=CONTAINER_VOLUME,
                refused=frozenset({"fromContainer", "selinuxRelabel"}),
            ),
            "tmpfs": Property(kind="map"),
            "networksAdvanced": Property(
                kind="objects",
                replaces=True,
                unordered=True,
                fields=NETWORK_ADVANCED,
                refused=frozenset({"driverOpts", "gwPriority", "ipv6Address", "linkLocalIps", "macAddress"}),
            ),
            "healthcheck": Property(kind="object", computed=True, fields=HEALTHCHECK),
            "restart": _text(default="no", choices=RESTART_POLICIES),
            "maxRetryCount": _number(),
            "mustRun": _flag(default=True),
            "start": _flag(default=True),
            "init": _flag(computed=True),
            "wait": _flag(default=False),
            "waitTimeout": _number(default=60),
            "destroyGraceSeconds": _number(),
            "removeVolumes": _flag(default=True),
            "containerReadRefreshTimeoutMilliseconds": _number(default=15000),
            "stopSignal": _text(replaces=True, computed=True),
            "stopTimeout": _number(replaces=True, computed=True),
            "logDriver": _text(replaces=True, computed=True),
            "logOpts": Property(kind="map", replaces=True),
            "shmSize": _number(replaces=True, computed=True),
            "memory": _number(),
            "memorySwap": _number(),
            "memoryReservation": _number(),
            "cpuShares": _number(),
            "readOnly": _flag(replaces=True, default=False),
            "securityOpts": _texts(replaces=True, computed=True, unordered=True),
        },
        outputs=("bridge", "containerLogs", "exitCode", "networkDatas"),
        refused=frozenset(
            {
                "attach",
                "capabilities",
                "cgroupParent",
                "cgroupnsMode",
                "cpuPeriod",
                "cpuQuota",
                "cpuSet",
                "cpus",
                "deviceReadBps",
                "deviceReadIops",
                "deviceRequests",
                "deviceWriteBps",
                "deviceWriteIops",
                "devices",
                "dns",
                "dnsOpts",
                "dnsSearches",
                "domainname",
                "gpus",
                "groupAdds",
                "hosts",
                "ipcMode",
                "logs",
                "mounts",
                "networkMode",
                "pidMode",
                "platform",
                "privileged",
                "publishAllPorts",
                "rm",
                "runtime",
                "stdinOpen",
                "storageOpts",
                "sysctls",
                "tty",
                "ulimits",
                "uploads",
                "usernsMode",
            }
        ),
    ),
}

PROVIDER_INPUTS = frozenset({"host", "version"})


def check_config(config: Properties) -> list[Failure]:
    """What is wrong with the provider's own configuration."""
    return [
        Failure(property=name, reason=f"{name}: the docker stand-in models only {', '.join(sorted(PROVIDER_INPUTS))}")
        for name in sorted(set(config) - PROVIDER_INPUTS)
        if config[name] not in ("", [], {}, "[]", "{}")
    ]


def check(
    token: str, olds: Properties, news: Properties, *, name: str, proposed_name: str = ""
) -> tuple[Properties, list[Failure]]:
    """The inputs to work with, named if the program gave no name, and every fault in them."""
    resource = RESOURCES[token]
    inputs = {key: value for key, value in news.items() if key != DEFAULTED}
    failures = list(_faults(resource.inputs, resource.refused, inputs, token, path=""))
    defaulted: list[str] = []
    if resource.autonamed and not inputs.get("name"):
        defaulted.append("name")
        kept = olds.get("name") if "name" in olds.get(DEFAULTED, []) else None
        inputs["name"] = kept or proposed_name or f"{name}-{secrets.token_hex(4)[:7]}"
    inputs[DEFAULTED] = defaulted
    return inputs, failures


def _faults(
    known: Mapping[str, Property], refused: frozenset[str], values: Properties, where: str, path: str
) -> Iterator[Failure]:
    for key, value in values.items():
        place = path + key
        if key == DEFAULTED:
            continue
        if key in refused:
            reason = f"{place}: the docker stand-in doesn't model this property of {where} (the official plugin does)"
            yield Failure(property=place, reason=reason)
        elif key not in known:
            yield Failure(property=place, reason=f"{place}: {where} has no such property")
        elif value != UNKNOWN:
            yield from _value_faults(known[key], value, where, place)
    for key, known_property in known.items():
        if known_property.required and values.get(key) is None:
            yield Failure(property=path + key, reason=f"{path}{key}: missing, and {where} needs it")


def _value_faults(known: Property, value: Any, where: str, place: str) -> Iterator[Failure]:
    if not _fits(known.kind, value):
        reason = f"{place}: a value of type {known.kind} is needed, not {type(value).__name__}"
        yield Failure(property=place, reason=reason)
    elif known.choices and value not in known.choices:
        yield Failure(property=place, reason=f"{place}: {value!r} is not one of {', '.join(known.choices)}")
    elif known.duration and not DURATION.fullmatch(value):
        yield Failure(property=place, reason=f"{place}: {value!r} is not a duration such as 10s or 1m30s")
    elif known.kind == "object":
        yield from _faults(known.fields, known.refused, value, where, f"{place}.")
    elif known.kind == "objects":
        for index, item in enumerate(value):
            if item != UNKNOWN:
                yield from _faults(known.fields, known.refused, item, where, f"{place}[{index}].")


def _fits(kind: Kind, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "strings":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "map" | "object":
            return isinstance(value, dict)
        case "objects":
            return isinstance(value, list) and all(isinstance(item, dict) or item == UNKNOWN for item in value)


def diff(token: str, state: Properties, news: Properties) -> list[Difference]:
    """Where the wanted inputs differ from the state, in the order of the table."""
    found: list[Difference] = []
    for name, known in RESOURCES[token].inputs.items():
        change = _change(known, state.get(name), news.get(name, known.default))
        if change:
            found.append(Difference(property=name, change=change, replaces=known.replaces))
    return found


def deletes_before_replacing(state: Properties, news: Properties) -> bool:
    """A name that the program chose can't be there twice: the old one goes first, as with the official provider."""
    return "name" not in news.get(DEFAULTED, []) and state.get("name") == news.get("name")


def _change(known: Property, old: Any, new: Any) -> Change | None:
    if new is None:
        return None if known.computed or _is_nothing(old) else "delete"
    if has_unknown(new):
        return "add" if _is_nothing(old) else "update"
    if _comparable(known, new, beside=old) == _comparable(known, old, beside=new):
        return None
    if _is_nothing(old) and known.kind in ("strings", "map", "object", "objects", "string"):
        return "add"
    return "update"


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", 0, False, [], {})


def _comparable(known: Property, value: Any, beside: Any = None) -> Any:
    """A value in a form in which two that mean the same are equal."""
    if _is_nothing(value):
        return None
    if known.duration:
        return nanoseconds(value)
    if known.kind == "object":
        return _comparable_object(known, value, beside if isinstance(beside, dict) else {})
    if known.kind == "objects":
        others = beside if isinstance(beside, list) and len(beside) == len(value) else [{}] * len(value)
        items = [_comparable_object(known, item, other) for item, other in zip(value, others, strict=True)]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if known.unordered else items
    if known.unordered:
        return sorted(value)
    return value


def _comparable_object(known: Property, value: Properties, beside: Properties) -> Properties:
    """Defaults filled in; what Docker fills in counts only where both sides say it."""
    comparable: Properties = {}
    for name, inner in known.fields.items():
        if inner.computed and (value.get(name) is None or beside.get(name) is None):
            continue
        item = _comparable(inner, value.get(name, inner.default))
        if item is not None:
            comparable[name] = item
    return comparable


def nanoseconds(duration: str) -> int:
    """``1m30s`` as the Docker API counts it. Raises ValueError."""
    match = DURATION.fullmatch(duration)
    if not match:
        raise ValueError(f"{duration!r} is not a duration such as 10s or 1m30s")
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return round((hours * 3600 + minutes * 60 + seconds) * 1_000_000_000 + milliseconds * 1_000_000)


def preview_state(token: str, inputs: Properties, state: Properties | None = None) -> Properties:
    """What a preview can say of the outputs: the inputs and, of an existing resource, what will stay."""
    resource = RESOURCES[token]
    wanted = {name: value for name, value in inputs.items() if name != DEFAULTED}
    if state is not None:
        return {**state, **wanted}
    filled_in = [name for name, known in resource.inputs.items() if known.computed and name not in wanted]
    return {**wanted, **dict.fromkeys([*resource.outputs, *filled_in], UNKNOWN)}


def engine_schema(version: str) -> Properties:
    """The stand-in's part of the package schema, for an engine that asks."""
    return {
        "name": "docker",
        "version": version,
        "resources": {
            token: {
                "inputProperties": {
                    name: {**_schema_type(known.kind), "willReplaceOnChanges": known.replaces}
                    for name, known in resource.inputs.items()
                },
                "requiredInputs": [name for name, known in resource.inputs.items() if known.required],
            }
            for token, resource in RESOURCES.items()
        },
    }


def _schema_type(kind: Kind) -> Properties:
    match kind:
        case "strings":
            return {"type": "array", "items": {"type": "string"}}
        case "objects":
            return {"type": "array", "items": {"type": "object"}}
        case "map" | "object":
            return {"type": "object"}
        case _:
            return {"type": kind}
