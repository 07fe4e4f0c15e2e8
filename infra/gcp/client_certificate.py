"""The certificate that the backend shows where the server asks for one."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.gcp.instance import Instance
from infra.gcp.place import Place
from infra.gcp.sdk import sql


@dataclass(frozen=True, kw_only=True)
class ClientCertificateArgs:
    place: Place
    instance: Instance


class ClientCertificate(pulumi.ComponentResource):
    """Signed by the instance's own authority; its key is in the state, encrypted, and in Secret Manager."""

    certificate: pulumi.Output[str]
    key: pulumi.Output[str]

    def __init__(self, name: str, args: ClientCertificateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:ClientCertificate", name, {}, opts)
        made = sql.SslCert(
            "client-certificate",
            project=args.place.project,
            instance=args.instance.primary.name,
            common_name="gaia-backend",
            opts=pulumi.ResourceOptions(parent=self, additional_secret_outputs=["privateKey"]),
        )
        self.certificate, self.key = made.cert, pulumi.Output.secret(made.private_key)
        self.register_outputs({})
