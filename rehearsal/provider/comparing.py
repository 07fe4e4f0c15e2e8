"""Which inputs differ from the state, and whether that makes the resource anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.provider.protocol import has_unknown
from rehearsal.provider.table import Properties, ResourceType, is_object, members

_ABSENT: Any = object()


@dataclass(frozen=True)
class Change:
    """One property that differs."""

    path: str
    """As the engine shows it: ``settings.databaseFlags``, ``conditions[0].displayName``."""
    kind: str
    """``add``, ``update`` or ``delete``."""
    replaces: bool


def changes(kind: ResourceType, state: Properties, old_inputs: Properties, news: Properties) -> list[Change]:
    """``old_inputs`` says which properties a program gave before: what it no longer gives is taken away."""
    found = list(_object(kind, kind.inputs, state, old_inputs, news, "", ""))
    whole = {**{name: state[name] for name in kind.inputs if name in state}, **news}
    found = [each for each in found if not ((rule := kind.suppressed.get(each.path)) and rule(state, whole))]
    reasons = [one for rule in kind.forced if (one := rule(state, whole))]
    if reasons and not any(each.replaces for each in found):
        found.append(Change("__meta", "update", True))
    return found


def _object(
    kind: ResourceType,
    shape: Mapping[str, Any],
    state: Properties,
    old: Properties,
    news: Properties,
    prefix: str,
    shown: str,
) -> Iterator[Change]:
    for name, inner in members(shape).items():
        path, at = f"{prefix}{name}", f"{shown}{name}"
        given, before, gave = news.get(name, _ABSENT), state.get(name, _ABSENT), old.get(name, _ABSENT)
        if given is _ABSENT:
            # What nobody gives now is taken away where somebody gave it before, unless the cloud keeps its own.
            if gave is not _ABSENT and _said(before) and not kind.keeps(path):
                yield Change(at, "delete", kind.replacing(path))
        elif before is _ABSENT:
            if _said(given) and not (path in kind.write_only and gave is not _ABSENT and gave == given):
                yield Change(at, "add", kind.replacing(path))
        else:
            yield from _value(kind, inner, before, gave, given, path, at)


def _said(value: Any) -> bool:
    """Whether a value says more than none: 0, false and an empty list are what the cloud leaves out."""
    return value is not _ABSENT and (bool(value) or has_unknown(value))


def _value(kind: ResourceType, shape: Any, before: Any, gave: Any, given: Any, path: str, at: str) -> Iterator[Change]:
    if is_object(shape) and isinstance(before, dict) and isinstance(given, dict):
        inner = gave if isinstance(gave, dict) else {}
        yield from _object(kind, shape, before, inner, given, f"{path}.", f"{at}.")
    elif isinstance(shape, list) and _by_item(kind, shape, before, given, path):
        gave = gave if isinstance(gave, list) and len(gave) == len(given) else [_ABSENT] * len(given)
        for index, (old, gave_one, new) in enumerate(zip(before, gave, given, strict=True)):
            yield from _value(kind, shape[0], old, gave_one, new, path, f"{at}[{index}]")
    elif isinstance(shape, dict) and isinstance(before, dict) and isinstance(given, dict):
        for key in sorted({*before, *given}):
            if before.get(key) != given.get(key):
                change = "delete" if key not in given else "update" if key in before else "add"
                yield Change(f"{at}.{key}", change, kind.replacing(path))
    elif not same(kind, path, before, given):
        yield Change(at, "update", kind.replacing(path))


def _by_item(kind: ResourceType, shape: list[Any], before: Any, given: Any, path: str) -> bool:
    return (
        is_object(shape[0])
        and path not in kind.unordered
        and isinstance(before, list)
        and isinstance(given, list)
        and len(before) == len(given)
    )


def same(kind: ResourceType, path: str, before: Any, given: Any) -> bool:
    """Whether two values mean the same to the API, however they are written."""
    if has_unknown(given):
        return False
    if path in kind.unordered and isinstance(before, list) and isinstance(given, list):
        return sorted(map(_key, before)) == sorted(map(_key, given))
    if isinstance(before, list) and isinstance(given, list):
        pairs = zip(before, given, strict=False)
        return len(before) == len(given) and all(same(kind, path, one, other) for one, other in pairs)
    if isinstance(before, str) and isinstance(given, str):
        if path in kind.ignore_case:
            return before.lower() == given.lower()
        return before == given or _resource(before) == _resource(given)
    return before == given or (not before and not given)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _resource(text: str) -> str:
    """A resource's full link without the API's address."""
    if text.startswith("https://") and "/projects/" in text and "googleapis.com/" in text:
        return text[text.index("/projects/") + 1 :]
    return text


def settled(kind: ResourceType, prior: Any, live: Any, path: str = "") -> Any:
    """``live``, written as in ``prior`` wherever both mean the same: the state then shows what the program says."""
    if isinstance(prior, dict) and isinstance(live, dict):
        inner = f"{path}." if path else ""
        return {key: settled(kind, prior.get(key), value, f"{inner}{key}") for key, value in live.items()}
    if isinstance(prior, list) and isinstance(live, list) and len(prior) == len(live):
        if path in kind.unordered and same(kind, path, live, prior):
            return prior
        if path not in kind.unordered:
            return [settled(kind, old, new, path) for old, new in zip(prior, live, strict=True)]
    return prior if prior is not None and same(kind, path, live, prior) else live


def projected(inputs: Any, state: Any) -> Any:
    """The inputs with the values of the state: what a refresh found, in the shape that the program gave."""
    if isinstance(inputs, dict) and isinstance(state, dict):
        return {key: projected(value, state[key]) for key, value in inputs.items() if key in state}
    if isinstance(inputs, list) and isinstance(state, list) and len(inputs) == len(state):
        return [projected(old, new) for old, new in zip(inputs, state, strict=True)]
    return state
