"""Conditions of IAM bindings: the part of CEL that is written there.

``||  &&  !  ==  !=  <  <=  >  >=``, brackets, text, ``resource.name/type/service``, ``request.time``, ``timestamp()``,
``.startsWith()``, ``.endsWith()``, ``.extract()`` isn't. https://cloud.google.com/iam/docs/conditions-attribute-reference
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"\\]*"|'[^'\\]*')|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)|(?P<sign>\|\||&&|==|!=|<=|>=|[!<>(),.]))"""
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_METHODS: dict[str, Callable[[str, str], bool]] = {"startsWith": str.startswith, "endsWith": str.endswith}


class NotCel(ValueError):
    """Not an expression of this part of CEL; the message says where."""


def holds(expression: str, attributes: Mapping[str, Any]) -> bool:
    """Whether the condition is true with these values of ``resource.…`` and ``request.…``. Raises NotCel."""
    value = _Reader(expression, attributes).whole()
    if not isinstance(value, bool):
        raise NotCel(f"the expression is {type(value).__name__}, not bool")
    return value


def check(expression: str) -> None:
    """Raises NotCel."""
    names = {"resource.name": "", "resource.type": "", "resource.service": ""}
    holds(expression, {**names, "request.time": datetime.fromisoformat("2000-01-01T00:00:00+00:00")})


class _Reader:
    """A reader by descent; each side of ``&&`` and ``||`` is read whichever way the other goes."""

    def __init__(self, expression: str, attributes: Mapping[str, Any]) -> None:
        self._tokens, self._attributes, self._at = _tokens(expression), attributes, 0

    def whole(self) -> Any:
        value = self._any()
        if self._at < len(self._tokens):
            raise NotCel(f"unexpected {self._tokens[self._at]}")
        return value

    def _any(self) -> Any:
        value = self._all()
        while self._take("||"):
            other = self._all()
            value = bool(value) or bool(other)
        return value

    def _all(self) -> Any:
        value = self._not()
        while self._take("&&"):
            other = self._not()
            value = bool(value) and bool(other)
        return value

    def _not(self) -> Any:
        return not self._not() if self._take("!") else self._compared()

    def _compared(self) -> Any:
        left = self._single()
        sign = self._peek()
        if sign in _COMPARE:
            self._at += 1
            right = self._single()
            try:
                return _COMPARE[sign](left, right)
            except TypeError as error:
                raise NotCel(str(error)) from None
        return left

    def _single(self) -> Any:
        if self._take("("):
            value = self._any()
            self._want(")")
            return value
        word = self._next()
        if word[0] in "\"'":
            return word[1:-1]
        if word in ("true", "false"):
            return word == "true"
        if word == "timestamp":
            return _time(self._argument())
        head, _, last = word.rpartition(".")
        if last in _METHODS and self._peek() == "(":
            return _METHODS[last](str(self._attribute(head)), self._argument())
        return self._attribute(word)

    def _argument(self) -> str:
        self._want("(")
        token = self._next()
        if token[0] not in "\"'":
            raise NotCel(f"expected a text, found {token}")
        self._want(")")
        return token[1:-1]

    def _attribute(self, name: str) -> Any:
        if name not in self._attributes:
            raise NotCel(f"undeclared reference to '{name}'")
        return self._attributes[name]

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise NotCel("the expression ends too early")
        self._at += 1
        return token

    def _take(self, sign: str) -> bool:
        if self._peek() == sign:
            self._at += 1
            return True
        return False

    def _want(self, sign: str) -> None:
        if not self._take(sign):
            raise NotCel(f"expected {sign}, found {self._peek() or 'the end'}")


def _tokens(expression: str) -> list[str]:
    tokens, at = [], 0
    text = expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotCel(f"token recognition error at: '{text[at : at + 10]}'")
        tokens.append(match[match.lastgroup or 0])
        at = match.end()
    return tokens


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise NotCel(str(error)) from None
