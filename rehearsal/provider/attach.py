"""The built-in providers in a process of their own, and what attaches an engine to them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
END_TIMEOUT_S = 10
TOKEN = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 - the name of the variable


@contextmanager
def running(access_token: str) -> Iterator[str]:
    """The value of PULUMI_DEBUG_PROVIDERS. The token goes through that process's environment alone."""
    with process("rehearsal.provider", {TOKEN: access_token}) as line:
        yield line


@contextmanager
def process(module: str, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """The first line that ``python -m module`` prints. It ends with the block, or with this process."""
    with tempfile.TemporaryFile("w+") as errors:
        started = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=REPOSITORY,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is the engine's: it still needs its provider to end in order
        )
        assert started.stdin and started.stdout
        try:
            line = started.stdout.readline().strip()
            if not line:
                errors.seek(0)
                raise RuntimeError(f"{module} printed nothing\n{errors.read()}")
            yield line
        finally:
            started.stdin.close()
            try:
                started.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()
            started.stdout.close()
