"""The dynamic providers' process, started while the command line still reads settings.

The engine takes as long to start as this process does, and would start it twice in an ``up --refresh``: attached to
one that runs already, an unchanged ``up`` takes a third of a second less. ``pulumi up`` by hand starts its own.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.locks import RUN_MARK
from engine.program import import_ahead

ATTACHED = "PULUMI_DEBUG_PROVIDERS"
"""The engine's variable for providers that run already: ``NAME:PORT`` of 127.0.0.1, with commas between."""
PACKAGE = "pulumi-python"
"""Under which name the engine knows the dynamic providers of Python."""
END_TIMEOUT_S = 10
_AHEAD = "infra.local.schema infra.local.embedded infra.local.password psycopg migrations.runner migrations.roles"


@dataclass(frozen=True, kw_only=True)
class WarmProvider:
    """A provider's process that an engine can be attached to."""

    process: subprocess.Popen[str]
    errors: IO[str]

    def attach(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The engine's environment with this provider in it, unless the caller attached one, or this one failed."""
        others = [part for part in environ.get(ATTACHED, "").split(",") if part]
        assert self.process.stdout is not None
        if any(part.startswith(f"{PACKAGE}:") for part in others) or not (port := self.process.stdout.readline()):
            return dict(environ)
        return {**environ, ATTACHED: ",".join([*others, f"{PACKAGE}:{port.strip()}"])}

    def said(self) -> str:
        """What the process wrote to standard error."""
        self.errors.seek(0)
        return self.errors.read()


@contextlib.contextmanager
def started(root: Path, run_id: str, environ: Mapping[str, str]) -> Iterator[WarmProvider]:
    """Have a provider for the checkout at ``root`` as long as the block runs; it ends with this process in any way."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "engine.warm_provider"],
            cwd=root,
            env={**environ, RUN_MARK: run_id, "GAIA_IMPORT_AHEAD": _AHEAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            yield WarmProvider(process=process, errors=errors)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(END_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
    process.stdout.close()


def main() -> None:
    """Serve until standard input closes."""
    from engine import attached

    # A process of a few seconds, half of them imports: the collector would take a tenth of these, and find nothing.
    gc.disable()
    attached.prepare()
    import pulumi.dynamic  # noqa: F401
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import provider_pb2_grpc

    # The engine greets an attached provider with this call, which the SDK leaves unanswered.
    def attach(self: object, request: object, context: object) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    provider_pb2_grpc.ResourceProviderServicer.Attach = attach
    threading.Thread(target=import_ahead, daemon=True).start()
    attached.run(["pulumi.dynamic"])


if __name__ == "__main__":
    main()
