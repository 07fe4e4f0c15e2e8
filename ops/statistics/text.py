"""Statistics as text: tables that fit a width, or plain aligned columns where the output goes elsewhere."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ops.statistics.look import Answer, Look
from ops.statistics.section import Kind

GAP = "  "
NOTHING = "-"
"""For what isn't known."""
ROWS_SHOWN = 12
"""Rows of a section, where all sections are printed."""
NARROWEST = 6
"""No column is cut to less while another can be."""
_UNITS: Mapping[Kind, str] = {"bytes": "_bytes", "seconds": "_s", "milliseconds": "_ms", "percent": "_percent"}
"""What a column's heading goes without, as its cells say it."""
_CUT: Kind = "text"
"""Only words are cut to fit, and stand to the left; numbers stand as they are."""


def lines(look: Look, *, where: str, width: int | None, every_row: bool) -> list[str]:
    """A look as lines; no longer than ``width`` where one is given."""
    blocks = [
        wrapped(heading(look, where), width),
        *(block(answer, look, width, every_row=every_row) for answer in look.answers),
    ]
    whole = [line for each in blocks for line in ("", *each)][1:]
    return [_cut(line, width) if width else line for line in whole]


def heading(look: Look, where: str) -> str:
    """What was looked at, and when."""
    server = look.server
    up = duration((server.at - server.started).total_seconds())
    counted = f"; counters since {moment(server.counted_since, server.at)}" if server.counted_since else ""
    kind = "standby, " if server.standby else ""
    return f"{where}: {kind}PostgreSQL {server.version}, up {up}, at {server.at:%H:%M:%S} UTC{counted}"


def block(answer: Answer, look: Look, width: int | None, *, every_row: bool) -> list[str]:
    """A section: its title, its table, how to read it."""
    section = answer.section
    if answer.error:
        return [f"{section.title}: not known: {answer.error}"]
    if answer.absent or not answer.rows:
        return wrapped(f"{section.title}: {answer.absent or section.none}", width)
    rows = answer.rows if every_row else answer.rows[:ROWS_SHOWN]
    cells = [[cell(kind, value, look.server.at) for kind, value in _of(section.columns, row)] for row in rows]
    found = [section.title, *_with_statements(section.columns, cells, width)]
    if len(rows) < len(answer.rows):
        found.append(f"… {len(answer.rows) - len(rows)} more: ./gaia stats --only {section.name}")
    return found + (wrapped(f"({section.note})", width) if every_row and section.note else [])


def _with_statements(columns: Mapping[str, Kind], cells: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The table, with each row's statements on lines of their own below it: no column is wide enough for SQL."""
    kept = [kind != "statement" for kind in columns.values()]
    narrow: dict[str, Kind] = {name: kind for name, kind in columns.items() if kind != "statement"}
    found = table(narrow, [list(itertools.compress(row, kept)) for row in cells], width)
    if all(kept):
        return found
    whole = found[:1]
    for line, row in zip(found[1:], cells, strict=True):
        whole.append(line)
        whole += [
            f"    {name}: {text}"
            for (name, kind), text in zip(columns.items(), row, strict=True)
            if kind == "statement" and text != NOTHING
        ]
    return whole


def table(columns: Mapping[str, Kind], cells: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """A heading and rows, aligned: numbers to the right."""
    headings = [name.removesuffix(_UNITS.get(kind, "")) for name, kind in columns.items()]
    natural = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    widths = _fitting(natural, list(columns.values()), width) if width else natural
    left = [kind == _CUT for kind in columns.values()]
    return [
        GAP.join(
            _cut(text, size).ljust(size) if to_left else _cut(text, size).rjust(size)
            for text, size, to_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in (headings, *cells)
    ]


def cell(kind: Kind, value: Any, now: dt.datetime) -> str:
    """A value as people read it."""
    if value is None:
        return NOTHING
    if kind == "count":
        return f"{value:,}"
    if kind == "rate":
        return f"{value:,.1f}"
    if kind == "percent":
        return f"{value:.1f} %"
    if kind == "milliseconds":
        return f"{value:,.2f} ms"
    if kind == "bytes":
        return amount(value)
    if kind == "seconds":
        return duration(value)
    return moment(value, now) if kind == "moment" else _printable(str(value))


def amount(count: int) -> str:
    """Bytes in the unit that leaves at most four digits."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 10_000 or unit == "TB":
            break
        size /= 1024
    return f"{size:.0f} {unit}"


def duration(seconds: float) -> str:
    """A time span by its two largest units."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    whole = int(seconds)
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {smaller}"
    raise AssertionError("unreachable")


def moment(value: dt.datetime, now: dt.datetime) -> str:
    """A time of today, or a day."""
    if value.date() == now.date():
        return f"{value:%H:%M:%S}"
    return f"{value:%Y-%m-%d %H:%M}"


def wrapped(sentence: str, width: int | None) -> list[str]:
    """A sentence on as many lines as it takes."""
    import textwrap

    return textwrap.wrap(sentence, width, break_long_words=False) if width else [sentence]


def _fitting(natural: list[int], kinds: list[Kind], width: int) -> list[int]:
    """Widths that fit: the widest column of words gives first."""
    widths = list(natural)
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    words = [position for position, kind in enumerate(kinds) if kind == _CUT]
    while over > 0 and words:
        widest = max(words, key=lambda position: widths[position])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
        over -= 1
    return widths


def _of(columns: Mapping[str, Kind], row: Sequence[Any]) -> list[tuple[Kind, Any]]:
    return list(zip(columns.values(), row, strict=True))


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: max(size - 1, 0)]}…"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
