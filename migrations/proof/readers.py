"""The readers of a running proof, as the process that migrates sees them."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from migrations.errors import ProofFailed

_ROOT = Path(__file__).parents[2]


class Readers:
    """A process in which one reader for each table reads all the time, between ``begin`` and ``end``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, tables: Iterable[str]) -> None:
        """Start to read these tables (``schema.table``); returns when each was read once."""
        self._tell(list(tables))
        self._hear()

    def end(self) -> dict[str, float]:
        """Stop reading; table → the longest that a read took, in milliseconds."""
        self._tell(None)
        return self._hear()

    def _tell(self, data: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(data) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise ProofFailed("the concurrent readers ended before their time; see what they said above")
        return json.loads(line)


@contextmanager
def readers(url: str) -> Iterator[Readers]:
    """Start the process; it ends with this context, and when this process dies."""
    process = subprocess.Popen(
        [sys.executable, "-m", "migrations.proof.reader"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        start_new_session=True,  # Ctrl-C is for the parent alone
    )
    try:
        found = Readers(process)
        found._tell(url)
        yield found
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.terminate()
        process.wait(timeout=10)
