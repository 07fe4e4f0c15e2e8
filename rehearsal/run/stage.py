"""Where a rehearsal plays: a cloud, a provider and a state of its own around the unchanged program of a stack.

Nothing of it lies in the checkout: the engine's state, its passphrase, the stack file with the addresses of the cloud.
The program is told nothing; what differs from a run against Google is the provider's configuration, and the settings
that were asked for.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from engine import working_copy
from engine.acquire import Engine
from engine.checkout import Checkout, prepare, write
from engine.plugins import has_plugin
from engine.stack import Event, OnEvent, Stack, Summary
from rehearsal.cloud import app
from rehearsal.cloud.run_executions import machine
from rehearsal.cloud.sql_instances import servers
from rehearsal.cloud.state import Cloud
from rehearsal.jobs import tasks
from rehearsal.jobs.tasks import Machine
from rehearsal.provider import attach
from rehearsal.provider.endpoints import endpoints
from rehearsal.run.html import Node
from rehearsal.sql import servers as real_servers
from rehearsal.sql.servers import Servers

Choice = Literal["official", "builtin", "auto"]
PROJECT = "gaia-rehearsal"
"""The project where the stack file names none; nothing has to exist by this name."""
_PROVIDERS = ("gcp", "random")
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER")
"""Of the caller's environment, what the engine gets: no address or credential of a real cloud is among it."""


class ProviderMissing(Exception):
    """The official provider was asked for and isn't installed."""


@dataclass(kw_only=True)
class Stage:
    """A stack of the checkout, and the cloud that it is brought up in."""

    stack: Stack
    cloud: Cloud
    provider: str
    settings: dict[str, Any]
    """The stack file's values with what was set."""
    on_event: OnEvent | None = None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    events: list[Event] = field(default_factory=list, repr=False)
    nodes: list[Node] = field(default_factory=list, repr=False)
    """The program's resources, as the state had them when there were most."""

    @property
    def servers(self) -> Servers:
        """The PostgreSQL servers behind the instances."""
        return servers(self.cloud)

    @property
    def jobs(self) -> Machine:
        """Where the cloud's jobs run."""
        return machine(self.cloud)

    @cached_property
    def gcp(self) -> Mapping[str, Any]:
        return self.settings["gaia-db:gcp"]

    def set(self, **values: Any) -> None:
        """Set values of the stack file, dots written as ``__``: ``set(gcp__rotation__turn=2)``."""
        texts = [(name.replace("__", "."), yaml.safe_dump(value)) for name, value in values.items()]
        working_copy.set_values(self.stack.checkout, self.stack.name, texts)

    def run(self, operation: Literal["up", "preview", "destroy", "refresh"], *flags: str) -> Summary:
        """Let the engine work. Raises ``engine.errors.OperationFailed``."""
        return self.stack.run(operation, self.run_id, *flags, on_event=self._note)

    def outputs(self) -> dict[str, Any]:
        """The contract, as the backend's deploy reads it."""
        from infra.outputs import NAMES

        return dict.fromkeys(NAMES) | self.stack.outputs(show_secrets=False)

    def known(self) -> list[dict[str, Any]]:
        """The resources that the state has now, as it writes them: secrets encrypted."""
        return self.stack.deployment().get("resources") or []

    def look(self) -> None:
        """Note the resources that the state has now, if they are more than were noted before."""
        found = [
            Node(urn=each["urn"], type=each["type"], after=tuple(each.get("dependencies") or ()))
            for each in self.known()
            if each.get("custom") and not each["type"].startswith("pulumi:")
        ]
        self.nodes = found if len(found) > len(self.nodes) else self.nodes

    def notes(self) -> list[str]:
        """What this run did otherwise than Google would."""
        ours = [
            "the official plugins: the built-in provider stood in for gcp and random; what passes it tries again for "
            "six seconds, they for minutes"
        ]
        rewritten = [] if self.jobs.isolated else [tasks.REWRITTEN]
        found = [*self.servers.notes, *real_servers.NOT_MODELLED, *tasks.NOT_MODELLED, *rewritten]
        return (ours if self.provider == "builtin" else []) + found

    def _note(self, event: Event) -> None:
        self.events.append(event)
        if self.on_event:
            self.on_event(event)


@contextlib.contextmanager
def opened(
    root: Path,
    stack_name: str,
    engine: Engine,
    *,
    choice: Choice = "auto",
    given: Sequence[tuple[str, str]] = (),
    on_event: OnEvent | None = None,
) -> Iterator[Stage]:
    """A stage for this stack of the checkout at ``root``; nothing is left of it afterwards.

    Raises ``ProviderMissing``, ``engine.errors.ValueUnreadable``, ``KeyError`` where the stack has no ``gcp`` section.
    """
    provider = _provider(choice)
    with contextlib.ExitStack() as stack:
        # In the servers' folder, which is removed even after a SIGKILL.
        real = stack.enter_context(contextlib.closing(Servers()))
        real.prepare()
        folder = real.folder / "stage"
        folder.mkdir(mode=0o700)
        checkout = Checkout(root=root, folder=folder / "own")
        settings = _settings(checkout, stack_name, given)
        buckets = folder / "cloud"
        buckets.mkdir()
        gcp = settings["gaia-db:gcp"]
        cloud = Cloud(folder=buckets, project=gcp["project"], region=gcp["region"], servers=real)
        url = stack.enter_context(app.running(cloud))
        _configure(checkout, stack_name, url)
        environ = _environment(folder, cloud, provider)
        if provider == "builtin":
            environ["PULUMI_DEBUG_PROVIDERS"] = stack.enter_context(attach.running(cloud.operator_token))
        made = Stack(name=stack_name, checkout=checkout, engine=engine.pulumi, environ=environ)
        made.make()
        yield Stage(stack=made, cloud=cloud, provider=provider, settings=settings, on_event=on_event)


def _provider(choice: Choice) -> str:
    there = all(has_plugin(name, os.environ) for name in _PROVIDERS)
    if choice == "official" and not there:
        raise ProviderMissing(
            "the official plugins gcp and random are not installed: "
            "run ./gaia pulumi plugin install resource gcp (and random), or take --provider builtin"
        )
    return "official" if there and choice != "builtin" else "builtin"


def _settings(checkout: Checkout, stack_name: str, given: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Make the stage's own copy of the stack file, with what was given; returns its values."""
    prepare(checkout)
    working_copy.refresh(checkout, stack_name)
    copy = checkout.working_copy(stack_name)
    if not yaml.safe_load(copy.read_text(encoding="utf-8"))["config"]["gaia-db:gcp"].get("project"):
        given = (("gcp.project", PROJECT), *given)
    working_copy.set_values(checkout, stack_name, given)
    return yaml.safe_load(copy.read_text(encoding="utf-8"))["config"]


def _configure(checkout: Checkout, stack_name: str, url: str) -> None:
    """Point the provider at the cloud: the plain settings that anybody has for another address."""
    copy = checkout.working_copy(stack_name)
    document = yaml.safe_load(copy.read_text(encoding="utf-8"))
    document["config"] |= endpoints(url)
    write(copy, yaml.safe_dump(document, sort_keys=False), mode=0o600)


def _environment(folder: Path, cloud: Cloud, provider: str) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if name in _KEPT}
    environ |= {
        "GOOGLE_OAUTH_ACCESS_TOKEN": cloud.operator_token,
        "PULUMI_GCP_SKIP_REGION_VALIDATION": "true",
    }
    if provider == "builtin":
        environ["PULUMI_HOME"] = str(folder / "home")
    elif home := os.environ.get("PULUMI_HOME"):
        environ["PULUMI_HOME"] = home
    return environ
