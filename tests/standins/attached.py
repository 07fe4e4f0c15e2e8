"""A stand-in provider running in a process of its own, and the environment that attaches a Pulumi engine to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rehearsal.provider.attach import process

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def running(module: str) -> Iterator[int]:
    """The port on which ``python -m module`` listens. It ends with the block, or with this process."""
    with process(module) as line:
        if not line.isdigit():
            raise RuntimeError(f"{module} printed no port: {line}")
        yield int(line)


def official_plugin(package: str) -> Path | None:
    """The newest official plugin that the Pulumi CLI has downloaded on this machine, if it has one."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    found = [path for path in home.glob(f"plugins/resource-{package}-v*") if path.is_dir()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
