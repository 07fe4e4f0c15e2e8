"""What is looked at, and mended, before the engine starts: so that its run finds nothing in its way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ops import stacks
from ops.exits import Missing, Refused, UsageFault

if TYPE_CHECKING:
    from engine.checkout import Checkout
    from engine.stack import Pending, Stack
    from infra.settings import Settings
    from ops.report import Report


def choose(checkout: Checkout, report: Report) -> str:
    """The stack that is up; else ``dev`` where Docker and its plugin are to be had, else ``local``; says why."""
    if name := stacks.chosen(checkout):
        return name
    from engine.plugins import docker_plugin
    from infra.local import docker_engine
    from infra.local.errors import LocalError

    try:
        docker_engine.connect(os.environ).close()
    except LocalError as error:
        report.say(f"stack local: {str(error).split(': ', 1)[0]}")
        return "local"
    engine = stacks.with_engine(checkout, "dev", report.long)
    missing = docker_plugin(engine, say=report.long)
    if missing:
        report.say(f"stack local: a Docker engine answers, but its plugin can't be had ({missing})")
        return "local"
    report.say("stack dev: a Docker engine answers")
    return "dev"


def require_target(stack: Stack, settings: Settings, report: Report) -> None:
    """Raise what is missing for the stack's target, before the engine starts."""
    if settings.target == "gcp":
        raise UsageFault(f"Pulumi.{stack.name}.yaml: target: the resources of gcp are not declared yet")
    if settings.target == "docker":
        from engine.plugins import docker_plugin
        from infra.local import docker_engine

        docker_engine.connect(os.environ).close()
        if missing := docker_plugin(stack, say=report.long):
            raise Missing(f"the engine's Docker plugin can't be had ({missing}): use ./gaia up --stack local")
    else:
        from infra.local import postgres

        postgres.packaged_binaries()


def require_port(stack: Stack, settings: Settings) -> None:
    """Raise ``PortTaken`` before Docker would leave a half-made container behind."""
    if settings.docker is None:
        return  # the embedded server's provider looks itself
    from infra.local import docker_engine, ports

    client = docker_engine.connect(os.environ)
    try:
        published_by = docker_engine.publisher(client, settings.database.port)
    finally:
        client.close()
    if published_by != settings.docker.container:
        named = f"container {published_by}" if published_by else None
        ports.require_free(settings.docker.address, settings.database.port, holder_name=named)


def settle(stack: Stack, settings: Settings, run_id: str, report: Report) -> None:
    """Explain and clear what a killed run left unfinished."""
    pending = stack.pending()
    if not pending:
        return
    imports: dict[str, str] = {}
    for operation in pending:
        found = _existing(settings, operation) if operation.operation == "creating" else None
        if found:
            imports[operation.urn] = found
        outcome = "it exists and is taken over" if found else "looked at again now"
        report.say(f"the last run was ended while {operation.operation} {operation.name}: {outcome}")
    stack.settle(run_id, imports)


def _existing(settings: Settings, pending: Pending) -> str | None:
    """The id under which Docker has what a killed run was creating; other resources can be made again safely."""
    if settings.docker is None or not pending.type.startswith("docker:"):
        return None
    from infra.local import docker_engine

    return docker_engine.existing_id(pending.type, str(pending.inputs.get("name", "")))


def require_same_database(stack: Stack, settings: Settings) -> None:
    """Raise ``Refused`` where the settings name another database than the one that is there with its data."""
    live = next(
        (entry for entry in stack.deployment().get("resources") or [] if entry["type"] == stacks.SCHEMA_TYPE), None
    )
    if live is None:
        return
    outputs = live.get("outputs") or {}
    target = "docker" if outputs.get("container") else "embedded"
    wanted = {
        "target": settings.target,
        "database.name": settings.database.name,
        "database.user": settings.database.user,
    }
    there = {"target": target, "database.name": outputs.get("database"), "database.user": outputs.get("superuser")}
    for key, value in wanted.items():
        if there[key] != value:
            raise Refused(
                f"{key}: stack {stack.name} is {there[key]} and has data, so it can't become {value}: "
                f"put {there[key]} back, or remove the data first with ./gaia destroy --purge"
            )
