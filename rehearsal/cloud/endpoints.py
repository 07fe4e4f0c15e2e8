"""Where the cloud's services are, in the words of those who call them: Pulumi, Terraform, gcloud, plain clients."""

from __future__ import annotations

import re

from rehearsal.cloud.discovery import HOSTS

PLUGIN = {
    "artifactRegistry": "artifactregistry/v1/",
    "cloudRunV2": "run/v2/",
    "cloudScheduler": "cloudscheduler/v1/",
    "compute": "compute/compute/beta/",
    "dns": "dns/dns/v1/",
    "iam": "iam/v1/",
    # Service accounts: https://github.com/hashicorp/terraform-provider-google, iam_beta_custom_endpoint.
    "iamBeta": "iam/v1/",
    "iamCredentials": "iamcredentials/v1/",
    "kms": "cloudkms/v1/",
    "logging": "logging/v2/",
    # The plugin puts v1/ or v3/ behind it itself.
    "monitoring": "monitoring/",
    "resourceManager": "cloudresourcemanager/v1/",
    "resourceManagerV3": "cloudresourcemanager/v3/",
    "secretManager": "secretmanager/v1/",
    "serviceNetworking": "servicenetworking/v1/",
    "serviceUsage": "serviceusage/v1beta1/",
    "sql": "sqladmin/sql/v1beta4/",
    "storage": "storage/storage/v1/",
    "vpcAccess": "vpcaccess/v1beta1/",
}
"""What stands for the default endpoint of each service in the official plugin, by the plugin's name for it."""
_GCLOUD_NAMES = {"sqladmin": "sql"}
_GCLOUD_PATHS = {"compute": "compute/v1/", "dns": "dns/v1/", "storage": "storage/v1/"}
_NOT_IN_GCLOUD = frozenset({"servicenetworking"})


def services(url: str) -> dict[str, str]:
    """By service, what stands for ``https://<service>.googleapis.com``: an ``api_endpoint`` of Google's clients."""
    return {service: f"{url}/{service}" for service in sorted(HOSTS)}


def pulumi(url: str) -> dict[str, str]:
    """The configuration of the official ``gcp`` plugin."""
    return {f"gcp:{name}CustomEndpoint": f"{url}/{path}" for name, path in PLUGIN.items()}


def terraform(url: str) -> dict[str, str]:
    """The arguments of the ``google`` provider."""
    return {f"{_snake(name)}_custom_endpoint": f"{url}/{path}" for name, path in PLUGIN.items()}


def gcloud(url: str) -> dict[str, str]:
    """The variables that make gcloud call it."""
    return {
        f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{_GCLOUD_NAMES.get(service, service).upper()}": (
            f"{url}/{service}/{_GCLOUD_PATHS.get(service, '')}"
        )
        for service in sorted(HOSTS.keys() - _NOT_IN_GCLOUD)
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).replace("V2", "v2").replace("V3", "v3").lower()
