"""Run a Python module as a plugin that ends when the engine does: ``python -m engine.attached MODULE|FOLDER ARG…``.

The SDK's own plugin processes (``pulumi.dynamic``, ``pulumi.policy``) outlive an engine that was killed.
This one holds the pipe that the engine keeps open to it, and ends when that closes.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

from engine.program import ImportedOnUse


def main(arguments: list[str]) -> None:
    """Run the module, or the folder, named by the first argument with the other arguments."""
    prepare()
    run(arguments)


def prepare() -> None:
    """End with the engine, and import less of the SDK. Before the SDK is imported."""
    end_with_the_engine()
    sys.meta_path.insert(0, ImportedOnUse("pulumi.automation"))


def run(arguments: list[str]) -> None:
    """Run the module or the folder in this process, then end it."""
    sys.argv = arguments
    if "/" in arguments[0]:
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    # The module has stopped its server, on the engine's interrupt. The interpreter would take another third of a
    # second to take gRPC down, and the engine waits for it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def end_with_the_engine() -> None:
    """Watch standard input from a thread, and leave the plugin's own code an empty one."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    if os.getpgrp() == os.getpid():
        # The engine gives each plugin a process group: what the plugin started in it ends too.
        os.killpg(0, signal.SIGTERM)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
