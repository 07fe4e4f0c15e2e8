"""What is looked at, and mended, before the engine starts: so that its run finds nothing in its way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ops import stacks
from ops.exits import Missing, Refused, UsageFault

if TYPE_CHECKING:
    from docker import DockerClient

    from engine.checkout import Checkout
    from engine.stack import Stack
    from infra.local.failover import Outcome
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
        raise UsageFault(
            f"stack {stack.name} is in Google Cloud, which only pulumi itself changes, after showing its preview: "
            f"pulumi up -s {stack.name}"
        )
    if settings.target == "docker":
        from engine.plugins import docker_plugin
        from infra.local import docker_engine

        docker_engine.connect(os.environ).close()
        if missing := docker_plugin(stack, say=report.long):
            raise Missing(f"the engine's Docker plugin can't be had ({missing}): use ./gaia up --stack local")
    else:
        from infra.local import postgres

        postgres.packaged_binaries()


def require_place(stack: Stack, settings: Settings, report: Report) -> None:
    """Have the container's name and port free for it. Raises ``Refused``, ``PortTaken``.

    The engine would find out in the middle, and leave a half-made container behind. The embedded server's provider
    looks itself.
    """
    if settings.docker is None:
        return
    from infra.local import docker_engine, ports, replication

    docker, database = settings.docker, settings.database
    ours = docker_engine.labels_of(stack.checkout.root, stack.name)
    known = {_kind_and_name(entry["urn"]) for entry in stack.deployment().get("resources") or []}
    container, network = "docker:index/container:Container", "docker:index/network:Network"
    places = [(docker.container, docker.volumes[0], database.port, "database.port")]
    if database.replicas:
        places.append((docker.standby_container, docker.volumes[1], database.standby_port, replication.SETTING))
    with contextlib.closing(docker_engine.connect(os.environ)) as client:
        _require_data(stack, settings, client)
        for name, volume, _, _ in places:
            _require_ours(client, name, volume, ours)
        removed = docker_engine.remove_unknown(
            client,
            container=None if (container, "postgres") in known else docker.container,
            network=None if (network, "postgres-network") in known else docker.network,
            ours=ours,
            standby=None if (container, "postgres-standby") in known else docker.standby_container,
        )
        for what in removed:
            report.say(f"{what} was made by a run that ended before it noted it: removed, to be made again")
        for name, _, port, setting in places:
            published_by = docker_engine.publisher(client, port)
            if published_by != name:
                named = f"container {published_by}" if published_by else None
                ports.require_free(docker.address, port, holder_name=named, setting=setting)


def _kind_and_name(urn: str) -> tuple[str, str]:
    *_, kinds, name = urn.split("::")
    return kinds.rpartition("$")[2], name


def _require_ours(client: DockerClient, name: str, volume: str, ours: Mapping[str, str]) -> None:
    from infra.local import docker_engine

    found = docker_engine.find(client, name)
    if found is None:
        return
    if not docker_engine.is_ours(found.labels, ours):
        raise Refused(
            f"there is a container {name} that isn't this stack's: remove or rename it, "
            "or choose another name with --set docker.container=…"
        )
    # Its volume would get a second server before the first one is gone.
    if (has := docker_engine.mounted(found)) != volume:
        raise Refused(
            f"docker.failovers: container {name} has its data in volume {has}, and would get {volume}: put back what "
            "it was; only ./gaia failover changes it"
        )


def _require_data(stack: Stack, settings: Settings, client: DockerClient) -> None:
    """Never make an empty database beside a standby that has the last one's."""
    from infra.local import contained, docker_engine, replication

    assert settings.docker is not None
    primary, standby = settings.docker.volumes
    home = contained.of_settings(contained.home_for(stack.checkout.root, stack.name), settings.docker, {}).beside()
    lost = not docker_engine.has_volume(client, primary) and docker_engine.has_volume(client, standby)
    if lost and replication.follows(home) is not None:
        raise Refused(
            f"volume {primary} is gone, but its standby has the database: run ./gaia failover, "
            "or give both up with ./gaia destroy --purge"
        )


def finish_failover(checkout: Checkout, name: str, say: Callable[[str], None]) -> Outcome | None:
    """Finish what a failover of containers left; the embedded server's provider does so itself. None if it left none.

    Its last step is a setting: whoever asks for the settings does so after this.
    """
    from engine import working_copy
    from infra.local import contained, failover

    def repoint(volume: str) -> None:
        docker = stacks.read_settings(checkout, name).docker
        if docker is not None and docker.volumes[0] != volume:
            working_copy.set_values(checkout, name, [("docker.failovers", str(docker.failovers + 1))])

    if stacks.read_settings(checkout, name).docker is None:
        return None
    return failover.finish(contained.home_for(checkout.root, name), say, repoint)


def settle(stack: Stack, run_id: str, report: Report) -> None:
    """Explain and clear what a killed run left unfinished."""
    pending = stack.pending()
    for operation in pending:
        report.say(f"the last run was ended while {operation.operation} {operation.name}: looked at again now")
    if pending:
        stack.settle(run_id)


def require_no_earlier_turn(stack: Stack, settings: Settings) -> None:
    """Raise ``Refused`` where the settings are on an earlier turn than the stack: clients would lose their password."""
    if not stacks.is_up(stack):
        return
    there, wanted = stacks.rotation(stack), settings.rotation
    for key in ("turn", "identity_turn"):
        if getattr(wanted, key) < getattr(there, key):
            raise Refused(
                f"{settings.target}.rotation.{key}: stack {stack.name} is on turn {getattr(there, key)}, and nobody "
                "knows an earlier one's secret any more: leave it there, or raise it"
            )


def require_same_database(stack: Stack, settings: Settings) -> None:
    """Raise ``Refused`` where the settings name another database than the one that is there with its data."""
    resources = stack.deployment().get("resources") or []
    live = next((entry for entry in resources if entry["type"] == stacks.SCHEMA_TYPE), None)
    if live is None:
        return
    outputs = live.get("outputs") or {}
    target = "docker" if outputs.get("container") else "embedded"
    volumes = [entry["outputs"]["name"] for entry in resources if entry["type"].endswith("volume:Volume")]
    kept = settings.docker and all(volume in settings.docker.volumes for volume in volumes)
    wanted = {
        "target": settings.target,
        "database.name": settings.database.name,
        "database.user": settings.database.user,
        "docker.volume": settings.docker.volume if settings.docker else None,
    }
    there = {
        "target": target,
        "database.name": outputs.get("database"),
        "database.user": outputs.get("superuser"),
        "docker.volume": settings.docker.volume if settings.docker and kept else next(iter(volumes), None),
    }
    for key, value in wanted.items():
        if there[key] != value:
            raise Refused(
                f"{key}: stack {stack.name} has its data under {there[key]}, so it can't become {value}: "
                f"put {there[key]} back, or remove the data first with ./gaia destroy --purge"
            )
