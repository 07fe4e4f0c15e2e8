"""PostgreSQL 16 in a Docker container, with its image, network and volume; and the same for its standby."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pulumi
import pulumi_docker as docker

from infra.local.contained import INTERNAL_PORT, SUPERVISE
from infra.local.docker_engine import DATA
from infra.local.replication import replicated
from infra.local.standby_volume import StandbyVolume, StandbyVolumeArgs
from infra.settings import STANDBY_SUFFIX, Database, Docker

INITDB_ARGS = "--encoding=UTF8 --lc-collate=C --lc-ctype=C.UTF-8"
"""The embedded server's encoding and locale, so that text sorts alike on both."""


@dataclass(frozen=True, kw_only=True)
class PostgresContainerArgs:
    """What the container needs."""

    labels: Mapping[str, str]
    """What tells whose the container, the network and the volume are."""
    home: Path
    """Where what is noted about a pair of servers lies."""
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
    standby_id: pulumi.Output[str] | None
    """The same of its standby's container, where it has one."""

    def __init__(self, name: str, args: PostgresContainerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:local:PostgresContainer", name, {}, opts)
        settings, database = args.docker, args.database
        image = docker.RemoteImage(
            f"{name}-image", name=settings.image, keep_locally=True, opts=pulumi.ResourceOptions(parent=self)
        )
        network = self._network(name, args)
        volume, standby_volume = settings.volumes
        command = ["postgres", *command_line(database)]
        primary = self._container(
            name,
            args,
            image=image,
            network=network,
            volume=self._volume(name, args, volume),
            container=settings.container,
            alias=settings.network_alias,
            port=database.port,
            command=command,
        )
        self.container_name, self.container_id, self.standby_id = primary.name, primary.id, None
        if database.replicas:
            data = self._volume(name, args, standby_volume)
            leaving = StandbyVolume(
                f"{name}-standby-volume",
                StandbyVolumeArgs(home=args.home, volume=standby_volume),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[data]),
            )
            standby = self._container(
                f"{name}-standby",
                args,
                image=image,
                network=network,
                volume=data,
                container=settings.standby_container,
                alias=settings.standby_alias,
                port=database.standby_port,
                command=["sh", "-c", SUPERVISE, "standby", *command],
                # Where both are made anew, the primary comes first: a standby needs no fewer connections than it.
                after=[leaving, primary],
            )
            self.standby_id = standby.id
        self.register_outputs({"container_name": self.container_name, "container_id": self.container_id})

    def _network(self, name: str, args: PostgresContainerArgs) -> docker.Network:
        return docker.Network(
            f"{name}-network",
            name=args.docker.network,
            # Compose takes a network for its project's own by these labels.
            labels=[
                docker.NetworkLabelArgs(label="com.docker.compose.network", value="default"),
                docker.NetworkLabelArgs(label="com.docker.compose.project", value=args.docker.compose_project),
                *(docker.NetworkLabelArgs(label=name, value=value) for name, value in args.labels.items()),
            ],
            # A network has no second name to stand beside its successor with.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )

    def _volume(self, name: str, args: PostgresContainerArgs, volume: str) -> docker.Volume:
        # By its own name, not by whose it is now: a failover swaps the two volumes, and makes neither anew.
        suffix = STANDBY_SUFFIX if volume != args.docker.volume else ""
        return docker.Volume(
            f"{name}-data{suffix}",
            name=volume,
            labels=[docker.VolumeLabelArgs(label=name, value=value) for name, value in args.labels.items()],
            # The data outlives `destroy`; only `./gaia destroy --purge` removes it.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )

    def _container(
        self,
        name: str,
        args: PostgresContainerArgs,
        *,
        image: docker.RemoteImage,
        network: docker.Network,
        volume: docker.Volume,
        container: str,
        alias: str,
        port: int,
        command: list[str],
        after: list[pulumi.Resource] | None = None,
    ) -> docker.Container:
        settings, database = args.docker, args.database
        return docker.Container(
            name,
            name=container,
            # The id, not the tag: a tag differs from what the state holds, which would replace the container each time.
            image=image.image_id,
            command=command,
            envs=[
                f"POSTGRES_DB={database.name}",
                f"POSTGRES_USER={database.user}",
                pulumi.Output.secret(args.password).apply(lambda password: f"POSTGRES_PASSWORD={password}"),
                f"POSTGRES_INITDB_ARGS={INITDB_ARGS}",
            ],
            ports=[docker.ContainerPortArgs(internal=INTERNAL_PORT, external=port, ip=settings.address)],
            volumes=[docker.ContainerVolumeArgs(volume_name=volume.name, container_path=DATA)],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=[alias])],
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
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True, depends_on=after or []),
        )


def command_line(database: Database) -> list[str]:
    """The tuning as arguments of the ``postgres`` command."""
    parameters = {**asdict(database.tuning), "timezone": "UTC", "log_timezone": "UTC", **replicated(database)}
    return [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
