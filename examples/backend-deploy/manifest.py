"""The backend as a Cloud Run service in YAML, for ``gcloud run services replace``."""

from __future__ import annotations

import json
from typing import Any

import yaml
from flags import Database, Unfit

ANNOTATIONS = {
    "add-cloudsql-instances": "run.googleapis.com/cloudsql-instances",
    "vpc-connector": "run.googleapis.com/vpc-access-connector",
    "vpc-egress": "run.googleapis.com/vpc-access-egress",
    "max-instances": "autoscaling.knative.dev/maxScale",
}
"""Flag of ``gcloud run deploy`` → annotation of the revision."""


def service(database: Database, *, name: str, image: str) -> str:
    """A Knative service. Raises ``Unfit`` for a flag of the contract that has no place here yet."""
    flags = dict(database.flags)
    account = flags.pop("service-account", None)
    network, subnet = flags.pop("network", None), flags.pop("subnet", None)
    unknown = sorted(set(flags) - set(ANNOTATIONS))
    if unknown:
        raise Unfit(f"no place in the YAML is known for {', '.join(unknown)}: add it to {__name__}.py")
    container: dict[str, Any] = {"image": image, "env": _environment(database)}
    revision: dict[str, Any] = {"containers": [container]}
    if account:
        revision["serviceAccountName"] = account
    files = {path: place for path, place in database.secrets.items() if path.startswith("/")}
    if files:
        revision["volumes"] = [_volume(path, place) for path, place in files.items()]
        container["volumeMounts"] = [{"name": _name(path), "mountPath": path.rpartition("/")[0]} for path in files]
    labels = {"cloud.googleapis.com/location": database.outputs["region"]} if database.outputs["region"] else {}
    annotations = {ANNOTATIONS[flag]: value for flag, value in flags.items()}
    if network or subnet:
        interface = {key: value for key, value in (("network", network), ("subnetwork", subnet)) if value}
        annotations["run.googleapis.com/network-interfaces"] = json.dumps([interface])
    document = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": revision}},
    }
    return yaml.safe_dump(document, sort_keys=False)


def _environment(database: Database) -> list[dict[str, Any]]:
    plain = [{"name": name, "value": value} for name, value in database.variables.items()]
    secret = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": _secret(place), "key": _version(place)}}}
        for name, place in database.secrets.items()
        if not name.startswith("/")
    ]
    return [*plain, *secret]


def _volume(path: str, place: str) -> dict[str, Any]:
    """One file of a secret; gcloud's ``--set-secrets`` says it as ``/path=secret:version``."""
    items = [{"key": _version(place), "path": path.rpartition("/")[2]}]
    return {"name": _name(path), "secret": {"secretName": _secret(place), "items": items}}


def _name(path: str) -> str:
    return path.split("/")[-2]


def _secret(place: str) -> str:
    return place.rpartition(":")[0]


def _version(place: str) -> str:
    return place.rpartition(":")[2]
