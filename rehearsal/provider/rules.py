"""What the official provider refuses before any call, in its words. Each returns a check for ``ResourceType.checks``.

A value that isn't known yet passes: the provider looks at it again once it is.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

from rehearsal.provider.protocol import UNKNOWN
from rehearsal.provider.table import Check, Properties

MEMBER = re.compile(
    r"(user|group|serviceAccount|domain|projectOwner|projectEditor|projectViewer|deleted|principal|principalSet|"
    r"principalHierarchy|iamMember):.+|allUsers|allAuthenticatedUsers"
)


def at(inputs: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The values at a path, lists walked through; with each the path as the engine shows it."""
    name, _, rest = path.partition(".")
    if not isinstance(inputs, dict) or name not in inputs:
        return
    value = inputs[name]
    for shown, inner in (
        [(f"{name}[{i}]", one) for i, one in enumerate(value)]
        if (isinstance(value, list) and rest)
        else [(name, value)]
    ):
        if rest:
            yield from ((f"{shown}.{more}", found) for more, found in at(inner, rest))
        elif inner != UNKNOWN:
            yield shown, inner


def given(inputs: Properties, path: str) -> bool:
    """Whether anything is there, even if nobody knows what yet."""
    found: Any = inputs
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found is not None


def terraform(path: str) -> str:
    """A path in the provider's own names: ``settings.ipConfiguration.sslMode`` as ``settings.0.ip_configuration…``."""
    plain = re.sub(r"\[(\d+)\]", r".\1", path).split(".")
    parts: list[str] = []
    for index, part in enumerate(plain):
        parts.append(part if part.isdigit() else snake(part))
        inner = index + 1 < len(plain) and not plain[index + 1].isdigit()
        if inner and not part.isdigit():
            parts.append("0")
    return ".".join(parts)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def within(path: str, least: int, most: int) -> Check:
    def check(inputs: Properties) -> tuple[str, str] | None:
        for shown, value in at(inputs, path):
            if isinstance(value, int | float) and not least <= value <= most:
                return shown, f"expected {terraform(shown)} to be in the range ({least} - {most}), got {value}"
        return None

    return check


def length(path: str, most: int) -> Check:
    def check(inputs: Properties) -> tuple[str, str] | None:
        for shown, value in at(inputs, path):
            if isinstance(value, str) and len(value) > most:
                return shown, f"expected length of {terraform(shown)} to be in the range (0 - {most}), got {value}"
        return None

    return check


def matches(path: str, pattern: str) -> Check:
    def check(inputs: Properties) -> tuple[str, str] | None:
        for shown, value in at(inputs, path):
            if isinstance(value, str) and not re.search(pattern, value):
                quoted = json.dumps(pattern, ensure_ascii=False)
                return shown, f'"{terraform(shown)}" ("{value}") doesn\'t match regexp {quoted}'
        return None

    return check


def conflict(path: str, *others: str) -> Check:
    """``path`` and any of the others exclude each other."""

    def check(inputs: Properties) -> tuple[str, str] | None:
        for other in others:
            if given(inputs, path) and given(inputs, other):
                name, against = snake(path.split(".")[-1]), terraform(other)
                return path, f'Conflicting configuration arguments. "{name}": conflicts with {against}'
        return None

    return check


def exactly_one(*paths: str, shown: str = "", listed: str = "") -> Check:
    """One of them, and only one."""
    names = listed or ",".join(terraform(path) for path in paths)

    def check(inputs: Properties) -> tuple[str, str] | None:
        found = [path for path in paths if given(inputs, path)]
        pointer = shown or paths[0]
        head = f'Invalid combination of arguments. "{terraform(pointer)}": '
        if not found:
            return pointer, f"{head}one of `{names}` must be specified"
        return _several(found, head, names, pointer)

    return check


def at_most_one(*paths: str, shown: str = "", listed: str = "") -> Check:
    names = listed or ",".join(terraform(path) for path in paths)

    def check(inputs: Properties) -> tuple[str, str] | None:
        found = [path for path in paths if given(inputs, path)]
        pointer = shown or (found or paths)[0]
        return _several(found, f'Invalid combination of arguments. "{terraform(pointer)}": ', names, pointer)

    return check


def _several(found: list[str], head: str, names: str, pointer: str) -> tuple[str, str] | None:
    if len(found) < 2:
        return None
    both = ",".join(sorted(terraform(path) for path in found))
    return pointer, f"{head}only one of `{names}` can be specified, but `{both}` were specified."


def together(path: str, *others: str) -> Check:
    """``path`` needs the others."""
    names = ",".join(terraform(each) for each in (path, *others))

    def check(inputs: Properties) -> tuple[str, str] | None:
        if given(inputs, path) and not all(given(inputs, each) for each in others):
            return path, f'Missing required argument. "{terraform(path)}": all of `{names}` must be specified'
        return None

    return check


def member(inputs: Properties) -> tuple[str, str] | None:
    """An IAM member has a kind: ``user:``, ``serviceAccount:`` …"""
    value = inputs.get("member")
    if not isinstance(value, str) or value == UNKNOWN or MEMBER.fullmatch(value):
        return None
    where = "https://cloud.google.com/billing/docs/reference/rest/v1/Policy#Binding"
    return "member", (
        f'invalid value "{value}" for member (IAM members must have one of the values outlined here: {where})'
    )


def base64_text(path: str) -> Check:
    def check(inputs: Properties) -> tuple[str, str] | None:
        for shown, value in at(inputs, path):
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError, TypeError):
                return shown, (
                    f'could not decode "{terraform(shown)}" as a valid base64 value. Please use the terraform base64 '
                    "functions such as base64encode() or filebase64() to supply a valid base64 string"
                )
        return None

    return check


def json_text(path: str) -> Check:
    def check(inputs: Properties) -> tuple[str, str] | None:
        for shown, value in at(inputs, path):
            try:
                json.loads(value)
            except (ValueError, TypeError) as error:
                return shown, f'"{snake(shown)}" contains an invalid JSON: {error}'
        return None

    return check
