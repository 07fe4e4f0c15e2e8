"""The SQL of each revision, up and down, exactly as Alembic would emit it, and from which line of the file it came."""

import contextlib
import dataclasses
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from migrations.errors import MigrationError
from migrations.revisions import BASE, DIRECTORY, Revision, history

_BY_ALEMBIC = {"emit_begin": True, "emit_commit": False}
"""The functions by which Alembic begins and ends a transaction: what they write isn't the revision's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Emitted:
    """One text that the revision sent; it may hold several statements."""

    text: str
    line: int
    """Of the call in the revision's file, from 1."""
    block: int
    """Even: a transaction; odd: an autocommit block."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendered:
    """One direction of one revision."""

    revision: Revision
    up: bool
    emitted: tuple[Emitted, ...]
    failure: str | None = None
    """Why it could not be written out, if it couldn't."""
    source: str = ""
    """The revision's file."""


class _Recorder(io.StringIO):
    """Alembic's output; knows by the stack which line of ``path`` wrote."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = str(path)
        self._block = 0
        self.emitted: list[Emitted] = []

    def write(self, text: str) -> int:
        names, line = self._callers(sys._getframe(1))
        switch = next((name for name in names if name in _BY_ALEMBIC), None)
        if line is not None and switch is not None:
            self._block += 1
        elif line is not None and text.strip():
            self.emitted.append(Emitted(text=text.strip(), line=line, block=self._block))
        return len(text)

    def _callers(self, frame: FrameType | None) -> tuple[list[str], int | None]:
        names: list[str] = []
        while frame is not None:
            if frame.f_code.co_filename == self._path:
                return names, frame.f_lineno
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return names, None


def render(directory: Path = DIRECTORY) -> Sequence[Rendered]:
    """Every revision up and down, in their order; what can't be written out says so in ``failure``."""
    with _writer(directory) as write:
        return [_rendered(revision, up, write) for revision in history(directory.resolve()) for up in (True, False)]


def _rendered(revision: Revision, up: bool, write: Any) -> Rendered:
    recorder, failure = _Recorder(revision.path), None
    doubled = True
    try:
        doubled = write(revision, up, recorder)
    except MigrationError:
        raise
    except (Exception, SystemExit) as error:
        failure = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    emitted = tuple(
        dataclasses.replace(e, text=e.text.replace("%%", "%") if doubled else e.text) for e in recorder.emitted
    )
    source = revision.path.read_text(encoding="utf-8")
    return Rendered(revision=revision, up=up, emitted=emitted, failure=failure, source=source)


def _doubles_percents(dialect: Any) -> bool:
    """Whether the output has ``%%`` for each ``%``: so it is with the paramstyle that dialects begin with."""
    return bool(getattr(dialect.identifier_preparer, "_double_percents", False))


@contextlib.contextmanager
def _writer(directory: Path) -> Iterator[Any]:
    """A function that lets Alembic write one direction of one revision; the files are read once."""
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    from migrations.perform import ALEMBIC, config

    settings = config(directory.resolve())
    settings.attributes["without_models"] = True
    scripts = ScriptDirectory.from_config(settings)

    def write(revision: Revision, up: bool, output: io.StringIO) -> bool:
        settings.output_buffer = output
        plan: Any = scripts._upgrade_revs if up else scripts._downgrade_revs
        start, end = (revision.down, revision.id) if up else (revision.id, revision.down)
        options: dict[str, Any] = {"starting_rev": start or BASE, "destination_rev": end or BASE}

        def steps(_revision: Any, _context: Any) -> Any:
            return plan(end or BASE, start or BASE)

        with EnvironmentContext(settings, scripts, fn=steps, as_sql=True, **options) as environment:
            scripts.run_env()
            return _doubles_percents(environment.get_context().dialect)

    with ALEMBIC, contextlib.redirect_stdout(io.StringIO()):
        yield write
