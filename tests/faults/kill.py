"""SIGKILL of a command, with all that it started or without."""

from __future__ import annotations

import contextlib

import psutil


def kill(process: psutil.Process, *, children: bool) -> None:
    """Kill the command, and the engine and the plugins below it too if asked to."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = process.children(recursive=True) if children else []
        for one in (process, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
