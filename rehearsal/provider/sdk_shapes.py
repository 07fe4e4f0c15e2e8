"""Writes ``shapes/``: what the installed SDK knows about the inputs and outputs of each type.

``python -m rehearsal.provider.sdk_shapes`` writes them anew; a test compares them with the SDK. They are files because
importing the SDK takes longer than a whole preview.

A shape is a text (``string``, ``integer``, ``number``, ``boolean``, or ``A|B`` for one of a few words, ``A|`` for the
only one), a list with the shape of its items, ``{"*": shape}`` for a map, or an object of named shapes; a name
with ``!`` is required.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi import _types

FOLDER = Path(__file__).parent / "shapes"
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
WORDS = re.compile(r"Possible values are: ((?:`[^`]*`(?:, | and )?)+)\.")


def shape_of(type_: Any, documented: str = "") -> Any:
    """The shape of an SDK's type; its documentation names the words that Google's generator lets through."""
    if type_ in SCALARS:
        words = WORDS.search(" ".join(documented.split())) if type_ is str else None
        # A single word keeps a bar, to be no type.
        found = re.findall("`([^`]*)`", words[1]) if words else []
        return ("|".join(found) if len(found) != 1 else f"{found[0]}|") or SCALARS[type_]
    if _types.is_input_type(type_):
        return _inputs(type_)
    if _types.is_output_type(type_):
        return {name: shape_of(_bare(one)) for name, one in _types.output_type_types(type_).items()}
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is not None and issubclass(origin, Mapping):
        return {"*": shape_of(_bare(arguments[1]))}
    if origin is not None and issubclass(origin, Sequence):
        return [shape_of(_bare(arguments[0]), documented)]
    return "any"


def _bare(type_: Any) -> Any:
    return _types.unwrap_type(type_)


def _inputs(class_: Any) -> dict[str, Any]:
    names = _types.input_type_py_to_pulumi_names(class_)
    types = _types.input_type_types(class_)
    parameters = inspect.signature(class_.__init__).parameters
    shapes = {}
    for python, name in names.items():
        required = parameters[python].default is inspect.Parameter.empty
        documented = getattr(class_, python).__doc__ or ""
        shapes[name + ("!" if required else "")] = shape_of(_bare(types[name]), documented)
    return shapes


def of_resource(token: str) -> dict[str, Any]:
    """What the SDK knows of one type.

    ``in``: what a program may give; ``out``: what is only known once the resource is there; ``kept``: the inputs that
    stay as the cloud has them where nobody gives them; ``secret``: the outputs that the SDK hides.
    """
    package, module, name = token.split(":")
    folder = importlib.import_module(
        f"pulumi_{package}.{module.split('/')[0]}" if package == "gcp" else "pulumi_random"
    )
    class_ = getattr(folder, name)
    given = _inputs(getattr(importlib.import_module(class_.__module__), f"{name}Args"))
    known = {each.removesuffix("!") for each in given}
    outputs = {each: shape_of(_bare(one)) for each, one in _types.resource_types(class_).items() if each not in known}
    hints = _types._raw_return_hints(class_)  # pyright: ignore[reportAttributeAccessIssue] - nothing public says it
    kept = [each for each in given if not each.endswith("!") and not _may_be_absent(hints.get(each))]
    found = re.search(r"additional_secret_outputs=(\[[^]]*\])", inspect.getsource(class_))
    return {
        "in": given,
        "out": {each: one for each, one in outputs.items() if each not in ("id", "urn")},
        "kept": sorted(kept),
        "secret": sorted(json.loads(found[1])) if found else [],
    }


def _may_be_absent(hint: Any) -> bool:
    """Whether an output is optional: what isn't, though nobody has to give it, the cloud or a default fills in."""
    return hint is None or type(None) in typing.get_args(typing.get_args(hint)[0])


def files(tokens: Sequence[str]) -> dict[str, str]:
    """The text of each file of ``shapes/``, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for token in sorted(tokens):
        found.setdefault(token.split(":")[1].split("/")[0], {})[token] = of_resource(token)
    return {f"{name}.json": json.dumps(shapes, indent=1, sort_keys=True) + "\n" for name, shapes in found.items()}


if __name__ == "__main__":
    from rehearsal.provider.types import TYPES

    for name, text in files(list(TYPES)).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
