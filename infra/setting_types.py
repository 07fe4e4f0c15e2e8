"""The types of single settings: what a value must look like, with the words for what is allowed."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

# Extra keys are faults, and a string is no number: a typing slip must not change its meaning silently.
STRICT = ConfigDict(extra="forbid", strict=True)


def matches(pattern: str, expected: str) -> AfterValidator:
    """Refuse a text that the whole pattern doesn't match; ``expected`` says what would be fine."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {expected}")
        return value

    return AfterValidator(check)


Identifier = Annotated[str, matches(r"[a-z_][a-z0-9_]{0,62}", "a lower-case PostgreSQL name of at most 63 characters")]
Memory = Annotated[str, matches(r"[1-9][0-9]{0,8}(kB|MB|GB)", "a size such as 256MB (units: kB, MB, GB)")]
Duration = Annotated[str, matches(r"0|[1-9][0-9]{0,8}(ms|s|min|h|d)", "a time such as 10min (units: ms, s, min, h, d)")]
DockerName = Annotated[str, matches(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", "a Docker name: letters, digits, _ . -")]
Port = Annotated[int, Field(ge=1024, le=65535)]
_OCTET = r"(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
Loopback = Annotated[str, matches(rf"127(\.{_OCTET}){{3}}", "a loopback address such as 127.0.0.1")]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


def size_in_bytes(size: str) -> int:
    """What a ``Memory`` such as 256MB comes to."""
    number, unit = size[:-2], size[-2:]
    return int(number) * {"kB": 1024, "MB": 1024**2, "GB": 1024**3}[unit]


def time_in_ms(time: str) -> int:
    """What a ``Duration`` such as 10min comes to."""
    found = re.fullmatch(r"([0-9]+)([a-z]*)", time)
    number, unit = found.groups() if found else ("0", "")
    return int(number) * {"": 1, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
