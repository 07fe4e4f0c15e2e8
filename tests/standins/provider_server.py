"""Serves a Pulumi resource provider written in Python, and turns the protocol's values into plain ones and back.

Nothing here knows a cloud or a resource: a stand-in brings its own servicer.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Mapping
from concurrent import futures
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, json_format, struct_pb2
from google.rpc import status_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How the protocol writes a value that isn't known before the update runs."""
SECRET_MARK = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"

MESSAGE_BYTES = 400 * 1024 * 1024
"""The engine's own limit."""

Properties = dict[str, Any]


def to_plain(struct: struct_pb2.Struct) -> Properties:
    """Whole numbers become int, nulls are left out, a secret gives its value."""
    return _plain(json_format.MessageToDict(struct))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(SECRET_MARK) == SECRET_SIGNATURE:
            return _plain(value.get("value"))
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def to_struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update({key: value for key, value in properties.items() if value is not None})
    return struct


def has_unknown(value: Any) -> bool:
    """Whether a value, or anything in it, is known only after the update."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return value == UNKNOWN


def fail(context: grpc.ServicerContext, message: str) -> NoReturn:
    context.abort(grpc.StatusCode.UNKNOWN, message)
    raise AssertionError("abort raises")


def fail_half_made(
    context: grpc.ServicerContext, message: str, *, resource_id: str, state: Properties, inputs: Properties
) -> NoReturn:
    """Tells the engine that the resource exists but isn't right: it goes into the state, so nothing is orphaned."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=resource_id, properties=to_struct(state), reasons=[message], inputs=to_struct(inputs)
    )
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message, details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    fail(context, message)


def serve(servicer: provider_pb2_grpc.ResourceProviderServicer) -> None:
    """Listens on a free port of 127.0.0.1, prints it on stdout's first line, and serves until told to end.

    The end is SIGTERM, SIGINT, or the end of stdin where that is a pipe: whoever started this has gone.
    """
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if _is_pipe(sys.stdin.fileno()):
        threading.Thread(target=_set_at_end_of_stdin, args=(ended,), daemon=True).start()
    server.start()
    print(port, flush=True)
    ended.wait()
    server.stop(grace=2).wait()


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _set_at_end_of_stdin(ended: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ended.set()
