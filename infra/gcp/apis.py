"""The Google APIs that the stack uses."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.gcp.place import Place
from infra.gcp.sdk import projects
from infra.gcp.settings import Gcp

ALWAYS = (
    "artifactregistry",
    "cloudresourcemanager",
    "cloudscheduler",
    "iam",
    "logging",
    "monitoring",
    "run",
    "secretmanager",
    "sqladmin",
    "storage",
)


def needed(gcp: Gcp) -> tuple[str, ...]:
    """The short names of the services that these settings use."""
    network = gcp.network
    more = {
        "servicenetworking": network.mode == "private",
        "dns": network.mode == "psc",
        "vpcaccess": network.mode != "public" and network.egress == "connector",
        "compute": network.mode != "public",
        "cloudkms": gcp.encryption.own_key,
        "iamcredentials": gcp.access.preview_principal is not None or gcp.access.drill_principal is not None,
    }
    return tuple(sorted([*ALWAYS, *(name for name, used in more.items() if used)]))


@dataclass(frozen=True, kw_only=True)
class ApisArgs:
    place: Place
    names: tuple[str, ...]


class Apis(pulumi.ComponentResource):
    """One enabled service each. None is disabled on destroy: others in the project may use it."""

    services: dict[str, projects.Service]
    """By short name, such as ``sqladmin``."""

    def __init__(self, name: str, args: ApisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Apis", name, {}, opts)
        self.services = {
            short: projects.Service(
                f"api-{short}",
                project=args.place.project,
                service=f"{short}.googleapis.com",
                disable_on_destroy=False,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for short in args.names
        }
        self.register_outputs({})

    def of(self, *names: str) -> list[pulumi.Resource]:
        """What a resource of these services has to wait for."""
        return [self.services[name] for name in names]
