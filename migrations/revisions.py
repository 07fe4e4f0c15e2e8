"""The revisions of this checkout, read from their files without importing Alembic or running them."""

import ast
import dataclasses
import hashlib
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from migrations.errors import BrokenHistory, UnknownRevision

DIRECTORY = Path(__file__).parent
"""The migrations of this checkout."""

BASE = "base"

_PARSING = threading.Lock()
"""Python 3.11 fails now and then where two threads parse at once ("AST constructor recursion depth mismatch")."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Revision:
    """One file of ``versions/``."""

    id: str
    down: str | None
    """The revision before it; None for the first."""
    title: str
    path: Path


def history(directory: Path = DIRECTORY) -> tuple[Revision, ...]:
    """All revisions, first to last; raises BrokenHistory unless they are one line."""
    files = [_read(path) for path in sorted((directory / "versions").glob("*.py")) if path.stem != "__init__"]
    after: dict[str | None, Revision] = {}
    seen: set[str] = set()
    for revision in files:
        if revision.id in seen:
            raise BrokenHistory(f"two files have revision {revision.id}: give one of them the next number")
        seen.add(revision.id)
        if (rival := after.get(revision.down)) is not None:
            raise BrokenHistory(
                f"{rival.path.name} and {revision.path.name} both follow {revision.down or BASE}: "
                f"let the later one follow the other"
            )
        after[revision.down] = revision
    line: list[Revision] = []
    step = after.get(None)
    while step is not None:
        line.append(step)
        step = after.get(step.id)
    if len(line) != len(files):
        lost = sorted({r.path.name for r in files} - {r.path.name for r in line})
        raise BrokenHistory(f"{', '.join(lost)}: no way from {BASE} leads there; correct its down_revision")
    return tuple(line)


def head(directory: Path = DIRECTORY) -> str:
    """The last revision; raises BrokenHistory if there is none."""
    line = history(directory)
    if not line:
        raise BrokenHistory(f"there is no revision in {directory / 'versions'}")
    return line[-1].id


def next_id(directory: Path = DIRECTORY) -> str:
    """The number for a new revision."""
    line = history(directory)
    return f"{int(line[-1].id) + 1:04d}" if line else "0001"


def content_hash(directory: Path = DIRECTORY) -> str:
    """SHA-256 over the names and the content of everything that decides what a migration does."""
    digest = hashlib.sha256()
    for path in _sources(directory):
        content = path.read_bytes()
        name = path.relative_to(directory).as_posix().encode()
        digest.update(b"%d %s %d\n" % (len(name), name, len(content)))
        digest.update(content)
    return digest.hexdigest()


def sources(directory: Path, ids: Collection[str]) -> str:
    """The text of these revisions' files, one after the other."""
    return "\n".join(r.path.read_text(encoding="utf-8") for r in history(directory) if r.id in ids)


def position(line: Sequence[Revision], revision: str | None) -> int:
    """How many revisions of ``line`` are in force at ``revision``; raises UnknownRevision."""
    if revision is None or revision == BASE:
        return 0
    for number, step in enumerate(line, start=1):
        if step.id == revision:
            return number
    known = f"{line[0].id} to {line[-1].id}" if line else "none"
    raise UnknownRevision(f"there is no revision {revision} in this checkout (it has: {known})")


def _sources(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.suffix in {".py", ".mako", ".sql"} and "__pycache__" not in path.parts and path.is_file():
            yield path


def _read(path: Path) -> Revision:
    with _PARSING:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    values: dict[str, object] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            values[target.id] = value.value
    revision, down = values.get("revision"), values.get("down_revision")
    if not isinstance(revision, str) or not (down is None or isinstance(down, str)):
        raise BrokenHistory(f"{path.name}: revision and down_revision must be plain strings (down_revision: or None)")
    title = (ast.get_docstring(tree) or path.stem).splitlines()[0]
    return Revision(id=revision, down=down, title=title, path=path)
