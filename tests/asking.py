"""Requests to the rehearsal's cloud without a server in between, as its operator or as a service account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from rehearsal.cloud import operations
from rehearsal.cloud.app import Asked, respond
from rehearsal.cloud.call import Media
from rehearsal.cloud.discovery import HOSTS
from rehearsal.cloud.state import Cloud

PROJECT, NUMBER, REGION = "demo-proj", "123456789012", "europe-west1"
TIMEOUT_S = 120


def a_cloud(folder: Path, *, enabled: bool = True) -> Cloud:
    """A project, with every API on or none but the first ones."""
    cloud = Cloud(folder=folder, project=PROJECT, number=NUMBER, region=REGION)
    if enabled:
        cloud.enabled |= set(HOSTS)
    return cloud


def ask(cloud: Cloud, request: str, body: Any = None, *, email: str | None = None) -> tuple[int, Any]:
    """``"GET secretmanager/v1/…?pageSize=1"``: the status and the answer; an operation is waited for.

    An operation that fails is answered with its error.
    """
    verb, _, path = request.partition(" ")
    path, _, query = path.partition("?")
    token = cloud.operator_token if email is None else cloud.token_for(email)
    asked = Asked(
        verb=verb,
        path=path,
        query=parse_qsl(query, keep_blank_values=True),
        headers={"authorization": f"Bearer {token}"},
        body=b"" if body is None else json.dumps(body).encode(),
    )
    code, answer = respond(cloud, asked)
    return _ended(cloud, code, answer)


def done(cloud: Cloud, request: str, body: Any = None) -> Any:
    """The answer of a request that succeeds; of an operation, its response."""
    code, answer = ask(cloud, request, body)
    assert code < 300, f"{request}: {answer}"
    return answer


def refused(cloud: Cloud, request: str, body: Any = None, *, email: str | None = None) -> tuple[int, str]:
    """Code and message of a request that fails."""
    code, answer = ask(cloud, request, body, email=email)
    assert code >= 400, f"{request} was answered: {answer}"
    return code, answer["error"]["message"]


def _ended(cloud: Cloud, code: int, answer: Any) -> tuple[int, Any]:
    name = answer.get("name") if isinstance(answer, dict) and not isinstance(answer, Media) else None
    if name is None or name not in cloud.collection("operations"):
        return code, answer
    operation = operations.get(cloud, name)
    assert operation.finished.wait(TIMEOUT_S)
    if operation.error is not None:
        return operation.error.code, operation.error.document("")
    return code, operation.response or answer
