"""A Cloud Run job that runs the migrations' image beside the database; what migrating and maintaining share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra.gcp import settings
from infra.gcp.instance import Instance
from infra.gcp.network import Network
from infra.gcp.place import Place
from infra.gcp.sdk import cloudrunv2
from infra.gcp.secrets import SERVER_CA, Secrets


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How a job gets to the database."""

    place: Place
    settings: settings.Network
    network: Network
    instance: Instance
    secrets: Secrets


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a job runs, and as whom."""

    image: str
    arguments: Sequence[str]
    account: str
    timeout_s: int
    cpu: str
    memory: str
    variables: Mapping[str, pulumi.Input[str]]
    secrets: Mapping[str, str]
    """The variables that secrets give, by the secret's name."""


def template(reach: Reach, work: Work) -> cloudrunv2.JobTemplateArgs:
    """One task, never tried again: a migration that failed half-way is for a person to look at."""
    volumes, mounts = _volumes(reach)
    container = cloudrunv2.JobTemplateTemplateContainerArgs(
        image=work.image,
        commands=["python"],
        args=list(work.arguments),
        envs=[*_plain(work.variables), *_secret(reach.secrets, work.secrets)],
        resources=cloudrunv2.JobTemplateTemplateContainerResourcesArgs(limits={"cpu": work.cpu, "memory": work.memory}),
        volume_mounts=mounts,
    )
    return cloudrunv2.JobTemplateArgs(
        task_count=1,
        parallelism=1,
        template=cloudrunv2.JobTemplateTemplateArgs(
            service_account=work.account,
            # The default is 3.
            max_retries=0,
            timeout=f"{work.timeout_s}s",
            execution_environment="EXECUTION_ENVIRONMENT_GEN2",
            containers=[container],
            volumes=volumes,
            vpc_access=vpc_access(reach),
        ),
    )


def vpc_access(reach: Reach) -> cloudrunv2.JobTemplateTemplateVpcAccessArgs | None:
    """The way into the network: the connector, or an interface of the job's own; none where the server is public."""
    if reach.settings.mode == "public":
        return None
    if reach.network.connector is not None:
        return cloudrunv2.JobTemplateTemplateVpcAccessArgs(
            connector=reach.network.connector.id, egress="PRIVATE_RANGES_ONLY"
        )
    interface = cloudrunv2.JobTemplateTemplateVpcAccessNetworkInterfaceArgs(
        network=reach.settings.network, subnetwork=reach.settings.subnetwork
    )
    return cloudrunv2.JobTemplateTemplateVpcAccessArgs(network_interfaces=[interface], egress="PRIVATE_RANGES_ONLY")


def _volumes(
    reach: Reach,
) -> tuple[
    list[cloudrunv2.JobTemplateTemplateVolumeArgs],
    list[cloudrunv2.JobTemplateTemplateContainerVolumeMountArgs],
]:
    if reach.settings.mode != "psc":
        socket = cloudrunv2.JobTemplateTemplateVolumeArgs(
            name="cloudsql",
            cloud_sql_instance=cloudrunv2.JobTemplateTemplateVolumeCloudSqlInstanceArgs(
                instances=[reach.instance.connection_name]
            ),
        )
        return [socket], [
            cloudrunv2.JobTemplateTemplateContainerVolumeMountArgs(name="cloudsql", mount_path="/cloudsql")
        ]
    # Cloud Run's socket knows no Private Service Connect: the job goes to the endpoint, and proves the server itself.
    folder, _, file = SERVER_CA.rpartition("/")
    authority = cloudrunv2.JobTemplateTemplateVolumeArgs(
        name="server-ca",
        secret=cloudrunv2.JobTemplateTemplateVolumeSecretArgs(
            secret=reach.secrets.versions["db-server-ca"].secret,
            items=[
                cloudrunv2.JobTemplateTemplateVolumeSecretItemArgs(
                    path=file, version=reach.secrets.versions["db-server-ca"].version
                )
            ],
        ),
    )
    return [authority], [cloudrunv2.JobTemplateTemplateContainerVolumeMountArgs(name="server-ca", mount_path=folder)]


def _plain(variables: Mapping[str, pulumi.Input[str]]) -> list[cloudrunv2.JobTemplateTemplateContainerEnvArgs]:
    return [
        cloudrunv2.JobTemplateTemplateContainerEnvArgs(name=name, value=value)
        for name, value in sorted(variables.items())
    ]


def _secret(secrets: Secrets, given: Mapping[str, str]) -> list[cloudrunv2.JobTemplateTemplateContainerEnvArgs]:
    return [
        cloudrunv2.JobTemplateTemplateContainerEnvArgs(
            name=variable,
            value_source=cloudrunv2.JobTemplateTemplateContainerEnvValueSourceArgs(
                secret_key_ref=cloudrunv2.JobTemplateTemplateContainerEnvValueSourceSecretKeyRefArgs(
                    secret=secret_id,
                    # Pinned: with `latest` a new version would change nothing that anybody sees.
                    version=secrets.versions[secret_id].version,
                )
            ),
        )
        for secret_id, variable in sorted(given.items())
    ]
