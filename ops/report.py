"""What commands say: progress on stderr, the result on stdout, as text for people or as one JSON document."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

LONG_EVERY_S = 15
"""How often a log, which can't move its last line, is told how far something long is."""


class Report:
    """Where one command's words go. With ``as_json`` stdout carries one JSON document and nothing else."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.started = time.monotonic()
        self._live: Working | None = None
        self._said_at = -LONG_EVERY_S
        self._open_line = False

    @property
    def seconds(self) -> float:
        """How long the command has been at it."""
        return round(time.monotonic() - self.started, 2)

    def say(self, line: str) -> None:
        """A line of progress."""
        if self._live is not None and self._live.progress is not None:
            self._live.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            self._close_line()
            print(line, file=sys.stderr, flush=True)

    def long(self, line: str) -> None:
        """How far something long is, said each second: one moving line in a terminal, a line now and then elsewhere."""
        if self._live is not None and self._live.progress is not None:
            self._live.now(line)
        elif sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:width]}", end="", file=sys.stderr, flush=True)
            self._open_line = True
        elif time.monotonic() - self._said_at >= LONG_EVERY_S:
            self._said_at = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def _close_line(self) -> None:
        if self._open_line:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._open_line = False

    def result(self, text: str, document: dict[str, Any]) -> None:
        """The command's answer: the text for people, or the document for programs."""
        self._close_line()
        print(json.dumps(document, indent=2, sort_keys=False) if self.as_json else text, flush=True)

    @contextlib.contextmanager
    def working(self, title: str) -> Iterator[Working]:
        """Show that something goes on: a moving line in a terminal, a line for each step elsewhere."""
        if not sys.stderr.isatty():
            yield Working(self, None, None)
            return
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            self._live = Working(self, progress, progress.add_task(title, total=None))
            try:
                yield self._live
            finally:
                self._live = None


class Working:
    """The moving line of ``Report.working``."""

    def __init__(self, report: Report, progress: Any, task: Any) -> None:
        self._report = report
        self.progress = progress
        self._task = task

    def now(self, what: str) -> None:
        """What is being done now; shown only where the line can move."""
        if self.progress is not None:
            self.progress.update(self._task, description=what)

    def step(self, what: str) -> None:
        """A step that begins: a line of its own, which moves on in a terminal."""
        self.now(what)
        self._report.say(f"  {what}")

    def done(self, what: str) -> None:
        """A step that is finished: a line of its own."""
        self._report.say(what)
