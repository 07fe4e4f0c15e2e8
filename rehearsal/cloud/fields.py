"""Field masks: which fields an update changes, and which ones an answer has."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from rehearsal.cloud.errors import GoogleError, invalid


def paths(mask: str) -> list[str]:
    """``a.b,c_d`` as paths in the names of JSON, each once."""
    given = (re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), path.strip()) for path in mask.split(","))
    return list(dict.fromkeys(path for path in given if path))


def updated(current: Mapping[str, Any], body: Mapping[str, Any], mask: Iterable[str]) -> dict[str, Any]:
    """The resource with the fields of the mask as the body has them; one that the body lacks is cleared."""
    made = dict(current)
    for path in mask:
        head, _, rest = path.partition(".")
        if rest:
            made[head] = updated(made.get(head) or {}, body.get(head) or {}, [rest])
        elif head in body:
            made[head] = body[head]
        else:
            made.pop(head, None)
    return made


def merged(current: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch: what is sent replaces, null deletes. https://www.rfc-editor.org/rfc/rfc7396"""
    made = dict(current)
    for name, value in sent.items():
        if value is None:
            made.pop(name, None)
        elif isinstance(value, dict) and isinstance(made.get(name), dict):
            made[name] = merged(made[name], value)
        else:
            made[name] = value
    return made


def known_mask(mask: str, allowed: Iterable[str]) -> list[str]:
    """The paths of a mask. Raises GoogleError 400 for a field that can't be changed, or for an empty mask."""
    wanted, can = paths(mask), set(allowed)
    if not wanted:
        raise invalid("The update_mask is required.", field="update_mask")
    for path in wanted:
        if path.partition(".")[0] not in can:
            raise invalid(f"The field mask contains an invalid or immutable field: {path}.", field="update_mask")
    return wanted


def selected(document: Any, fields: str) -> Any:
    """The part of an answer that ``fields`` asks for: ``a,b/c,d(e,f)``, ``*``.

    https://developers.google.com/discovery/v1/performance#partial-response
    """
    tree, rest = _tree(fields)
    if rest:
        raise invalid(f"Invalid field selection {fields}", field="fields")
    return _cut(document, tree)


Tree = dict[str, Any]


def _tree(text: str) -> tuple[Tree, str]:
    tree: Tree = {}
    while text:
        match = re.match(r"[\w.*@$-]+", text)
        if match is None:
            raise invalid(f"Invalid field selection {text}", field="fields")
        text, inner = text[match.end() :], {}
        if text.startswith("("):
            inner, text = _tree(text[1:])
            if not text.startswith(")"):
                raise invalid("Invalid field selection: a bracket is missing", field="fields")
            text = text[1:]
        elif text.startswith("/"):
            inner, text = _one(text[1:])
        tree[match[0]] = {**tree.get(match[0], {}), **inner}
        if not text.startswith(","):
            break
        text = text[1:]
    return tree, text


def _one(text: str) -> tuple[Tree, str]:
    match = re.match(r"[\w.*@$-]+", text)
    if match is None:
        raise invalid(f"Invalid field selection {text}", field="fields")
    rest, inner = text[match.end() :], {}
    if rest.startswith("/"):
        inner, rest = _one(rest[1:])
    elif rest.startswith("("):
        inner, rest = _tree(rest[1:])
        rest = rest.removeprefix(")")
    return {match[0]: inner}, rest


def _cut(document: Any, tree: Tree) -> Any:
    if not tree or ("*" in tree and not tree["*"]):
        return document
    if isinstance(document, list):
        return [_cut(each, tree) for each in document]
    if not isinstance(document, dict):
        return document
    every = tree.get("*")
    return {
        name: _cut(value, every if every is not None else tree[name])
        for name, value in document.items()
        if every is not None or name in tree
    }


def page(
    items: list[dict[str, Any]], query: Mapping[str, Any], key: str, *, size: int = 100, most: int = 1000
) -> dict[str, Any]:
    """One page of a list, with the token of the next one; a filter is refused. https://google.aip.dev/158"""
    if query.get("filter"):
        raise GoogleError(501, f"not modelled: the filter {query['filter']} of a list")
    asked = query.get("pageSize", query.get("maxResults", 0)) or size
    if asked < 0:
        raise invalid("page_size must not be negative.", field="page_size")
    start, count = _offset(query.get("pageToken", "")), min(asked, most)
    answer: dict[str, Any] = {key: items[start : start + count]} if items[start : start + count] else {}
    if start + count < len(items):
        answer["nextPageToken"] = base64.b64encode(str(start + count).encode()).decode()
    return answer


def _offset(token: str) -> int:
    try:
        return int(base64.b64decode(token, validate=True) or 0)
    except ValueError:
        raise invalid("The page token is invalid.", field="page_token") from None
