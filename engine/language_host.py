"""The Python language host of the built engine: what ``pulumi-language-python`` starts.

The engine starts it with its own address as the last argument, reads a port from its first line,
and speaks ``pulumirpc.LanguageRuntime`` to it. The official host comes only with the official
release; this one comes with the build from Go modules.

Two processes share the start-up, because ``import pulumi`` takes most of a second: the program's
process is started at once and imports the SDK, while this one loads only gRPC and the generated
messages.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from concurrent.futures import ThreadPoolExecutor

from engine.program_process import ProgramProcess

_MESSAGE_LIMIT = 400 * 1024 * 1024
"""Bytes in one message: the engine's own limit (``sdk/go/common/util/rpcutil``)."""


def main(arguments: list[str]) -> None:
    """Serve the engine until it closes our standard input, which it does by ending in whatever way."""
    waiting = ProgramProcess.take_over_or_start(sys.executable, os.getppid())
    engine_address = arguments[-1] if arguments else ""
    import_messages_alone()

    import grpc
    from pulumi.runtime.proto import language_pb2_grpc

    from engine.language_runtime import LanguageRuntime

    server = grpc.server(
        ThreadPoolExecutor(max_workers=8),
        options=[
            ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
            ("grpc.max_send_message_length", _MESSAGE_LIMIT),
        ],
    )
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageRuntime(engine_address, waiting), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    while os.read(0, 4096):
        pass
    # The program ends with us: it watches the other end of its connection. Nothing here is worth an orderly end.
    os._exit(0)


def import_messages_alone() -> None:
    """Let ``pulumi.runtime.proto`` be imported without the SDK around it.

    ``pulumi/__init__.py`` imports all of the SDK (0.6 to 0.9 s), and the generated modules need
    none of it: bare packages with the same search path stand in for their three parents.
    """
    if "pulumi" in sys.modules:
        return
    spec = importlib.util.find_spec("pulumi")
    if spec is None or not spec.submodule_search_locations:
        return
    folder = spec.submodule_search_locations[0]
    for name in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(folder, *name.split(".")[1:])]
        sys.modules[name] = package


if __name__ == "__main__":
    # The engine ends its plugins with an interrupt; the default action is the fastest end.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(sys.argv[1:])
