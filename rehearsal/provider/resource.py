"""Makes, reads, changes and deletes one resource through Google's REST API, by its row of the table."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from rehearsal.provider import mapping
from rehearsal.provider.comparing import Change, settled
from rehearsal.provider.endpoints import url_of
from rehearsal.provider.rest import Rest, RestError, deadline
from rehearsal.provider.table import Properties, ResourceType, is_object, members

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.1
GONE = 404


class ProviderError(Exception):
    """What the provider itself refuses."""


@dataclass(eq=False)
class HalfMadeError(Exception):
    """The resource is there, but not as it should be: it belongs into the state."""

    resource_id: str
    state: Properties
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(kw_only=True, eq=False)
class Account:
    """One configuration of the provider: whose cloud, where, and the connections to it."""

    configuration: Mapping[str, Any]
    rest: Rest
    locks: dict[str, threading.Lock] = field(default_factory=dict[str, threading.Lock])
    shared: dict[str, Any] = field(default_factory=dict[str, Any])
    """What resources do together: waiting services and members, by type."""
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def project(self) -> str:
        return str(self.configuration.get("project") or "")

    def lock(self, name: str) -> threading.Lock:
        """One lock for each name: the API refuses two changes at once of what it names."""
        with self.guard:
            return self.locks.setdefault(name, threading.Lock())

    def share(self, name: str, make: Callable[[], Any]) -> Any:
        with self.guard:
            if name not in self.shared:
                self.shared[name] = make()
            return self.shared[name]

    def call(
        self, service: str, verb: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """``../`` at a path's start leaves the service's version out: another one's path follows."""
        base = url_of(self.configuration, service)
        while path.startswith("../"):
            base, path = base.rstrip("/").rpartition("/")[0] + "/", path[3:]
        return self.rest.call(verb, base + path, query, body)


class Resource:
    """One resource for one call of the engine. A type with ways of its own has a subclass."""

    def __init__(self, kind: ResourceType, account: Account, deadline_s: float = 0) -> None:
        self.kind, self.account = kind, account
        self.late = deadline(deadline_s or kind.timeout_s)

    # --- what the engine asks for ---

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """The id and the state."""
        answer = self.insert(inputs)
        state = self.state(answer, inputs)
        return self.id_of(state), state

    def read(self, resource_id: str, state: Properties) -> Properties | None:
        """What there is now; nothing where it is gone."""
        known = {**self.from_id(resource_id), **state}
        try:
            answer = self.get(known)
        except RestError as error:
            if error.status == GONE:
                return None
            raise
        return None if answer is None else self.state(answer, known)

    def update(self, state: Properties, news: Properties, changed: list[Change]) -> Properties:
        answer = self.patch(state, news, changed)
        return self.state(answer, {**self.remembered(state), **news})

    def delete(self, state: Properties) -> None:
        policy = state.get("deletionPolicy")
        if policy == "ABANDON":
            return
        if policy == "PREVENT":
            raise ProviderError('the resource\'s deletionPolicy is "PREVENT": change it first')
        if self.kind.protected and state.get("deletionProtection", self.kind.protected_by_default):
            raise ProviderError(self.kind.protected)
        try:
            self.remove(state)
        except RestError as error:
            if error.status != GONE:
                raise

    # --- the calls, which types change ---

    def insert(self, inputs: Properties) -> Mapping[str, Any]:
        """Make it; the answer is the resource as it then is."""
        query = {name: self.fill(value, inputs) for name, value in self.kind.create_query.items()}
        answer = self.call("POST", self.fill(self.kind.collection, inputs), query, self.body(inputs))
        if self.kind.operation:
            self.wait(answer, inputs)
        return self.get({**inputs, **self.named(answer)}) or {}

    def get(self, known: Properties) -> Mapping[str, Any] | None:
        return self.call("GET", self.fill(self.kind.item, known))

    def patch(self, state: Properties, news: Properties, changed: list[Change]) -> Mapping[str, Any]:
        body = self.changed_body(state, news)
        mask = ",".join(sorted({self.top_field(each.path) for each in changed} - {""}))
        # A change of what only the provider knows needs no call.
        if mask:
            query = {"updateMask": mask} if self.kind.mask == "query" else {}
            answer = self.call(self.kind.update, self.fill(self.kind.item, {**state, **news}), query, body)
            # Some APIs answer an update with the resource at once.
            if self.kind.operation and _is_operation(answer):
                self.wait(answer, {**state, **news})
        return self.get({**self.remembered(state), **news}) or {}

    def remove(self, state: Properties) -> None:
        answer = self.call("DELETE", self.fill(self.kind.item, state))
        if self.kind.operation:
            self.wait(answer, state)

    def body(self, inputs: Properties) -> dict[str, Any]:
        return mapping.body_of(self.kind, self.with_defaults(inputs))

    def changed_body(self, state: Properties, news: Properties) -> dict[str, Any]:
        body = self.body(with_kept(self.kind, state, news))
        for path in self.kind.fixed:
            body.pop(path, None)
        return body

    def state_more(self, state: Properties, answer: Mapping[str, Any]) -> Properties:
        """Outputs that no field of the API gives as they are."""
        return {}

    # --- what they are made of ---

    def call(self, verb: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> dict[str, Any]:
        return self.account.call(self.kind.service, verb, path, query, body)

    def with_defaults(self, inputs: Properties) -> Properties:
        return merged(self.kind.defaults, inputs)

    def remembered(self, state: Properties) -> Properties:
        """What the state alone knows: where the resource is, not what a program gave."""
        return {name: value for name, value in state.items() if name not in self.kind.inputs or self.kind.keeps(name)}

    def state(self, answer: Mapping[str, Any], known: Properties) -> Properties:
        """The whole state from an answer; ``known`` has what the API doesn't show."""
        live = mapping.outputs_of(self.kind, answer)
        hidden = self.kind.local | self.kind.write_only
        for name, value in known.items():
            if name in hidden or (name not in live and name in self.kind.outputs):
                live.setdefault(name, value)
        live = _with_hidden(known, live, self.kind.write_only)
        state: Properties = settled(self.kind, known, live)
        if "project" in self.kind.inputs and (project := known.get("project") or self.account.project):
            state["project"] = project
        if self.kind.labelled:
            everything = state.get("effectiveLabels", {})
            state["pulumiLabels"] = dict(everything)
            mine = {key: everything[key] for key in known.get("labels", everything) if key in everything}
            mine.pop(mapping.PROVISIONED[0], None)
            state.pop("labels", None)
            if mine or "labels" in known:
                state["labels"] = mine
        state.update(self.state_more(state, answer))
        return state

    def named(self, answer: Mapping[str, Any]) -> Properties:
        """The resource's name where the API chooses it."""
        return {"name": answer["name"]} if "name" in self.kind.outputs and "name" in answer else {}

    def id_of(self, state: Properties) -> str:
        return self.fill(self.kind.id, state, quoted=False)

    def from_id(self, resource_id: str) -> Properties:
        """The inputs that an id names."""
        names = re.findall(r"\{(\w+)\}", self.kind.id)
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(self.kind.id))
        found = re.fullmatch(pattern, resource_id)
        return {name: found[name] for name in names} if found else {}

    def fill(self, template: str, known: Properties, *, quoted: bool = True) -> str:
        """A template with the inputs' values in it; ``{name%}`` escapes a name's slashes too."""

        def value(found: re.Match[str]) -> str:
            text = self.place(found[1], known)
            return quote(text, safe="" if found[2] else "/:@.~-_") if quoted else text

        return re.sub(r"\{(\w+)(%?)\}", value, template)

    def place(self, name: str, known: Properties) -> str:
        found = known.get(name)
        if not found and name in ("project", "region", "location"):
            found = self.account.configuration.get("region" if name == "location" else name)
        if not found:
            raise ProviderError(f"{name}: required field is not set")
        return str(found)

    def top_field(self, path: str) -> str:
        """The API's top-level field of a changed property; nothing for what isn't sent."""
        name = re.split(r"[.\[]", path)[0]
        if name in self.kind.local or name not in self.kind.inputs:
            return ""
        return re.split(r"[.{\[']", self.kind.rename.get(name, name))[0]

    def wait(self, operation: Mapping[str, Any], known: Properties) -> Mapping[str, Any]:
        return WAITS[self.kind.operation](self, operation, known)

    def poll(self, fetch: Callable[[], Mapping[str, Any]], done: Callable[[Mapping[str, Any]], bool]) -> Any:
        pause = FIRST_POLL_S
        while not done(answer := fetch()):
            if self.late():
                raise ProviderError("timeout while waiting for the operation")
            self.account.rest.wait(pause)
            pause = min(pause * 1.3, LONGEST_POLL_S)
        return answer


def _with_hidden(known: Any, live: Any, write_only: frozenset[str], prefix: str = "") -> Any:
    """``live`` with the values that the API never shows, as they were given."""
    for path in write_only:
        *outer, last = path.split(".")
        there, here = known, live
        for name in outer:
            there, here = (one.get(name) if isinstance(one, dict) else None for one in (there, here))
        if isinstance(there, dict) and isinstance(here, dict) and last in there:
            here.setdefault(last, there[last])
    return live


def with_kept(kind: ResourceType, state: Properties, news: Properties) -> Properties:
    """The inputs with what the cloud keeps where nobody gives it: an update says all of it again."""

    def add(shape: Mapping[str, Any], before: Any, given: Any, prefix: str) -> Any:
        result = dict(given)
        for name, inner in members(shape).items():
            path = f"{prefix}{name}"
            old, new = before.get(name), given.get(name)
            if new is None:
                if old is not None and kind.keeps(path):
                    result[name] = old
            elif is_object(inner) and isinstance(old, dict):
                result[name] = add(inner, old, new, f"{path}.")
            elif isinstance(inner, list) and is_object(inner[0]) and isinstance(old, list) and len(old) == len(new):
                result[name] = [add(inner[0], one, other, f"{path}.") for one, other in zip(old, new, strict=True)]
        return result

    return add(kind.inputs, state, news, "")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``, object by object."""
    result = {**base, **over}
    for key, value in base.items():
        if isinstance(value, Mapping) and isinstance(over.get(key), Mapping):
            result[key] = merged(value, over[key])
    return result


# --- long-running operations ---


def _is_operation(answer: Mapping[str, Any]) -> bool:
    return str(answer.get("kind", "")).endswith("#operation") or "operations/" in str(answer.get("name", ""))


def _google(resource: Resource, operation: Mapping[str, Any], known: Properties) -> Mapping[str, Any]:
    """google.longrunning.Operation: ``done``, then ``error`` or ``response``."""
    answer = operation
    if not operation.get("done"):
        answer = resource.poll(lambda: resource.call("GET", operation["name"]), lambda found: bool(found.get("done")))
    if error := answer.get("error"):
        raise ProviderError(f"Error code {error.get('code')}, message: {error.get('message')}")
    return answer.get("response") or {}


def _compute(resource: Resource, operation: Mapping[str, Any], known: Properties) -> Mapping[str, Any]:
    """compute#operation: PENDING, RUNNING, DONE, and ``error.errors``."""
    project = resource.place("project", known)
    where = f"regions/{operation['region'].rsplit('/', 1)[-1]}" if operation.get("region") else "global"
    path = f"projects/{project}/{where}/operations/{operation['name']}"
    answer = resource.poll(lambda: resource.call("GET", path), lambda found: found.get("status") == "DONE")
    if errors := (answer.get("error") or {}).get("errors"):
        raise ProviderError("Error waiting: " + "\n".join(str(each.get("message")) for each in errors))
    return answer


def _sql(resource: Resource, operation: Mapping[str, Any], known: Properties) -> Mapping[str, Any]:
    """sql#operation: polled from the first moment."""
    path = f"projects/{resource.place('project', known)}/operations/{operation['name']}"
    answer = resource.poll(lambda: resource.call("GET", path), lambda found: found.get("status") == "DONE")
    if errors := (answer.get("error") or {}).get("errors"):
        raise ProviderError("\n".join(str(each.get("message")) for each in errors))
    return answer


WAITS: dict[str, Callable[[Resource, Mapping[str, Any], Properties], Mapping[str, Any]]] = {
    "google": _google,
    "compute": _compute,
    "sql": _sql,
}
