"""The edits of the recorded tables, as changes of a resource's inputs."""

from __future__ import annotations

import copy
import json
from typing import Any

from rehearsal.provider.table import Properties, is_object, members
from tests.unit.rehearsal import recorded

ABSENT: Any = object()
"""Takes a property away."""
WORDS = {"(absent)": ABSENT, "(default)": ABSENT, "(secret)": None, "sa": None, "...": None}
"""What the tables say instead of a value."""


def value_of(text: str, shape: Any) -> Any:
    if text in WORDS:
        return WORDS[text]
    if text[:1] in "[{" and shape != "string":
        return _camel(json.loads(text))
    if shape == "integer":
        return int(text)
    return text == "true" if shape == "boolean" else text


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {recorded.camel(key) if "/" not in key else key: _camel(one) for key, one in value.items()}
    return [_camel(one) for one in value] if isinstance(value, list) else value


def shape_at(shape: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(shape, list):
            shape = shape[0]
            if part.isdigit():
                continue
        shape = members(shape).get(part, "string") if is_object(shape) else "string"
    return shape


def edited(kind: Any, inputs: Properties, path: str, value: Any) -> Properties:
    """The inputs with one property set, or taken away."""
    result = copy.deepcopy(inputs)
    parts = [part if part.isdigit() else recorded.camel(part) for part in path.split(".")]
    at: Any = result
    for index, part in enumerate(parts[:-1]):
        if part.isdigit():
            at = at[int(part)]
        else:
            default: Any = [] if parts[index + 1].isdigit() else {}
            at = at.setdefault(part, default)
    last = int(parts[-1]) if parts[-1].isdigit() else parts[-1]
    if value is ABSENT:
        at.pop(last, None)
    else:
        at[last] = value
    return result
