"""Inputs as the fields of Google's REST API, and an answer of it as outputs: both by a type's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.provider.protocol import UNKNOWN
from rehearsal.provider.table import Properties, ResourceType, is_map, is_object, members

PROVISIONED = ("goog-pulumi-provisioned", "true")
"""The label that Pulumi puts on whatever has labels."""


def body_of(kind: ResourceType, inputs: Properties) -> dict[str, Any]:
    """What is sent when the resource is made."""
    body: dict[str, Any] = {}
    _fill(body, kind, kind.inputs, inputs, "")
    if kind.labelled:
        body["labels"] = labels_of(inputs)
    return body


def labels_of(inputs: Properties) -> dict[str, str]:
    return dict(sorted({**inputs.get("labels", {}), PROVISIONED[0]: PROVISIONED[1]}.items()))


def _fill(body: dict[str, Any], kind: ResourceType, shape: Mapping[str, Any], given: Properties, prefix: str) -> None:
    for name, inner in members(shape).items():
        path = f"{prefix}{name}"
        if name not in given or path in kind.local or given[name] == UNKNOWN:
            continue
        field, mark = field_of(kind, path, name)
        value = _sent(kind, inner, given[name], path, mark)
        if _empty(value) and not isinstance(value, dict) and path not in kind.sends_empty:
            continue
        _put(body, field, value)


def _sent(kind: ResourceType, shape: Any, value: Any, path: str, mark: str) -> Any:
    if isinstance(shape, list):
        items = [_sent(kind, shape[0], item, path, "") for item in value]
        if mark == "{}":
            return items[0] if items else None
        if mark:
            return {item.pop(mark[1:-1]): item for item in items}
        return items
    if is_object(shape):
        inner: dict[str, Any] = {}
        _fill(inner, kind, shape, value, f"{path}.")
        return [inner] if mark == "[]" else inner
    return str(value) if mark == "'" else value


def _empty(value: Any) -> bool:
    return value is None or (not value and isinstance(value, bool | int | float | str | list))


def field_of(kind: ResourceType, path: str, name: str) -> tuple[str, str]:
    """The field's name, and the mark that ``ResourceType.rename`` explains."""
    field = kind.rename.get(path, name)
    if field.endswith("'"):
        return field[:-1], "'"
    if field.endswith("[]"):
        return field[:-2], "[]"
    if field.endswith("}"):
        start = field.index("{")
        return field[:start], field[start:]
    return field, ""


def _put(body: dict[str, Any], field: str, value: Any) -> None:
    *outer, last = field.split(".")
    for name in outer:
        body = body.setdefault(name, {})
    if isinstance(value, dict) and isinstance(body.get(last), dict):
        body[last].update(value)
    else:
        body[last] = value


def _get(answer: Any, field: str) -> Any:
    for name in field.split("."):
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    return answer


def outputs_of(kind: ResourceType, answer: Mapping[str, Any]) -> Properties:
    """What an answer says about the resource, inputs and outputs, by Pulumi's names."""
    found = _found(kind, {**kind.inputs, **kind.outputs}, answer, "")
    if kind.labelled:
        found["effectiveLabels"] = dict(answer.get("labels") or {})
    return found


def _found(kind: ResourceType, shape: Mapping[str, Any], answer: Mapping[str, Any], prefix: str) -> Properties:
    found: Properties = {}
    for name, inner in members(shape).items():
        path = f"{prefix}{name}"
        if path in kind.local or path in kind.write_only or path in kind.unmodelled:
            continue
        field, mark = field_of(kind, path, name)
        value = _get(answer, field)
        if value is not None and (shown := _shown(kind, inner, value, path, mark)) is not None:
            found[name] = shown
    return found


def _shown(kind: ResourceType, shape: Any, value: Any, path: str, mark: str) -> Any:
    if isinstance(shape, list):
        if mark == "{}":
            value = [value]
        elif mark and isinstance(value, Mapping):
            value = [{mark[1:-1]: key, **item} for key, item in value.items()]
        return [_shown(kind, shape[0], item, path, "") for item in value] if isinstance(value, list) else None
    if is_object(shape):
        if mark == "[]":
            value = value[0] if value else None
        return _found(kind, shape, value, f"{path}.") if isinstance(value, Mapping) else None
    if is_map(shape):
        return dict(value) if isinstance(value, Mapping) else None
    return _scalar(shape, value)


def _scalar(shape: str, value: Any) -> Any:
    if isinstance(value, dict | list):
        return None
    if shape == "integer" and isinstance(value, str):
        return int(value) if value.lstrip("-").isdigit() else None
    if shape == "number" and isinstance(value, str):
        return float(value)
    if shape not in ("integer", "number", "boolean", "any"):
        return str(value)
    return value
