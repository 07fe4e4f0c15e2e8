"""Inputs looked at as the official provider looks at them, in its words: names, types, what is required, words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.provider import rules
from rehearsal.provider.protocol import UNKNOWN
from rehearsal.provider.table import Properties, ResourceType, is_map, is_object, members


@dataclass(frozen=True)
class Failure:
    """One thing that is wrong with the inputs."""

    path: str
    """Where, as the engine shows it; empty where the provider names no place."""
    message: str

    def reason(self, name: str) -> str:
        return f"{self.message}. Examine values at '{name}.{self.path}'." if self.path else self.message


def check(kind: ResourceType, news: Properties) -> tuple[Properties, list[Failure]]:
    """The inputs with numbers that came as text turned into numbers, and what is wrong."""
    failures: list[Failure] = []
    inputs = _object(kind, kind.shape["in"], news, "", "", failures)
    if not failures:
        failures += _unmodelled(kind, inputs)
        for rule in kind.checks:
            found = rule(inputs)
            if found is not None:
                failures.append(Failure("", found) if isinstance(found, str) else Failure(*found))
    return inputs, failures


def _object(
    kind: ResourceType, shape: Mapping[str, Any], given: Properties, prefix: str, shown: str, failures: list[Failure]
) -> Properties:
    known, result = members(shape), {}
    for name, value in given.items():
        if name.startswith("__"):
            continue
        if name not in known:
            failures.append(Failure(f"{shown}{name}", "Invalid or unknown key"))
        else:
            required = f"{name}!" in shape
            result[name] = _value(kind, known[name], value, f"{prefix}{name}", f"{shown}{name}", failures, required)
    for name in shape:
        if name.endswith("!") and name[:-1] not in given:
            where = f"{shown}{name[:-1]}"
            message = f'The argument "{rules.terraform(where)}" is required, but no definition was found.'
            failures.append(Failure(where, f"Missing required argument. {message}"))
    return result


def _value(
    kind: ResourceType, shape: Any, value: Any, path: str, shown: str, failures: list[Failure], required: bool = False
) -> Any:
    if value == UNKNOWN or shape == "any":
        return value
    if isinstance(shape, list):
        if not isinstance(value, list):
            failures.append(Failure(shown, f"expected a list for {rules.terraform(shown)}, got {_named(value)}"))
            return value
        items = enumerate(value)
        return [_value(kind, shape[0], item, path, f"{shown}[{index}]", failures) for index, item in items]
    if is_object(shape) or is_map(shape):
        if not isinstance(value, dict):
            failures.append(Failure(shown, f"expected an object for {rules.terraform(shown)}, got {_named(value)}"))
            return value
        if is_map(shape):
            return {
                key: _value(kind, shape["*"], item, path, f"{shown}.{key}", failures) for key, item in value.items()
            }
        return _object(kind, shape, value, f"{path}.", f"{shown}.", failures)
    return _scalar(kind, shape, value, path, shown, failures, required)


def _scalar(
    kind: ResourceType, shape: str, value: Any, path: str, shown: str, failures: list[Failure], required: bool
) -> Any:
    name = rules.snake(path.split(".")[-1])
    if isinstance(value, dict | list):
        failures.append(Failure(shown, f"expected a {shape} for {rules.terraform(shown)}, got {_named(value)}"))
    elif shape in ("integer", "number"):
        return _number(shape, value, name, shown, failures)
    elif shape == "boolean":
        if value in ("true", "false"):
            return value == "true"
        if not isinstance(value, bool):
            failures.append(Failure("", f'{name}: strconv.ParseBool: parsing "{value}": invalid syntax'))
    else:
        value = _text(value)
        words = _words(kind, shape, path, required)
        if words and value not in words:
            listed = " ".join(f'"{word}"' for word in words)
            failures.append(Failure(shown, f"expected {rules.terraform(shown)} to be one of [{listed}], got {value}"))
    return value


def _words(kind: ResourceType, shape: str, path: str, required: bool) -> tuple[str, ...]:
    if path in kind.words:
        return kind.words[path]
    if "|" not in shape or path in kind.free:
        return ()
    return (*filter(None, shape.split("|")), *(() if required else ("",)))


def _number(shape: str, value: Any, name: str, shown: str, failures: list[Failure]) -> Any:
    if isinstance(value, bool) or not isinstance(value, str):
        if isinstance(value, bool) or (shape == "integer" and not float(value).is_integer()):
            failures.append(Failure("", f"{name}: expected type 'int', got {_named(value)}"))
        return value
    try:
        return int(value) if shape == "integer" else float(value)
    except ValueError:
        call = "ParseInt" if shape == "integer" else "ParseFloat"
        failures.append(Failure("", f'{name}: strconv.{call}: parsing "{value}": invalid syntax'))
        return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _named(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "a boolean", str: "a text"}.get(type(value), "a number")


def _unmodelled(kind: ResourceType, inputs: Properties) -> Iterator[Failure]:
    for path in sorted(kind.unmodelled):
        for shown in {path} if rules.given(inputs, path) else {each for each, _ in rules.at(inputs, path)}:
            yield Failure(shown, "The built-in provider doesn't model this property, only the official one does")
