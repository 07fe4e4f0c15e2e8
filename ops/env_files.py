"""The files that ``./gaia env --file`` wrote: remembered, and written anew when the logins in them change."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from engine import checkout as places
from ops import stacks

if TYPE_CHECKING:
    from engine.checkout import Checkout
    from engine.stack import Stack

Lines = Callable[["Stack", str], list[str]]
"""Gives the lines of a stack for a reader."""


@dataclass(frozen=True, kw_only=True)
class EnvFile:
    """One file that was written."""

    path: str
    stack: str
    reader: str
    """``host`` or ``docker``."""
    turns: list[int]
    """Of the password and of the identity key, when it was written last."""


@dataclass(frozen=True, kw_only=True)
class Renewed:
    """What became of the files of a stack."""

    written: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Those that say something else by now but couldn't be written, and why."""


def write(stack: Stack, file: Path, reader: str, lines: list[str]) -> None:
    """Write these lines, keep the others of the file, and remember it. Raises ``OSError``."""
    places.write(file, "".join(f"{line}\n" for line in [*_kept(file, lines), *lines]), mode=0o600)
    written = EnvFile(path=str(file), stack=stack.name, reader=reader, turns=_turns(stack))
    known = [each for each in _known(stack.checkout) if each.path != written.path]
    _remember(stack.checkout, [*known, written])


def renew(stack: Stack, lines_of: Lines, *, changed: bool = True) -> Renewed:
    """Write the stack's files anew whose logins are no longer the stack's; unless ``changed``, only those that were
    written on another turn. A file is left alone once it names another database or login, and forgotten once gone."""
    renewed = Renewed()
    mine = [each for each in _known(stack.checkout) if each.stack == stack.name]
    if mine and not changed:
        turns = _turns(stack)
        mine = [each for each in mine if each.turns != turns]
    for each in mine:
        file = Path(each.path)
        try:
            if _is_ours(file):
                lines = lines_of(stack, each.reader)
                differs = not set(lines) <= set(file.read_text(encoding="utf-8").splitlines())
                write(stack, file, each.reader, lines)
                if differs:
                    renewed.written.append(each.path)
        except OSError as error:
            renewed.failed.append(f"{each.path}: {error.strerror}")
    return renewed


def _is_ours(file: Path) -> bool:
    """Whether the file still gives the app's login to a database of this machine."""
    from db.settings import is_local
    from migrations.roles import APP_LOGINS

    try:
        text = file.read_text(encoding="utf-8")
        assigned = [line for line in text.splitlines() if line.startswith("DATABASE_URL=")]
        url = urlsplit("".join(shlex.split(assigned[-1].partition("=")[2])))
        return url.username in APP_LOGINS and is_local(url.hostname or "")
    except (FileNotFoundError, ValueError, IndexError):
        return False


def _kept(file: Path, lines: list[str]) -> list[str]:
    """The lines of an existing file that set something else."""
    ours = {line.split("=", 1)[0] for line in lines}
    try:
        there = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [line for line in there if line.split("=", 1)[0].removeprefix("export ").strip() not in ours]


def _turns(stack: Stack) -> list[int]:
    rotation = stacks.rotation(stack)
    return [rotation.turn, rotation.identity_turn]


def _known(checkout: Checkout) -> Iterator[EnvFile]:
    try:
        entries = json.loads(_record(checkout).read_text(encoding="utf-8"))
        found = [EnvFile(**entry) for entry in entries]
    except (OSError, ValueError, TypeError):
        found = []
    return (each for each in found if Path(each.path).is_file())


def _remember(checkout: Checkout, files: list[EnvFile]) -> None:
    places.write(_record(checkout), json.dumps([asdict(each) for each in files], indent=2), mode=0o600)


def _record(checkout: Checkout) -> Path:
    return checkout.own / "env-files.json"
