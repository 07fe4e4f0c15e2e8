"""Plans a stack without a cloud: what the program would register, with its inputs, dependencies and outputs.

Secrets stay marked, as the engine would keep them, and every call (a look-up, an invoke) is recorded.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pulumi
import yaml
from google.protobuf import json_format
from pulumi.runtime import mocks, stack
from pulumi.runtime.config import CONFIG
from pulumi.runtime.settings import SETTINGS, set_root_resource

from infra import program

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "gaia-test"
IMAGE = f"us-west1-docker.pkg.dev/{PROJECT}/gaia-db/migrations@sha256:{'a' * 64}"
CANARY = "canary-5e1f"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE, _SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One resource that the program registered."""

    type: str
    name: str
    urn: str
    inputs: dict[str, Any]
    """As the engine gets them, secrets opened."""
    raw: dict[str, Any]
    """The same with every secret inside its marker."""
    dependencies: frozenset[str]
    """URNs, both those declared and those that inputs come from."""
    protect: bool
    parent: str
    replace_first: bool
    """Whether it is deleted before it is made anew."""


@dataclass(kw_only=True)
class Plan:
    """What one run of the program registered."""

    resources: dict[str, Registered] = field(default_factory=dict)
    """By URN."""
    calls: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    reached: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)
    """What was found to be before a resource, by URN."""

    def of(self, kind: str) -> dict[str, Registered]:
        """The resources of a type such as ``sql/User``, by name."""
        return {each.name: each for each in self.resources.values() if short(each.type) == kind}

    def one(self, kind: str, name: str) -> Registered:
        return self.of(kind)[name]

    def custom(self) -> list[Registered]:
        """All but components."""
        return [each for each in self.resources.values() if not each.type.startswith(("gaia:", "pulumi:"))]

    def reaches(self, start: Registered) -> frozenset[str]:
        """The URNs of all that has to be there before this resource."""
        if start.urn not in self.reached:
            found: set[str] = set()
            waiting = list(start.dependencies)
            while waiting:
                urn = waiting.pop()
                if urn not in found and urn in self.resources:
                    found.add(urn)
                    waiting += self.resources[urn].dependencies
            self.reached[start.urn] = frozenset(found)
        return self.reached[start.urn]

    def waits_for(self, start: Registered, other: Registered) -> bool:
        return other.urn in self.reaches(start)


def short(type_: str) -> str:
    """``gcp:sql/user:User`` as ``sql/User``."""
    package, module, name = type_.split(":")
    return f"{module.split('/')[0]}/{name}" if package == "gcp" else type_


class _Monitor(mocks.MockMonitor):
    def __init__(self, plan: Plan) -> None:
        super().__init__(cast(mocks.Mocks, _Answers(plan)))
        self.plan = plan

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)
        raw = json_format.MessageToDict(request.object)
        self.plan.resources[answer.urn] = Registered(
            type=request.type,
            name=request.name,
            urn=answer.urn,
            inputs=opened(raw),
            raw=raw,
            dependencies=frozenset(request.dependencies),
            protect=request.protect,
            parent=request.parent,
            replace_first=request.deleteBeforeReplace,
        )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if "pulumi:pulumi:Stack" in request.urn:
            self.plan.outputs = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)

    def ReadResource(self, request: Any) -> Any:
        self.plan.calls.append(f"read {request.type}")
        return super().ReadResource(request)


class _Answers(mocks.Mocks):
    """What the cloud would answer."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def call(self, args: mocks.MockCallArgs) -> Any:
        self.plan.calls.append(args.token)
        return {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        inputs = {key: value for key, value in args.inputs.items() if key != "__provider"}
        state = {**inputs, **_ANSWERS.get(short(args.typ), lambda _: {})({"_": args.name, **inputs})}
        if args.typ.startswith(("pulumi-python:dynamic", "random:")):
            secret = _marked(f"{CANARY}-{args.name}")
            state = {**inputs, "value": secret, "result": secret, "hex": secret}
        return f"{args.name}-id", state


def _instance(inputs: Mapping[str, Any]) -> dict[str, Any]:
    name = inputs["name"]
    return {
        "connectionName": f"{PROJECT}:{inputs['region']}:{name}",
        "serviceAccountEmailAddress": "p1-abc@gcp-sa-cloud-sql.iam.gserviceaccount.com",
        "privateIpAddress": "10.9.0.3",
        "publicIpAddress": "203.0.113.9",
        "dnsName": f"abc.{name}.us-west1.sql.goog.",
        "pscServiceAttachmentLink": f"projects/x/regions/us-west1/serviceAttachments/{name}",
        "serverCaCerts": [
            {"cert": "PEM", "commonName": "ca", "createTime": "", "expirationTime": "", "sha1Fingerprint": ""}
        ],
    }


_ANSWERS: dict[str, Any] = {
    "sql/DatabaseInstance": _instance,
    "secretmanager/Secret": lambda i: {"name": f"projects/{PROJECT}/secrets/{i['secretId']}"},
    "secretmanager/SecretVersion": lambda i: {"version": "1", "name": f"{i['secret']}/versions/1"},
    "serviceaccount/Account": lambda i: {
        "email": f"{i['accountId']}@{PROJECT}.iam.gserviceaccount.com",
        "name": f"projects/{PROJECT}/serviceAccounts/{i['accountId']}@{PROJECT}.iam.gserviceaccount.com",
    },
    "projects/IAMCustomRole": lambda i: {"name": f"projects/{PROJECT}/roles/{i['roleId']}"},
    "projects/ServiceIdentity": lambda _: {
        "member": "serviceAccount:service-1@gcp-sa-cloud-sql.iam.gserviceaccount.com"
    },
    "monitoring/NotificationChannel": lambda i: {"name": f"projects/{PROJECT}/notificationChannels/{i['_']}"},
    "compute/Address": lambda i: {"address": "10.138.0.9", "selfLink": f"link/{i['name']}"},
    "sql/SslCert": lambda _: {"cert": "PEM", "privateKey": _marked(f"{CANARY}-client-key")},
}


def _marked(value: str) -> dict[str, str]:
    """A secret as it goes over the wire: an Output would belong to another event loop."""
    return {SIGNATURE: _SECRET, "value": value}


def opened(value: Any) -> Any:
    """A value without the markers of secrets."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == _SECRET:
            return opened(value["value"])
        return {key: opened(inner) for key, inner in value.items()}
    return [opened(inner) for inner in value] if isinstance(value, list) else value


def plain_texts(value: Any) -> Iterator[str]:
    """Every text that isn't inside a secret's marker."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) != _SECRET:
            for key, inner in value.items():
                yield key
                yield from plain_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from plain_texts(inner)
    elif isinstance(value, str):
        yield value


@functools.cache
def config_of(file: Path) -> dict[str, Any]:
    """A stack file's own keys, without their namespace."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {key.removeprefix("gaia-db:"): value for key, value in document["config"].items()}


def merged(base: Mapping[str, Any], *more: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with what the others say, section by section."""
    result = copy.deepcopy(dict(base))
    for given in more:
        for key, value in given.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


class _Threads:
    """The threads that the SDK calls the monitor on. Each needs a loop of its own, and somebody who closes it."""

    def __init__(self) -> None:
        self._loops: list[asyncio.AbstractEventLoop] = []
        self.executor = ThreadPoolExecutor(max_workers=4, initializer=self._begin)

    def _begin(self) -> None:
        self._loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(self._loops[-1])

    def close(self) -> None:
        self.executor.shutdown(wait=True)
        for loop in self._loops:
            loop.close()


def plan(stack_name: str, config: Mapping[str, Any]) -> Plan:
    """Run the program with this configuration. Raises ``pulumi.RunError`` where it refuses it."""
    made = Plan()
    before = CONFIG.get()
    # One loop for all that a run makes: what waits on another one would wait for ever.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    threads = _Threads()
    loop.set_default_executor(threads.executor)
    try:
        # The SDK's own decorator for tests does the same; its types don't know it.
        cast(Any, SETTINGS).rpc_manager.clear()
        cast(Any, SETTINGS).outputs.clear()
        answers = cast(mocks.Mocks, _Answers(made))
        mocks.set_mocks(answers, project="gaia-db", stack=stack_name, preview=True, monitor=_Monitor(made))
        set_root_resource(cast(Any, None))
        made.resources.clear()
        pulumi.runtime.set_all_config(
            {f"gaia-db:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
        )
        loop.run_until_complete(asyncio.wait_for(stack.run_in_stack(program.deploy), 60))
    finally:
        pulumi.runtime.set_all_config(dict(before))
        loop.close()
        threads.close()
        asyncio.set_event_loop(None)
    return made


_change: Callable[[Plan], Plan] | None = None
_changed: dict[str, Plan] = {}


def planned(config: Mapping[str, Any]) -> Plan:
    """Production's plan with this configuration: the program runs once for it, whoever asks. Nobody may change it."""
    key = json.dumps(config, sort_keys=True)
    if _change is None:
        return _once(key)
    if key not in _changed:
        _changed[key] = _change(_once(key))
    return _changed[key]


@functools.cache
def _once(key: str) -> Plan:
    return plan("prod", json.loads(key))


@contextmanager
def mutated(change: Callable[[Plan], Plan]) -> Iterator[None]:
    """As if the program were another one: ``planned`` gives what this makes of its plans."""
    global _change
    _change = change
    try:
        yield
    finally:
        _change = None
        _changed.clear()


SCALED = {
    "database": {
        "tuning": {"shared_buffers": "2GB", "effective_cache_size": "5GB", "max_connections": 200},
        "pool": {"size": 10, "overflow": 0, "max_instances": 8},
    },
    "gcp": {
        "instance": {
            "tier": "db-custom-2-7680",
            "disk_type": "SSD",
            "disk_gb": 50,
            "availability": "regional",
            "require_connector": False,
        },
        "network": {"mode": "psc", "egress": "direct"},
        "replicas": {"reports": {"tier": "db-custom-4-15360"}, "search": {}},
        "encryption": {"own_key": True},
        "maintenance_window": {"deny_from": "12-15", "deny_until": "01-10"},
    },
}
"""Custom machine, SSD, regional, two replicas, a key of one's own, direct egress, Private Service Connect."""
PUBLIC = {
    "gcp": {
        "instance": {"require_connector": False},
        "network": {"mode": "public", "authorized": {"office": "203.0.113.0/24"}, "client_certificates": True},
        "access": {
            "iam_users": {"ada": "ada@example.com"},
            "backend_iam_login": True,
            "drill_principal": "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/github/"
            "subject/repo:gaia/gaia-db:environment:drill",
        },
        "alerts": {"emails": {"oncall": "oncall@example.com"}, "runbooks_url": "https://example.com/docs/runbooks"},
    }
}
"""A public address for one office, client certificates, people without passwords, a nightly drill, and who is told."""


def variants() -> dict[str, dict[str, Any]]:
    """Production in each of its shapes."""
    return {
        "minimal": {"target": "gcp", "gcp": {"project": PROJECT}},
        "defaults": production(),
        "scaled": production(SCALED),
        "public": production(PUBLIC),
    }


def production(*changes: Mapping[str, Any]) -> dict[str, Any]:
    """The committed ``Pulumi.prod.yaml``, with the project and the image that it leaves to people."""
    own = {"gcp": {"project": PROJECT, "migration_job": {"image": IMAGE}}}
    return merged(config_of(ROOT / "Pulumi.prod.yaml"), own, *changes)
