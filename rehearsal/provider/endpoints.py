"""Where Google's services are: the provider's own configuration, the same for the official plugin and for ours."""

from __future__ import annotations

from collections.abc import Mapping

SERVICES: dict[str, tuple[str, str]] = {
    "artifactRegistry": ("artifactregistry", "v1/"),
    "cloudRunV2": ("run", "v2/"),
    "cloudScheduler": ("cloudscheduler", "v1/"),
    "compute": ("compute", "compute/beta/"),
    "dns": ("dns", "dns/v1/"),
    # Service accounts; custom roles go to ``iam``.
    "iam": ("iam", "v1/"),
    "iamBeta": ("iam", "v1/"),
    "kms": ("cloudkms", "v1/"),
    "logging": ("logging", "v2/"),
    # The provider appends v1/ or v3/ itself.
    "monitoring": ("monitoring", ""),
    "resourceManager": ("cloudresourcemanager", "v1/"),
    "secretManager": ("secretmanager", "v1/"),
    "serviceNetworking": ("servicenetworking", "v1/"),
    "serviceUsage": ("serviceusage", "v1/"),
    # The provider drops the last two parts for users.
    "sql": ("sqladmin", "sql/v1beta4/"),
    "storage": ("storage", "storage/v1/"),
    "vpcAccess": ("vpcaccess", "v1beta1/"),
}
"""By the name before ``CustomEndpoint``: the service, and the path that the provider's paths begin after."""


def endpoints(base_url: str) -> dict[str, str]:
    """The configuration ``gcp:<name>CustomEndpoint`` for a cloud that has a prefix for each service under one address.

    In a stack's configuration they are plain values: one of the names is taken for a secret otherwise.
    """
    base = base_url.rstrip("/")
    return {f"gcp:{name}CustomEndpoint": f"{base}/{service}/{path}" for name, (service, path) in SERVICES.items()}


def url_of(configuration: Mapping[str, object], name: str) -> str:
    """The address of a service by the provider's configuration; Google's own where it doesn't say."""
    given = configuration.get(f"{name}CustomEndpoint")
    if isinstance(given, str) and given:
        return given if given.endswith("/") else f"{given}/"
    service, path = SERVICES[name]
    return f"https://{service}.googleapis.com/{path}"
