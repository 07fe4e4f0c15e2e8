"""SQL that somebody sent, without what it may hold of secrets: no literal, no comment, and no value of a SET."""

from __future__ import annotations

import re

LONGEST = 200
"""Characters of a statement that are shown."""

_SHOWN = re.compile(
    r"""abort|alter|analyze|begin|checkpoint|close|cluster|commit|copy|create|deallocate|declare|delete|discard|drop|end
      |explain|fetch|insert|listen|lock|merge|refresh|reindex|release|reset|rollback|savepoint|select|start|table
      |truncate|update|vacuum|values|with""",
    re.VERBOSE | re.IGNORECASE,
)
"""Of a statement that begins with another word (SET, DO, PREPARE …) only the first words are shown: its values need
no quotes, so nobody can tell them from names."""
_OF_SETTINGS = re.compile(
    r"(?:create|alter)\s+(?:or\s+replace\s+)?"
    r"(?:role|user|group|database|system|server|subscription|function|procedure|routine)\b",
    re.IGNORECASE,
)
"""These take passwords and settings."""

_TOKENS = re.compile(
    r"""
    (?P<comment>--[^\n]*|/\*)
  | (?P<escaped>\b[eE]'(?:[^'\\]|''|\\.)*(?:'|$))
  | (?P<string>'(?:[^']|'')*(?:'|$))
  | (?P<dollar>\$(?P<tag>[^\W\d]\w*)?\$)
  | (?P<name>"(?:[^"]|"")*(?:"|$))
  | (?P<parameter>\$\d+)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\d[\w.]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def shown(text: str | None) -> str | None:
    """The statement as it may be shown; None stays None.

    Where it isn't certain how the server reads on (a backslash in a plain literal, a comment within a comment), the
    rest is left out: too little is shown rather than too much.
    """
    if text is None:
        return None
    statements = (_statement(" ".join(part.split())) for part in _without_literals(text).split(";"))
    whole = "; ".join(part for part in statements if part)
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 1]}…"


def _without_literals(text: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(text) and (found := _TOKENS.match(text, at)):
        at = found.end()
        kind, piece = found.lastgroup, found[0]
        if kind == "comment":
            end = at if piece != "/*" else _end_of_comment(text, at)
            if end is None:
                break
            at, piece = end, " "
        elif kind == "string" and "\\" in piece:
            parts.append("?")
            break
        elif found["dollar"]:
            end = text.find(piece, at)
            at, piece = (end + len(piece) if end >= 0 else len(text)), "?"
        elif kind in ("escaped", "string", "number"):
            piece = "?"
        parts.append(piece)
    return "".join(character if character.isprintable() else " " for character in "".join(parts))


def _end_of_comment(text: str, at: int) -> int | None:
    """Where the comment ends that began before ``at``; None where it doesn't, or holds another."""
    end = text.find("*/", at)
    return None if end < 0 or "/*" in text[at:end] else end + 2


def _statement(text: str) -> str:
    """One statement, its literals gone already."""
    word = re.match(r"\W*(\w+)", text)
    if word is None:
        return ""
    if _OF_SETTINGS.match(text):
        return f"{' '.join(text.split()[:3])} …"
    if not _SHOWN.fullmatch(word[1]) and len(text.split()) > 1:
        return f"{word[1]} …"
    return text
