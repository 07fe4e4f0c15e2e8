"""What ``random`` makes: values from the system's source of randomness, kept by the engine's state alone.

The options and their defaults are those of pulumi-random 4.x. There is no ``bcryptHash``: it needs a library that
nothing else here does, and the program doesn't read it.
"""

from __future__ import annotations

import base64
import secrets
import string
from dataclasses import dataclass
from typing import Any

from rehearsal.provider.checking import Failure
from rehearsal.provider.comparing import Change
from rehearsal.provider.protocol import UNKNOWN, has_unknown

Properties = dict[str, Any]
SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
_PASSWORD = {
    "special": True, "upper": True, "lower": True, "numeric": True,
    "minUpper": 0, "minLower": 0, "minNumeric": 0, "minSpecial": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One type: its inputs with their defaults, what it makes, and what of that is secret."""

    required: str
    optional: Properties
    outputs: tuple[str, ...]
    secret: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "random:index/randomPassword:RandomPassword": Kind("length", _PASSWORD, ("result",), ("result",)),
    "random:index/randomString:RandomString": Kind("length", _PASSWORD, ("result",), ()),
    "random:index/randomBytes:RandomBytes": Kind("length", {}, ("base64", "hex"), ("base64", "hex")),
    "random:index/randomId:RandomId": Kind("byteLength", {}, ("b64Std", "b64Url", "dec", "hex"), ()),
}
_ALSO = {"keepers", "overrideSpecial", "prefix", "number"}


def check(token: str, news: Properties) -> tuple[Properties, list[Failure]]:
    kind = KINDS[token]
    known = {kind.required, *kind.optional, *_ALSO}
    failures = [Failure(name, "Invalid or unknown key") for name in news if name not in known and name[:2] != "__"]
    if kind.required not in news:
        message = f'The argument "{kind.required}" is required, but no definition was found.'
        failures.append(Failure(kind.required, f"Missing required argument. {message}"))
    inputs = {**kind.optional, **{name: value for name, value in news.items() if name[:2] != "__"}}
    if failures or has_unknown(inputs):
        return inputs, failures
    length, least = inputs[kind.required], sum(inputs.get(name, 0) for name in kind.optional if name.startswith("min"))
    if not isinstance(length, int) or length < 1:
        failures.append(Failure(kind.required, f"Attribute {kind.required} value must be at least 1, got: {length}"))
    elif length < least:
        failures.append(Failure(kind.required, f"Attribute length value must be at least {least}, got: {length}"))
    elif kind.optional and not _alphabet(inputs):
        failures.append(Failure("", "At least one of special, upper, lower or numeric must be true"))
    return inputs, failures


def diff(token: str, olds: Properties, news: Properties) -> list[Change]:
    """Whatever changes makes the value anew: its keepers, its length, its alphabet."""
    names = {*KINDS[token].optional, *_ALSO, KINDS[token].required}
    return [Change(name, "update", True) for name in sorted(names) if olds.get(name) != news.get(name)]


def create(token: str, inputs: Properties, *, preview: bool) -> tuple[str, Properties]:
    kind = KINDS[token]
    if preview:
        return "", {**inputs, **dict.fromkeys(kind.outputs, UNKNOWN)}
    if kind.optional:
        return "none" if kind.secret else "", {**inputs, "result": _text(inputs)}
    raw = secrets.token_bytes(inputs[kind.required])
    made = {
        "hex": raw.hex(),
        "base64": base64.b64encode(raw).decode(),
        "b64Std": base64.b64encode(raw).decode(),
        "b64Url": base64.urlsafe_b64encode(raw).decode().rstrip("="),
        "dec": str(int.from_bytes(raw, "big")),
    }
    # A RandomId says its value; an id of secret bytes must not: the engine shows ids in the open.
    return made["b64Url"] if not kind.secret else "none", {**inputs, **{name: made[name] for name in kind.outputs}}


def _alphabet(inputs: Properties) -> dict[str, str]:
    numeric = inputs.get("number", True) and inputs.get("numeric", True)
    sets = {
        "minUpper": string.ascii_uppercase if inputs.get("upper") else "",
        "minLower": string.ascii_lowercase if inputs.get("lower") else "",
        "minNumeric": string.digits if numeric else "",
        "minSpecial": (inputs.get("overrideSpecial") or SPECIAL) if inputs.get("special") else "",
    }
    return {name: characters for name, characters in sets.items() if characters}


def _text(inputs: Properties) -> str:
    sets = _alphabet(inputs)
    chosen = [secrets.choice(sets[name]) for name in sets for _ in range(inputs.get(name, 0))]
    everything = "".join(sets.values())
    chosen += [secrets.choice(everything) for _ in range(inputs["length"] - len(chosen))]
    secrets.SystemRandom().shuffle(chosen)
    return "".join(chosen)
