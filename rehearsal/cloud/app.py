"""The HTTP server: one port on loopback, one prefix a service, every request checked before it is answered."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from rehearsal.cloud import discovery, iam, operations, rules, services
from rehearsal.cloud.call import Answer, Call, Media
from rehearsal.cloud.errors import GoogleError, invalid
from rehearsal.cloud.fields import selected
from rehearsal.cloud.state import Cloud

_VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_START_TIMEOUT_S, _END_TIMEOUT_S = 60, 10
_READS = (".getIamPolicy", ".testIamPermissions")
"""What only reads although it may be a POST."""
_CONTENT = re.compile("(resumable/)?(upload|download)/storage/")


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
        operations.await_all(cloud, timeout_s=_END_TIMEOUT_S)


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
        asked = Asked(
            verb=request.method,
            path=request.scope["raw_path"].decode("ascii").lstrip("/"),
            query=parse_qsl(request.url.query, keep_blank_values=True),
            headers=dict(request.headers),
            body=await request.body(),
        )
        return _rendered(*await run_in_threadpool(respond, cloud, asked))

    return Starlette(routes=[Route("/{path:path}", endpoint, methods=_VERBS)])


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came; ``path`` is still quoted and begins with the prefix of the service."""

    verb: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def first(self, name: str) -> str | None:
        return next((value for key, value in self.query if key == name), None)


def respond(cloud: Cloud, asked: Asked) -> tuple[int, Answer]:
    """Status and answer of one request, whatever happens, in the service's own shape; written into the journal."""
    started = time.monotonic()
    # gcloud takes only host and port of its override for an object's content, and begins with the path of the upload.
    head = "" if not _CONTENT.match(asked.path) else "storage/"
    service, _, path = f"{head}{asked.path}".partition("/")
    seen = _Seen()
    message = None
    try:
        answer = _answered(cloud, asked, service, path, seen)
        code = answer.code if isinstance(answer, Media) else 200 if answer is not None else 204
    except GoogleError as error:
        code, message, answer = error.code, error.message, error.document(service)
    except Exception as error:
        code, message = 500, f"{type(error).__name__}: {error}"
        answer = GoogleError(500, f"Internal error of the rehearsal: {message}").document(service)
    cloud.record(
        started=started,
        method=seen.method or f"{asked.verb} {asked.path}",
        resource=seen.resource,
        principal=seen.principal,
        code=code,
        message=message,
    )
    return code, answer


class _Seen:
    """What is known of a request so far, for the journal."""

    method = ""
    resource = ""
    principal = ""


def _answered(cloud: Cloud, asked: Asked, service: str, path: str, seen: _Seen) -> Answer:
    found = discovery.find(service, asked.verb, path)
    seen.method = found.method.id
    seen.principal = principal = _principal(cloud, asked)
    values = {name: _canonical(cloud, name, value) for name, value in found.path.items()}
    seen.resource = next(iter(values.values()), "")
    _check_project(cloud, values)
    sent, media = _content(found, asked)
    call = Call(
        cloud=cloud,
        method=found.method,
        path=values,
        query=discovery.checked_query(found.method, asked.query),
        body=without_nulls(sent),
        sent=sent,
        principal=principal,
        media=media,
        headers=asked.headers,
        alt=asked.first("alt") or "json",
        upload=dict(asked.query) if found.upload else {},
    )
    fault = cloud.fault(found.method.id, writes=asked.verb != "GET" and not found.method.id.endswith(_READS))
    if fault is not None:
        time.sleep(fault.delay_s)
        if fault.meanwhile is not None:
            fault.meanwhile()
        if fault.error is not None and not fault.after_work:
            raise fault.error
    answer = dispatch(call)
    if fault is not None and fault.error is not None:
        raise fault.error
    if isinstance(answer, dict):
        with cloud.lock:
            answer = deepcopy(answer)  # what is kept may change while it is written out
    fields = asked.first("fields") or asked.first("$fields")
    return selected(answer, fields) if fields and isinstance(answer, dict) else answer


def _canonical(cloud: Cloud, name: str, value: str) -> str:
    return cloud.project if name in ("project", "projectId") and value == cloud.number else cloud.canonical(value)


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


def _principal(cloud: Cloud, asked: Asked) -> str:
    scheme, _, token = asked.headers.get("authorization", "").partition(" ")
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


def _content(found: discovery.Match, asked: Asked) -> tuple[dict[str, Any], bytes | None]:
    kind = asked.first("uploadType")
    if not found.upload:
        return discovery.checked_body(found.method, _read(asked.body)), None
    if kind == "multipart":
        metadata, media = _parts(asked.headers.get("content-type", ""), asked.body)
        return discovery.checked_body(found.method, _read(metadata)), media
    if kind == "resumable" and asked.verb == "POST":
        return discovery.checked_body(found.method, _read(asked.body)), None
    return {}, asked.body


def _read(body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise invalid("Invalid JSON payload received. Unable to parse.", field="") from None


def _parts(content_type: str, body: bytes) -> tuple[bytes, bytes]:
    """The two parts of a ``multipart/related`` upload: metadata, then content, byte for byte."""
    boundary = re.search(r"""boundary=["']?([^"';]+)""", content_type)
    # A line's end before a boundary belongs to the boundary: RFC 2046, 5.1.1.
    parts = (b"\r\n" + body).split(f"\r\n--{boundary[1]}".encode()) if boundary else []
    if len(parts) < 3:
        parts = (b"\n" + body).split(f"\n--{boundary[1]}".encode()) if boundary else []
    if len(parts) != 4 or not parts[3].startswith(b"--"):
        raise invalid("Malformed multipart body.")
    metadata, media = (re.split(rb"\r?\n\r?\n", part, maxsplit=1) for part in parts[1:3])
    if len(metadata) != 2 or len(media) != 2:
        raise invalid("Malformed multipart body.")
    return metadata[1], media[1]


def without_nulls(value: Any) -> Any:
    """A field sent as null is a field left out: https://protobuf.dev/programming-guides/json/"""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _rendered(code: int, answer: Answer) -> Response:
    if isinstance(answer, Media):
        if isinstance(answer.content, bytes):
            return Response(answer.content, code, answer.headers, media_type=answer.media_type)
        return FileResponse(answer.content, code, answer.headers, media_type=answer.media_type)
    if answer is None:
        return Response(status_code=code)
    return Response(json.dumps(answer).encode(), code, media_type="application/json")
