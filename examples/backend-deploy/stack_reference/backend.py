"""A Cloud Run service that connects with what the database's stack exports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_gcp import cloudrunv2

VARIABLES = {
    "DB_USER": "user_secret",
    "DB_PASSWORD": "password_secret",
    "DB_NAME": "name_secret",
    "DATABASE_URL": "database_url_secret",
    "GAIA_IDENTITY_KEY": "identity_key_secret",
}
"""Environment variable → output with its secret, whose version is pinned. What the stack lacks is left out."""

FILES = {
    "/secrets/server-ca/server-ca.pem": "server_ca_secret",
    "/secrets/client-cert/client-cert.pem": "client_certificate_secret",
    "/secrets/client-key/client-key.pem": "client_key_secret",
}
"""Where the database's URL looks for a certificate → output with its secret, where the stack has one."""

SYNC_POOL = 1
"""Of an instance's connections, how many the package's pool for scripts gets; the others are the async pool's."""

Outputs = Mapping[str, Any]


class Backend(pulumi.ComponentResource):
    """The service, on the database of another stack."""

    url: pulumi.Output[str]
    """Where it answers."""

    def __init__(
        self,
        name: str,
        *,
        database: pulumi.StackReference,
        image: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("gaia:example:Backend", name, {}, opts)
        service = cloudrunv2.Service(
            name,
            name=name,
            location=database.require_output("region"),
            template=pulumi.Output.all(found=database.outputs, image=image).apply(
                lambda both: template(both["found"], both["image"])
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.url = service.uri
        self.register_outputs({"url": self.url})


def template(found: Outputs, image: str) -> cloudrunv2.ServiceTemplateArgs:
    """A revision of the service."""
    volumes, mounts = _volumes(found)
    container = cloudrunv2.ServiceTemplateContainerArgs(image=image, envs=_environment(found), volume_mounts=mounts)
    return cloudrunv2.ServiceTemplateArgs(
        service_account=found["runtime_service_account"],
        scaling=cloudrunv2.ServiceTemplateScalingArgs(max_instance_count=int(found["max_instances"])),
        containers=[container],
        volumes=volumes,
        vpc_access=_vpc_access(found),
    )


def _environment(found: Outputs) -> list[cloudrunv2.ServiceTemplateContainerEnvArgs]:
    plain = {
        "DB_HOST": found["host"],
        "DATABASE_POOL_SIZE": str(int(found["pool_size"]) - SYNC_POOL),
        "DATABASE_POOL_OVERFLOW": str(int(found["pool_overflow"])),
        "DATABASE_SYNC_POOL_SIZE": str(SYNC_POOL),
    }
    secret = {variable: found[output] for variable, output in VARIABLES.items() if found.get(output)}
    return [
        *(cloudrunv2.ServiceTemplateContainerEnvArgs(name=name, value=value) for name, value in plain.items()),
        *(_secret(name, reference) for name, reference in secret.items()),
    ]


def _secret(name: str, reference: Mapping[str, str]) -> cloudrunv2.ServiceTemplateContainerEnvArgs:
    pinned = cloudrunv2.ServiceTemplateContainerEnvValueSourceSecretKeyRefArgs(
        secret=reference["id"], version=reference["version"]
    )
    source = cloudrunv2.ServiceTemplateContainerEnvValueSourceArgs(secret_key_ref=pinned)
    return cloudrunv2.ServiceTemplateContainerEnvArgs(name=name, value_source=source)


def _volumes(
    found: Outputs,
) -> tuple[list[cloudrunv2.ServiceTemplateVolumeArgs], list[cloudrunv2.ServiceTemplateContainerVolumeMountArgs]]:
    """Cloud SQL's socket, where the host is one, and the certificates that the stack has."""
    volumes = [_file(path, found[output]) for path, output in FILES.items() if found.get(output)]
    folders = {path.split("/")[2]: path.rpartition("/")[0] for path, output in FILES.items() if found.get(output)}
    if found["host"].startswith("/cloudsql/"):
        socket = cloudrunv2.ServiceTemplateVolumeCloudSqlInstanceArgs(instances=[found["instance_connection_name"]])
        volumes.append(cloudrunv2.ServiceTemplateVolumeArgs(name="cloudsql", cloud_sql_instance=socket))
        folders["cloudsql"] = "/cloudsql"
    mounts = [
        cloudrunv2.ServiceTemplateContainerVolumeMountArgs(name=name, mount_path=folder)
        for name, folder in folders.items()
    ]
    return volumes, mounts


def _file(path: str, reference: Mapping[str, str]) -> cloudrunv2.ServiceTemplateVolumeArgs:
    item = cloudrunv2.ServiceTemplateVolumeSecretItemArgs(path=path.rpartition("/")[2], version=reference["version"])
    secret = cloudrunv2.ServiceTemplateVolumeSecretArgs(secret=reference["id"], items=[item])
    return cloudrunv2.ServiceTemplateVolumeArgs(name=path.split("/")[2], secret=secret)


def _vpc_access(found: Outputs) -> cloudrunv2.ServiceTemplateVpcAccessArgs | None:
    """Through the connector, or with an interface of its own. The stack says the egress in gcloud's words."""
    egress = (found.get("vpc_egress") or "private-ranges-only").replace("-", "_").upper()
    if found.get("vpc_connector"):
        return cloudrunv2.ServiceTemplateVpcAccessArgs(connector=found["vpc_connector"], egress=egress)
    if found.get("vpc_network"):
        interface = cloudrunv2.ServiceTemplateVpcAccessNetworkInterfaceArgs(
            network=found["vpc_network"], subnetwork=found.get("vpc_subnetwork")
        )
        return cloudrunv2.ServiceTemplateVpcAccessArgs(network_interfaces=[interface], egress=egress)
    return None
