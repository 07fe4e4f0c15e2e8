"""The process that runs a Pulumi program, seen from the language host."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = Path(__file__).with_name("program.py")

ALREADY_EXPLAINED = 32
"""Exit code of a program whose failure was logged already, as with the official executor."""


@dataclass(eq=False)
class ProgramProcess:
    """A program's process. It imports the SDK when it starts, and runs the program when it is told to.

    The pipe on its standard input carries the request, then stays open: when it closes, which is when
    this process ends in whatever way, the program ends too.
    """

    process: subprocess.Popen[bytes]
    python: str

    @classmethod
    def start(cls, python: str) -> ProgramProcess:
        """Start a process under ``python``, which must have the SDK; it shares our standard output and error."""
        # By path and with -P: the program's environment needn't have this package, and our folder isn't searched.
        command = [python, "-u", "-P", str(_PROGRAM)]
        return cls(subprocess.Popen(command, stdin=subprocess.PIPE), python)

    def run(self, request: bytes) -> int:
        """Send a serialized ``RunRequest`` and wait; return the exit code (negative: the signal that ended it)."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(len(request).to_bytes(8, "big") + request)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended already, and said on standard error why
        return self.process.wait()

    def stop(self) -> None:
        """End the process, if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
