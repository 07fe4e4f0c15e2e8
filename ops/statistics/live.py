"""The live view: a look now and then, in a terminal on a screen of its own, elsewhere one after the other."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ops.statistics import look as looks
from ops.statistics import text
from ops.statistics.look import Look
from ops.statistics.section import Section

if TYPE_CHECKING:
    from ops.statistics.look import Connection

_RESIZED_S = 0.2
"""How soon a changed size of the terminal is seen."""
_QUIT, _ON, _BACK = (
    ("q", "Q", "\x1b"),
    (" ", "n", "\x1b[B", "\x1b[C", "\x1b[6~"),
    ("b", "p", "\x1b[A", "\x1b[D", "\x1b[5~"),
)


class Watched:
    """A database that is looked at over and over, over one connection for as long as that lives."""

    def __init__(self, connect: Callable[[], Connection], sections: Sequence[Section]) -> None:
        self._connect = connect
        self._sections = sections
        self._connection: Connection | None = connect()
        self._before: Look | None = None
        self.lost = ""
        """Why the last look failed; empty where it didn't."""

    def look(self) -> Look | None:
        """The next look, with rates since the one before. The last one again while the server doesn't answer."""
        import psycopg

        from ops.exits import Missing

        try:
            if self._connection is None:
                self._connection = self._connect()
            now = looks.take(self._connection, self._sections)
        except (Missing, psycopg.Error) as error:
            self.lost = " ".join(str(error).split())
            self._drop()
            return self._before
        found, self._before, self.lost = now.since(self._before), now, ""
        return found

    def close(self) -> None:
        """End the session."""
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = None


def watch(
    connect: Callable[[], Connection], sections: Sequence[Section], *, where: str, every_s: float, every_row: bool
) -> None:
    """Show a look every ``every_s`` until q is pressed, Ctrl-C, or nobody reads on. Raises as ``connect`` does."""
    watched = Watched(connect, sections)
    # A terminal that is left on the other screen, without echo, is no end.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            if sys.stdout.isatty():
                _on_screen(watched, where, every_s, every_row)
            else:
                _in_turn(watched, where, every_s, every_row)
    finally:
        signal.signal(signal.SIGTERM, before)
        watched.close()


def pages(lines: Sequence[str], height: int) -> list[list[str]]:
    """Lines by screens; a section that fits on one isn't torn in two."""
    found: list[list[str]] = [[]]
    for block in _blocks(lines):
        if found[-1] and len(found[-1]) + len(block) > height:
            found.append([])
        found[-1] += block
        while len(found[-1]) > height:
            found[-1:] = [found[-1][:height], found[-1][height:]]
    return found


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Each section with the empty line after it."""
    block: list[str] = []
    for line in lines:
        block.append(line)
        if not line:
            yield block
            block = []
    if block:
        yield block


def _in_turn(watched: Watched, where: str, every_s: float, every_row: bool) -> None:
    while True:
        began_s = time.monotonic()
        found = watched.look()
        if watched.lost:
            print(f"{where}: {watched.lost}\n", flush=True)
        elif found is not None:
            print("\n".join([*text.lines(found, where=where, width=None, every_row=every_row), ""]), flush=True)
        time.sleep(max(0.0, every_s - (time.monotonic() - began_s)))


def _on_screen(watched: Watched, where: str, every_s: float, every_row: bool) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with _keys() as key, Live(console=Console(), screen=True, auto_refresh=False) as screen:
        page, due_s, found, drawn = 0, 0.0, None, None
        while True:
            if late := time.monotonic() >= due_s:
                due_s = time.monotonic() + every_s
                found = watched.look()
            size = shutil.get_terminal_size()
            if found is not None and (late or drawn != (page, size)):
                all_pages = pages(
                    text.lines(found, where=where, width=size.columns, every_row=every_row), size.lines - 1
                )
                page = min(page, len(all_pages) - 1)
                shown = all_pages[page] + [""] * (size.lines - 1 - len(all_pages[page]))
                foot = _foot(page + 1, len(all_pages), every_s, watched.lost)[: size.columns - 1]
                screen.update(Text("\n".join([*shown, foot]), no_wrap=True, overflow="crop"), refresh=True)
                drawn = (page, size)
            pressed = key(min(_RESIZED_S, max(0.0, due_s - time.monotonic())))
            if pressed in _QUIT:
                return
            page += (pressed in _ON) - (pressed in _BACK and page > 0)


def _foot(page: int, of: int, every_s: float, lost: str) -> str:
    if lost:
        return f"no answer, trying again: {lost}"
    return f"page {page} of {of} (space, b) · every {every_s:g} s · q ends"


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Reads the key that is pressed within so many seconds, without Enter; "" for none, or where nobody could type."""
    if not sys.stdin.isatty():
        yield lambda wait_s: time.sleep(wait_s) or ""
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed(wait_s: float) -> str:
        ready, _, _ = select.select([terminal], [], [], wait_s)
        return os.read(terminal, 16).decode(errors="replace") if ready else ""

    try:
        tty.setcbreak(terminal)
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
