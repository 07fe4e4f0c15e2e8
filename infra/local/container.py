"""PostgreSQL 16 in a Docker container, with its image, network and volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pulumi
import pulumi_docker as docker

from infra.local.docker_engine import DATA
from infra.settings import Database, Docker

INTERNAL_PORT = 5432
INITDB_ARGS = "--encoding=UTF8 --lc-collate=C --lc-ctype=C.UTF-8"
"""The embedded server's encoding and locale, so that text sorts alike on both."""


@dataclass(frozen=True, kw_only=True)
class PostgresContainerArgs:
    """What the container needs."""

    labels: Mapping[str, str]
    """What tells whose the container, the network and the volume are."""
    database: Database
    docker: Docker
    password: pulumi.Input[str]
    """The superuser's."""


class PostgresContainer(pulumi.ComponentResource):
    """One container as the source document has it, reachable on a loopback port and by an alias in its network."""

    container_name: pulumi.Output[str]
    """The container's name, known once the container was started."""
    container_id: pulumi.Output[str]
    """Docker's id of it: another one after each replacement."""

    def __init__(self, name: str, args: PostgresContainerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:local:PostgresContainer", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings, database = args.docker, args.database

        image = docker.RemoteImage(f"{name}-image", name=settings.image, keep_locally=True, opts=child)
        network = docker.Network(
            f"{name}-network",
            name=settings.network,
            # Compose takes a network for its project's own by these labels.
            labels=[
                docker.NetworkLabelArgs(label="com.docker.compose.network", value="default"),
                docker.NetworkLabelArgs(label="com.docker.compose.project", value=settings.compose_project),
                *(docker.NetworkLabelArgs(label=name, value=value) for name, value in args.labels.items()),
            ],
            # A network has no second name to stand beside its successor with.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        volume = docker.Volume(
            f"{name}-data",
            name=settings.volume,
            labels=[docker.VolumeLabelArgs(label=name, value=value) for name, value in args.labels.items()],
            # The data outlives `destroy`; only `./gaia destroy --purge` removes it.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        container = docker.Container(
            name,
            name=settings.container,
            # The id, not the tag: a tag differs from what the state holds, which would replace the container each time.
            image=image.image_id,
            command=["postgres", *command_line(database)],
            envs=[
                f"POSTGRES_DB={database.name}",
                f"POSTGRES_USER={database.user}",
                pulumi.Output.secret(args.password).apply(lambda password: f"POSTGRES_PASSWORD={password}"),
                f"POSTGRES_INITDB_ARGS={INITDB_ARGS}",
            ],
            ports=[docker.ContainerPortArgs(internal=INTERNAL_PORT, external=database.port, ip=settings.address)],
            volumes=[docker.ContainerVolumeArgs(volume_name=volume.name, container_path=DATA)],
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=[settings.network_alias])
            ],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD-SHELL", f"pg_isready -U {database.user} -d {database.name}"],
                interval=f"{settings.healthcheck.interval_s}s",
                timeout=f"{settings.healthcheck.timeout_s}s",
                retries=settings.healthcheck.retries,
            ),
            labels=[
                *(docker.ContainerLabelArgs(label=name, value=value) for name, value in args.labels.items()),
                *(
                    docker.ContainerLabelArgs(label=f"gaia.profile.{profile}", value="true")
                    for profile in settings.profiles
                ),
            ],
            restart=settings.restart,
            must_run=True,
            # The schema waits for the server itself; "healthy" comes ten seconds after it answers.
            wait=False,
            stop_timeout=settings.stop_timeout_s,
            destroy_grace_seconds=settings.stop_timeout_s,
            shm_size=settings.shm_size_mb,
            log_driver="json-file",
            log_opts={"max-size": "10m", "max-file": "3"},
            # Name and port are taken until the old container is gone.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        self.container_name = container.name
        self.container_id = container.id
        self.register_outputs({"container_name": self.container_name, "container_id": self.container_id})


def command_line(database: Database) -> list[str]:
    """The tuning as arguments of the ``postgres`` command."""
    parameters = {**asdict(database.tuning), "timezone": "UTC", "log_timezone": "UTC"}
    return [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
