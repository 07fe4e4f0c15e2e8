"""What the cloud has, against what the engine's state knows: what nobody knows of would be paid for, for ever."""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.cloud.rules.sqladmin import INSTANCES
from rehearsal.cloud.state import Cloud
from rehearsal.run.stage import Stage

_BY_ID = (
    "artifactregistry.repositories",
    "cloudscheduler.jobs",
    "iam.roles",
    "iam.serviceAccounts",
    "monitoring.alertPolicies",
    "monitoring.channels",
    "monitoring.dashboards",
    "run.jobs",
    "secretmanager.secrets",
    "storage.buckets",
    "vpcaccess.connectors",
)
"""Collections whose names are the ids that the provider gives its resources."""


def there(cloud: Cloud) -> set[str]:
    """The ids of all that a program makes and that can be made twice."""
    return set(_there(cloud))


def unknown(stage: Stage) -> set[str]:
    """The ids of what is in the cloud and not in the state."""
    known = {stage.cloud.canonical(str(each.get("id", ""))) for each in stage.known()}
    return there(stage.cloud) - known


def _there(cloud: Cloud) -> Iterator[str]:
    for kind in _BY_ID:
        yield from list(cloud.collection(kind))
    for name in list(cloud.collection(INSTANCES)):
        yield f"projects/{cloud.project}/instances/{name}"
    for name in list(cloud.collection("logging.metrics")):
        yield name.rpartition("/")[2]
    for name, version in list(cloud.collection("secretmanager.versions").items()):
        if version.get("state") != "DESTROYED":
            yield name
