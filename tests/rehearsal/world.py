"""A cloud that resources of a plan are made in one by one, by the built-in provider's own code, without an engine."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rehearsal.cloud.app import Asked, respond
from rehearsal.cloud.state import Cloud
from rehearsal.provider import checking
from rehearsal.provider.endpoints import endpoints
from rehearsal.provider.resource import Account, HalfMadeError, ProviderError, Resource
from rehearsal.provider.rest import Rest, RestError
from rehearsal.provider.types import TYPES
from tests.production import planning
from tests.production.planning import Plan, Registered

NUMBER, REGION = "123456789012", "us-west1"


class _Direct(Rest):
    """The cloud's answers without a connection."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud.operator_token, threading.Event())
        self._cloud = cloud

    def _once(self, verb: str, url: str, body: Any) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(url)
        asked = Asked(
            verb=verb,
            path=parts.path.lstrip("/"),
            query=parse_qsl(parts.query, keep_blank_values=True),
            headers={"authorization": f"Bearer {self._cloud.operator_token}"},
            body=b"" if body is None else json.dumps(body).encode(),
        )
        code, answer = respond(self._cloud, asked)
        return code, answer if isinstance(answer, dict) else {}


class World:
    """A project with nothing in it, and what was made there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.cloud = Cloud(folder=folder, project=planning.PROJECT, number=NUMBER, region=REGION)
        # These two are on in a new project: a program that forgets them works there, and fails in an older one.
        self.cloud.enabled = {"serviceusage"}
        addresses = {key.removeprefix("gcp:"): value for key, value in endpoints("http://cloud").items()}
        configuration = {"project": planning.PROJECT, "region": REGION, **addresses}
        self._account = Account(configuration=configuration, rest=_Direct(self.cloud))
        self._real: dict[str, str] = {}

    def make(self, each: Registered) -> str | None:
        """Make it; why that was refused."""
        if each.type not in TYPES:
            return None
        kind = TYPES[each.type]
        inputs, failures = checking.check(kind, self._translated(each.inputs))
        if failures:
            return failures[0].reason(each.name)
        try:
            made, state = (kind.behaviour or Resource)(kind, self._account).create(inputs)
        except (ProviderError, RestError, HalfMadeError) as error:
            return str(error)
        self._real[f"{each.name}-id"] = made
        if each.type.endswith(":NotificationChannel"):
            self._real[f"projects/{planning.PROJECT}/notificationChannels/{each.name}"] = state["name"]
        if "selfLink" in state and "name" in inputs:
            self._real[f"link/{inputs['name']}"] = state["selfLink"]
        return None

    def close(self) -> None:
        self._account.rest.close()
        self.cloud.close()

    def _translated(self, value: Any) -> Any:
        """The plan's stand-ins for what only a cloud knows, as this one knows them."""
        if isinstance(value, dict):
            return {key: self._translated(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._translated(inner) for inner in value]
        return self._real.get(value, value) if isinstance(value, str) else _whole(value)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def ordered(plan: Plan, urns: set[str]) -> list[Registered]:
    """These resources, each after what it waits for."""
    found: list[Registered] = []
    done: set[str] = set()

    def visit(urn: str) -> None:
        if urn not in done and urn in plan.resources:
            done.add(urn)
            for other in sorted(plan.resources[urn].dependencies):
                visit(other)
            if urn in urns:
                found.append(plan.resources[urn])

    for urn in sorted(urns):
        visit(urn)
    return found
