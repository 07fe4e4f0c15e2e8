"""A stand-in for the part of Google's APIs that a backup needs: sqladmin v1 and the metadata server, on loopback.

Written after the published shapes (https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1) and the errors in
recordings of the official provider's traffic. What Google itself sends was not seen from here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PROJECT, REGION, INSTANCE = "demo-proj", "us-west1", "gaia-prod-db"
CONNECTION_NAME = f"{PROJECT}:{REGION}:{INSTANCE}"
TIME = "2026-11-23T05:07:17.074Z"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """What to answer once instead of the truth."""

    status: int = 503
    reason: str = "backendError"
    message: str = "Try again later."
    retry_after: str = ""
    drop: bool = False
    """End the connection without an answer."""
    after: bool = False
    """First do what was asked."""
    method: str = ""
    """Only for this method."""


@dataclasses.dataclass(kw_only=True)
class SqlAdmin:
    """The server's state, for a test to set and to read."""

    url: str = ""
    host: str = ""
    tokens: list[str] = dataclasses.field(default_factory=lambda: ["ya29.canary-token"])
    """Valid ones; the metadata server gives the last."""
    polls: int = 1
    """How often an operation is RUNNING before it is DONE."""
    run_polls: int = 0
    """How often its backup is RUNNING after that."""
    ends_as: str = "SUCCESSFUL"
    operation_error: dict[str, str] | None = None
    with_context: bool = True
    page_size: int = 2
    faults: list[Fault] = dataclasses.field(default_factory=list)
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    bodies: list[Any] = dataclasses.field(default_factory=list)
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    operations: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    token_requests: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What leads the job here."""
        return {"GAIA_SQLADMIN_URL": self.url, "GCE_METADATA_HOST": self.host, "GAIA_INSTANCE": CONNECTION_NAME}

    def insert(self, description: str) -> dict[str, Any]:
        """Begin a backup."""
        number = len(self.runs) + 1
        run = {
            "kind": "sql#backupRun",
            "id": str(1_763_000_000_000 + number),
            "status": "RUNNING",
            "type": "ON_DEMAND",
            "description": description,
            "instance": INSTANCE,
            "enqueuedTime": TIME,
            "location": "us",
            "databaseVersion": "POSTGRES_16",
            "backupKind": "SNAPSHOT",
        }
        operation: dict[str, Any] = {
            "kind": "sql#operation",
            "name": f"5a5f0f80-16e1-49f8-9f27-{number:012d}",
            "status": "PENDING",
            "operationType": "BACKUP_VOLUME",
            "targetId": INSTANCE,
            "targetProject": PROJECT,
            "insertTime": TIME,
        }
        if self.with_context:
            operation["backupContext"] = {"kind": "sql#backupContext", "backupId": run["id"]}
        self.runs.insert(0, run)  # the API lists the newest first
        self.operations[operation["name"]] = {**operation, "left": self.polls, "run": run}
        return operation

    def operation(self, name: str) -> dict[str, Any] | None:
        """What a poll gives."""
        if (found := self.operations.get(name)) is None:
            return None
        found["left"] -= 1
        found["status"] = "RUNNING" if found["left"] >= 0 else "DONE"
        if found["status"] == "DONE":
            if self.operation_error:
                errors = [{"kind": "sql#operationError", **self.operation_error}]
                found["error"] = {"kind": "sql#operationErrors", "errors": errors}
            if not self.run_polls:
                found["run"]["status"] = self.ends_as
        return {key: value for key, value in found.items() if key not in {"left", "run"}}

    def run(self, run_id: str) -> dict[str, Any] | None:
        """What a look at a backup gives."""
        found = next((run for run in self.runs if run["id"] == run_id), None)
        if found and found["status"] == "RUNNING":
            self.run_polls -= 1
            if self.run_polls <= 0:
                found["status"] = self.ends_as
                if self.ends_as == "FAILED":
                    found["error"] = {"kind": "sql#operationError", "code": "INTERNAL_ERROR", "message": "disk"}
        return found

    def page(self, token: str) -> dict[str, Any]:
        """A page of backups."""
        start = int(token or 0)
        page: dict[str, Any] = {
            "kind": "sql#backupRunsList",
            "items": self.runs[start : start + self.page_size],
        }
        if start + self.page_size < len(self.runs):
            page["nextPageToken"] = str(start + self.page_size)
        return page


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: SqlAdmin

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET", None)

    def do_POST(self) -> None:
        self._handle("POST", json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0)))))

    def _handle(self, method: str, body: Any) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith("/computeMetadata/"):
            return self._metadata(parts.path)
        self.state.requests.append((method, parts.path))
        self.state.bodies.append(body)
        fault = self._fault(method)
        if fault and not fault.after:
            return self._fail(fault)
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.state.tokens:
            return self._error(401, "Request had invalid authentication credentials.", "authError")
        status, answer = self._answer(method, parts.path, parse_qs(parts.query), body)
        if fault:
            return self._fail(fault)
        if answer is None:
            return self._error(status, "The requested resource does not exist.", "notFound")
        return self._send(200, answer)

    def _metadata(self, path: str) -> None:
        self.state.token_requests += 1
        if self.headers.get("Metadata-Flavor") != "Google" or not path.endswith("/service-accounts/default/token"):
            return self._send(403, {})
        return self._send(200, {"access_token": self.state.tokens[-1], "expires_in": 3599, "token_type": "Bearer"})

    def _fault(self, method: str) -> Fault | None:
        for fault in self.state.faults:
            if fault.method in {"", method}:
                self.state.faults.remove(fault)
                return fault
        return None

    def _fail(self, fault: Fault) -> None:
        if fault.drop:
            self.close_connection = True
            self.connection.close()
            return
        self._error(fault.status, fault.message, fault.reason, fault.retry_after)

    def _answer(self, method: str, path: str, query: Any, body: Any) -> tuple[int, dict[str, Any] | None]:
        found = re.fullmatch(rf"/v1/projects/{PROJECT}/(.*)", unquote(path))
        rest = found[1] if found else ""
        runs = f"instances/{INSTANCE}/backupRuns"
        if method == "POST" and rest == runs:
            return 200, self.state.insert(body["description"])
        if method == "GET" and rest == runs:
            return 200, self.state.page(query.get("pageToken", [""])[0])
        if method == "GET" and rest.startswith(f"{runs}/"):
            return 404, self.state.run(rest.rpartition("/")[2])
        if method == "GET" and rest.startswith("operations/"):
            return 404, self.state.operation(rest.rpartition("/")[2])
        return 404, None

    def _error(self, code: int, message: str, reason: str, retry_after: str = "") -> None:
        errors = [{"message": message, "domain": "global", "reason": reason}]
        self._send(code, {"error": {"code": code, "message": message, "errors": errors}}, retry_after)

    def _send(self, status: int, data: Any, retry_after: str = "") -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def serving() -> Iterator[SqlAdmin]:
    """The stand-in on a free port of 127.0.0.1."""
    state = SqlAdmin()
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.host = f"127.0.0.1:{server.server_port}"
    state.url = f"http://{state.host}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
