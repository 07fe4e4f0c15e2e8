"""A stand-in provider running in a process of its own, and the environment that attaches a Pulumi engine to it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
END_TIMEOUT_S = 10


@contextmanager
def running(module: str) -> Iterator[int]:
    """The port on which ``python -m module`` listens. It ends with the block, or with this process."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdin and process.stdout
        try:
            line = process.stdout.readline().strip()
            if not line.isdigit():
                errors.seek(0)
                raise RuntimeError(f"{module} printed no port: {line}\n{errors.read()}")
            yield int(line)
        finally:
            process.stdin.close()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def official_plugin(package: str) -> Path | None:
    """The newest official plugin that the Pulumi CLI has downloaded on this machine, if it has one."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    found = [path for path in home.glob(f"plugins/resource-{package}-v*") if path.is_dir()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
