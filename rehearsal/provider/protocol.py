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
from google.protobuf import any_pb2, struct_pb2
from google.rpc import status_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How the protocol writes a value that isn't known before the update runs."""
SECRET_MARK = "4dabf18193072939515e22adb298388d"  # noqa: S105 - the protocol's mark, no secret
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105

MESSAGE_BYTES = 400 * 1024 * 1024
"""The engine's own limit."""

Properties = dict[str, Any]
Servicer = provider_pb2_grpc.ResourceProviderServicer


def to_plain(struct: struct_pb2.Struct) -> Properties:
    """Whole numbers become int, nulls are left out, a secret gives its value."""
    plain = {key: item for key, value in struct.fields.items() if (item := _plain(value)) is not None}
    return plain["value"] if plain.get(SECRET_MARK) == SECRET_SIGNATURE else plain


def _plain(value: struct_pb2.Value) -> Any:
    # Several times as fast as json_format, which a preview of a hundred resources feels.
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "struct_value":
        return to_plain(value.struct_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    if kind == "number_value":
        return int(value.number_value) if value.number_value.is_integer() else value.number_value
    return value.bool_value if kind == "bool_value" else None


def to_struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update({key: value for key, value in properties.items() if value is not None})
    return struct


def secret(value: Any) -> Properties:
    """A value that the engine keeps encrypted and never shows."""
    return {SECRET_MARK: SECRET_SIGNATURE, "value": value}


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


def serve(servicer: Servicer | Mapping[str, Servicer]) -> None:
    """Listens on free ports of 127.0.0.1, says so on stdout's first line, and serves until told to end.

    One servicer's line is its port; several, by package, are the value for the engine's PULUMI_DEBUG_PROVIDERS.
    The end is SIGTERM, SIGINT, or the end of stdin where that is a pipe: whoever started this has gone.
    """
    several = isinstance(servicer, Mapping)
    listening = {name: listen(one) for name, one in (servicer if several else {"": servicer}).items()}
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if _is_pipe(sys.stdin.fileno()):
        threading.Thread(target=_set_at_end_of_stdin, args=(ended,), daemon=True).start()
    print(",".join(f"{name}:{port}" if several else f"{port}" for name, (_, port) in listening.items()), flush=True)
    ended.wait()
    for stopping in [server.stop(grace=2) for server, _ in listening.values()]:
        stopping.wait()


def listen(servicer: Servicer) -> tuple[grpc.Server, int]:
    """A server that serves already, and its port."""
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
    # Calls wait for the cloud most of the time.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _set_at_end_of_stdin(ended: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ended.set()
