"""A key of one's own (CMEK) for the instance's disks and backups."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.gcp import bindings
from infra.gcp.apis import Apis
from infra.gcp.place import Place
from infra.gcp.sdk import kms, projects

_DAY_S = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class EncryptionArgs:
    place: Place
    rotation_days: int
    apis: Apis


class Encryption(pulumi.ComponentResource):
    """A key ring and a key that rotates. Who loses the key loses the database: both stay protected."""

    key: pulumi.Output[str]
    """Full name of the key."""
    usable: list[pulumi.Resource]
    """What the instance has to wait for."""

    def __init__(self, name: str, args: EncryptionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Encryption", name, {}, opts)
        ring = kms.KeyRing(
            "key-ring",
            project=args.place.project,
            location=args.place.region,
            name=args.place.prefix,
            opts=pulumi.ResourceOptions(parent=self, protect=args.place.protect, depends_on=args.apis.of("cloudkms")),
        )
        key = kms.CryptoKey(
            "key",
            key_ring=ring.id,
            name="disks",
            purpose="ENCRYPT_DECRYPT",
            rotation_period=f"{args.rotation_days * _DAY_S}s",
            labels=dict(args.place.labels),
            opts=pulumi.ResourceOptions(parent=self, protect=args.place.protect),
        )
        # Cloud SQL's own account in this project, which only exists once somebody asks for it.
        agent = projects.ServiceIdentity(
            "sql-agent",
            project=args.place.project,
            service="sqladmin.googleapis.com",
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.apis.of("sqladmin")),
        )
        grant = kms.CryptoKeyIAMMember(
            bindings.AGENT_ENCRYPTS.name,
            crypto_key_id=key.id,
            role=bindings.AGENT_ENCRYPTS.role,
            member=agent.member,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.key, self.usable = key.id, [grant]
        self.register_outputs({"key": self.key})
