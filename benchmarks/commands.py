"""Commands as the benchmarks start them: quiet, out of the reach of a Ctrl-C, ended in order."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

END_TIMEOUT_S = 120
"""How long an interrupted command may take to undo or record what it began."""
_STEERING = ("PULUMI_", "GAIA_", "POSTGRES_", "PYTHON", "VIRTUAL_ENV", "PG")
_KEPT = ("PULUMI_HOME", "GAIA_ENGINE")


class CommandFailed(Exception):
    """A command that is part of a measurement failed, so there is nothing to measure; the message has its words."""


def plain_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The caller's environment without what would steer one side only."""
    return {key: value for key, value in environ.items() if key in _KEPT or not key.startswith(_STEERING)}


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """Run a command and return what it printed. Raises ``CommandFailed``.

    In a session of its own: a Ctrl-C at the terminal reaches only us, and we pass it on and wait.
    """
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            start_new_session=True,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
        )
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        said.seek(0)
        complained.seek(0)
        if code != 0:
            shown = " ".join(map(str, command))
            raise CommandFailed(f"{shown}: exit code {code}\n{said.read()[-1500:]}{complained.read()[-1500:]}")
        return said.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(END_TIMEOUT_S)
    except BaseException:
        process.kill()
        process.wait()
