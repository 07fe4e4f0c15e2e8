"""Run one Pulumi program in this process: what the language host starts by path, under the program's own Python.

It imports nothing of this repository, so that it works in any environment that has the SDK. It reads
an 8-byte length and a serialized ``pulumirpc.RunRequest`` from standard input, runs the program as the
official ``pulumi-language-python-exec`` does, and ends with 0; with 32 when it has told the engine what
is wrong; with anything else when it hasn't.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import signal
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi.runtime.proto import language_pb2

ALREADY_EXPLAINED = 32


def main() -> int:
    """Import the SDK, wait for the request, run it."""
    # Until the program runs, an interrupt is the engine ending its plugins: no traceback is wanted.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A process of a few seconds, most of them imports: the collector would take a fifth of these, and find little.
    gc.disable()
    if not _import_sdk():
        return 1
    import_ahead()
    pipe = _take_standard_input()
    size = _read(pipe, 8)
    body = _read(pipe, int.from_bytes(size, "big")) if len(size) == 8 else b""
    if not body:
        return 0  # the host ended without a request
    threading.Thread(target=_end_with_the_host, args=(pipe,), daemon=True).start()

    from pulumi.runtime.proto import language_pb2

    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run(language_pb2.RunRequest.FromString(body))


def run(request: language_pb2.RunRequest) -> int:
    """Run the program of ``request`` inside a stack; return this process's exit code."""
    import asyncio
    import logging
    import runpy
    from concurrent.futures import ThreadPoolExecutor

    import pulumi

    _configure(request)
    program = os.path.join(request.info.program_directory or request.pwd, request.info.entry_point or ".")
    sys.argv = [request.info.entry_point or ".", *request.args]
    os.chdir(request.pwd)
    # A failed program leaves futures unobserved on purpose; asyncio's complaints about them help nobody.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(max_workers=max(request.parallel, 1) * 4)
    loop.set_default_executor(executor)

    def start() -> None:
        # The loop runs on this thread while the program's own code does, as with the official executor.
        runpy.run_path(program, run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(start))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return ALREADY_EXPLAINED
    except Exception as error:
        pulumi.log.error(f"Program failed with an unhandled exception:\n{_users_traceback(error, program)}")
        return ALREADY_EXPLAINED
    finally:
        executor.shutdown(wait=True)
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _configure(request: language_pb2.RunRequest) -> None:
    import pulumi.runtime

    pulumi.runtime.set_all_config(dict(request.config), list(request.configSecretKeys))
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            monitor=request.monitor_address,
            engine=_engine_address(request),
            project=request.project,
            stack=request.stack,
            parallel=request.parallel,
            dry_run=request.dryRun,
            organization=request.organization,
            root_directory=request.info.root_directory,
        )
    )


def _engine_address(request: language_pb2.RunRequest) -> str:
    """The host adds the engine's address as the last argument; the program doesn't see it."""
    return request.args.pop()


def _users_traceback(error: BaseException, program: str) -> str:
    """The traceback of ``error`` from the program's first line on; all of it when the program isn't in it."""
    import traceback

    path = Path(program)
    main = (path / "__main__.py" if path.is_dir() else path).resolve()
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(frames) if Path(frame.filename).resolve() == main), 0)
    return "".join(traceback.format_exception(error, limit=first - len(frames)))


def _import_sdk() -> bool:
    sys.meta_path.insert(0, ImportedOnUse("pulumi.automation"))
    try:
        import pulumi
        import pulumi.runtime  # noqa: F401
    except ImportError as error:
        print(
            f"The Pulumi SDK can't be imported by {sys.executable} ({error}).\n"
            "Make the environment of this checkout again: remove .venv, then run ./gaia setup.",
            file=sys.stderr,
        )
        return False
    return True


def import_ahead() -> None:
    """Import what GAIA_IMPORT_AHEAD names: the engine is busy meanwhile, and then the process finds it done."""
    for name in os.environ.get("GAIA_IMPORT_AHEAD", "").split():
        try:
            importlib.import_module(name)
        except Exception:  # the process will say it better, with its own traceback
            continue


class ImportedOnUse:
    """Let one module be imported when something of it is first used.

    ``pulumi/__init__.py`` imports the Automation API, a third of its time; a program hardly ever uses it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def _take_standard_input() -> int:
    """Keep the host's pipe for ourselves; the program and its children see an empty standard input."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def _read(pipe: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := os.read(pipe, size - len(data))):
        data += more
    return data


def _end_with_the_host(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
