"""Run one Pulumi program in this process: what the language host starts by path, under the program's own Python.

It imports nothing of this repository, so that it works in any environment that has the SDK. On the socket it is given
it takes a host's connection, from that an 8-byte length, standard output and error, and a serialized
``pulumirpc.RunRequest``; it runs the program as the official ``pulumi-language-python-exec`` does, and answers with a
byte: 0; 32 when it has told the engine what is wrong; anything else when it hasn't.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.util
import os
import select
import socket
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi.runtime.proto import language_pb2

ALREADY_EXPLAINED = 32
_LINGER_S = 10.0
"""How long to wait for an engine's next host, which comes after half a second on a quiet machine."""
_LOOK_EVERY_S = 0.1


def main(listener: socket.socket, engine: int, path: str) -> int:
    """Import the SDK, wait for a host's request, run it."""
    # A process of a few seconds, most of them imports: the collector would take a fifth of these, and find little.
    gc.disable()
    missing = _import_sdk()
    if not missing:
        import_ahead()
    taken = _await_request(listener, engine, path)
    if taken is None:
        return 0  # the engine ended, or its hosts did, without a request
    host, body = taken
    # The first that is registered is called last: whoever waits for the answer doesn't wait for gRPC to be taken down.
    atexit.register(_answer, host)
    threading.Thread(target=_end_with_the_host, args=(host,), daemon=True).start()
    if missing:
        print(missing, file=sys.stderr)
        return 1

    from pulumi.runtime.proto import language_pb2

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


def _import_sdk() -> str:
    """Import it; returns what to tell the user where it can't be."""
    sys.meta_path.insert(0, ImportedOnUse("pulumi.automation"))
    try:
        import pulumi
        import pulumi.runtime  # noqa: F401
    except ImportError as error:
        return (
            f"The Pulumi SDK can't be imported by {sys.executable} ({error}).\n"
            "Make the environment of this checkout again: remove .venv, then run ./gaia setup."
        )
    return ""


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


def _await_request(listener: socket.socket, engine: int, path: str) -> tuple[socket.socket, bytes] | None:
    """The host that has a program to run, and its request; hosts that end without one are left."""
    lonely_since = time.monotonic()
    while _lives(engine) and time.monotonic() - lonely_since < _LINGER_S:
        if select.select([listener], [], [], _LOOK_EVERY_S)[0]:
            if (taken := _take(listener)) is not None:
                _remove(path)
                return taken
            lonely_since = time.monotonic()
    _remove(path)
    # One that came before the socket was gone is served.
    return _take(listener) if select.select([listener], [], [], 0)[0] else None


def _take(listener: socket.socket) -> tuple[socket.socket, bytes] | None:
    host, _ = listener.accept()
    size, descriptors, _, _ = socket.recv_fds(host, 8, 2)
    body = _read(host, int.from_bytes(size, "big")) if len(size) == 8 else b""
    for number, descriptor in enumerate(descriptors, start=1):
        if body:
            os.dup2(descriptor, number)
        os.close(descriptor)
    if body:
        return host, body
    host.close()
    return None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _read(host: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (more := host.recv(min(size - len(data), 1 << 20))):
            return b""
        data += more
    return bytes(data)


def _answer(host: socket.socket) -> None:
    with contextlib.suppress(OSError):
        host.sendall(bytes([_exit_code & 0xFF]))


def _end_with_the_host(host: socket.socket) -> None:
    while host.recv(4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    _exit_code = 1
    try:
        _exit_code = main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3])
    except SystemExit as error:
        _exit_code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    sys.exit(_exit_code)
