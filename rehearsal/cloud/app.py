"""The HTTP server: one port on loopback, one prefix a service, every request checked before it is answered."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from rehearsal.cloud import discovery, iam, rules, services
from rehearsal.cloud.call import Answer, Call, Media
from rehearsal.cloud.errors import GoogleError, invalid
from rehearsal.cloud.fields import selected
from rehearsal.cloud.state import Cloud

_VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_START_TIMEOUT_S = 60
_NULL_DELETES = frozenset({"storage", "compute", "sqladmin"})


@contextmanager
def running(cloud: Cloud) -> Iterator[str]:
    """The cloud as a server in a thread, on a port that the kernel chose; yields its URL."""
    # With the protocol named, asyncio sends small answers at once (TCP_NODELAY) instead of 40 ms later.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    cloud.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        application(cloud),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="cloud", daemon=True)
    thread.start()
    try:
        _await_start(server, thread)
        yield cloud.url
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        cloud.close()


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the cloud's server did not start")
        time.sleep(0.005)


def application(cloud: Cloud) -> Starlette:
    """The ASGI application."""
    services.registered()

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(respond, cloud, request, body)

    return Starlette(routes=[Route("/{path:path}", endpoint, methods=_VERBS)])


def respond(cloud: Cloud, request: Request, body: bytes) -> Response:
    """Answer one request, whatever happens, in the service's own shape."""
    started = time.monotonic()
    raw = request.scope["raw_path"].decode("ascii").lstrip("/")
    service, _, path = raw.partition("/")
    seen = _Seen()
    try:
        answer = _answered(cloud, request, service, path, body, seen)
        response = _rendered(answer, request.query_params.get("fields") or request.query_params.get("$fields"))
        code, message = response.status_code, None
    except GoogleError as error:
        code, message = error.code, error.message
        response = _json(error.document(service), code)
    except Exception as error:
        code, message = 500, f"{type(error).__name__}: {error}"
        response = _json(GoogleError(500, f"Internal error of the rehearsal: {message}").document(service), 500)
    cloud.record(
        started=started,
        method=seen.method or f"{request.method} {service}/{path}",
        resource=seen.resource,
        principal=seen.principal,
        code=code,
        message=message,
    )
    return response


class _Seen:
    """What is known of a request so far, for the journal."""

    method = ""
    resource = ""
    principal = ""


def _answered(cloud: Cloud, request: Request, service: str, path: str, body: bytes, seen: _Seen) -> Answer:
    found = discovery.find(service, request.method, path)
    seen.method = found.method.id
    seen.principal = principal = _principal(cloud, request)
    values = {name: cloud.canonical(value) for name, value in found.path.items()}
    _check_project(cloud, values)
    sent, media = _content(found, request, body)
    call = Call(
        cloud=cloud,
        method=found.method,
        path=values,
        query=discovery.checked_query(found.method, parse_qsl(request.url.query, keep_blank_values=True)),
        body=sent if service in _NULL_DELETES else without_nulls(sent),
        sent=sent,
        principal=principal,
        media=media,
        headers=dict(request.headers),
    )
    seen.resource = call.name
    if (fault := cloud.fault(found.method.id)) is not None:
        time.sleep(fault.delay_s)
        if fault.error is not None:
            raise fault.error
    return dispatch(call)


def dispatch(call: Call) -> Answer:
    """What a call that is well-formed is answered: is its API on, may the caller, do the rules allow it."""
    service, registered = call.method.service, services.registered().get(call.method.id)
    _check_enabled(call.cloud, service, call.method.document.title)
    if registered is None:
        raise GoogleError(501, f"not modelled: {call.method.id}")
    if registered.permission is not None:
        iam.require(call.cloud, call.principal, registered.permission, service, registered.on(call))
    with call.cloud.lock:
        rules.check(call)
    return registered.handler(call)


def _principal(cloud: Cloud, request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    principal = cloud.principal(token.strip()) if scheme.lower() == "bearer" else None
    if principal is None:
        raise iam.unknown_principal(bool(token))
    return principal


def _check_project(cloud: Cloud, values: dict[str, str]) -> None:
    for name, value in values.items():
        parts = value.split("/")
        project = value if name in ("project", "projectId") else parts[1] if parts[0] == "projects" else None
        if project not in (None, "_", "-", cloud.project, cloud.number):
            info = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "CONSUMER_INVALID",
                "domain": "googleapis.com",
                "metadata": {"consumer": f"projects/{project}"},
            }
            raise GoogleError(403, f"Permission denied on resource project {project}.", details=(info,))


def _check_enabled(cloud: Cloud, service: str, title: str) -> None:
    """https://cloud.google.com/service-usage/docs/enable-disable; service usage itself can't be off."""
    if service == "serviceusage" or service in cloud.enabled:
        return
    host, where = discovery.HOSTS[service], "https://console.developers.google.com/apis/api"
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {"service": host, "consumer": f"projects/{cloud.number}"},
    }
    raise GoogleError(
        403,
        f"{title} has not been used in project {cloud.number} before or it is disabled. Enable it by visiting "
        f"{where}/{host}/overview?project={cloud.number} then retry. If you enabled this API recently, wait a few "
        "minutes for the action to propagate to our systems and retry.",
        reason="accessNotConfigured",
        details=(info,),
    )


# What came, and what goes.


def _content(found: discovery.Match, request: Request, body: bytes) -> tuple[dict[str, Any], bytes | None]:
    if not found.upload:
        return discovery.checked_body(found.method, _read(body)), None
    if request.query_params.get("uploadType") == "multipart":
        metadata, media = _parts(request.headers.get("content-type", ""), body)
        return discovery.checked_body(found.method, _read(metadata)), media
    if request.query_params.get("uploadType") == "resumable" and "upload_id" not in request.query_params:
        return discovery.checked_body(found.method, _read(body)), None
    return {}, body


def _read(body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise invalid("Invalid JSON payload received. Unable to parse.", field="") from None


def _parts(content_type: str, body: bytes) -> tuple[bytes, bytes]:
    """The two parts of a ``multipart/related`` upload: metadata, then content."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = message.get_payload()
    if not isinstance(parts, list) or len(parts) != 2:
        raise invalid("Malformed multipart body.")
    metadata, media = (part.get_payload(decode=True) for part in parts)  # pyright: ignore[reportAttributeAccessIssue]
    return bytes(metadata), bytes(media)


def without_nulls(value: Any) -> Any:
    """A field sent as null is a field left out: https://protobuf.dev/programming-guides/json/"""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _rendered(answer: Answer, fields: str | None) -> Response:
    if answer is None:
        return Response(status_code=204)
    if isinstance(answer, Media):
        if isinstance(answer.content, bytes):
            return Response(answer.content, answer.code, answer.headers, media_type=answer.media_type)
        return FileResponse(answer.content, answer.code, answer.headers, media_type=answer.media_type)
    return _json(selected(answer, fields) if fields else answer, 200)


def _json(document: Any, code: int) -> Response:
    # With the quoting of HTML's signs Google differs; readers of JSON don't see it.
    return Response(json.dumps(document).encode(), code, media_type="application/json")
