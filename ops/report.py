"""What commands say: progress on stderr, the result on stdout, as text for people or as one JSON document."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any


class Report:
    """Where one command's words go. With ``as_json`` stdout carries one JSON document and nothing else."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.started = time.monotonic()
        self._live: Any = None

    @property
    def seconds(self) -> float:
        """How long the command has been at it."""
        return round(time.monotonic() - self.started, 2)

    def say(self, line: str) -> None:
        """A line of progress."""
        if self._live is not None:
            self._live.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def result(self, text: str, document: dict[str, Any]) -> None:
        """The command's answer: the text for people, or the document for programs."""
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
            self._live = progress
            try:
                yield Working(self, progress, progress.add_task(title, total=None))
            finally:
                self._live = None


class Working:
    """The moving line of ``Report.working``."""

    def __init__(self, report: Report, progress: Any, task: Any) -> None:
        self._report = report
        self._progress = progress
        self._task = task

    def now(self, what: str) -> None:
        """What is being done now; shown only where the line can move."""
        if self._progress is not None:
            self._progress.update(self._task, description=what)

    def done(self, what: str) -> None:
        """A step that is finished: a line of its own."""
        self._report.say(what)
