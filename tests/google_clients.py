"""Google's own client for the rehearsal's cloud, and what its tests need of Cloud SQL and Cloud Run."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from rehearsal.cloud import app, iam
from rehearsal.cloud.state import Cloud

PROJECT, REGION = "demo-proj", "europe-west1"
SERVICES = {"sqladmin", "run", "secretmanager", "servicenetworking", "iam", "storage", "compute", "vpcaccess"}
PATIENCE_S = 120.0
_BASES = {"storage": "/storage/v1/", "compute": "/compute/v1/"}
"""Where the client's paths don't begin at the host."""
JOBS = f"projects/{PROJECT}/locations/{REGION}/jobs"


@contextlib.contextmanager
def running_cloud(folder: Path) -> Iterator[Cloud]:
    """A cloud that answers, with the APIs that a test needs."""
    cloud = Cloud(folder=folder, project=PROJECT, region=REGION)
    cloud.enabled |= SERVICES
    with app.running(cloud):
        yield cloud


@contextlib.contextmanager
def client(cloud: Cloud, service: str, version: str, token: str | None = None) -> Iterator[Any]:
    """``google-api-python-client`` for one service, as the operator or with another token."""
    made = build(
        service,
        version,
        credentials=Credentials(token=token or cloud.operator_token),
        client_options={"api_endpoint": f"{cloud.url}/{service}{_BASES.get(service, '')}"},
        static_discovery=True,
        num_retries=0,
    )
    try:
        yield made
    finally:
        made.close()


def settled(sql: Any, operation: dict[str, Any]) -> dict[str, Any]:
    """A Cloud SQL operation once it is done, failed or not."""
    deadline = time.monotonic() + PATIENCE_S
    while operation["status"] != "DONE":
        assert time.monotonic() < deadline, operation
        time.sleep(0.02)
        operation = sql.operations().get(project=PROJECT, operation=operation["name"]).execute()
    return operation


def done(sql: Any, operation: dict[str, Any]) -> dict[str, Any]:
    """The same, where it has to have succeeded."""
    found = settled(sql, operation)
    assert "error" not in found, found
    return found


def finished(run: Any, operation: dict[str, Any]) -> dict[str, Any]:
    """A long-running operation of Cloud Run once it is done, failed or not."""
    deadline = time.monotonic() + PATIENCE_S
    while not operation.get("done"):
        assert time.monotonic() < deadline, operation
        time.sleep(0.02)
        operation = run.projects().locations().operations().get(name=operation["name"]).execute()
    return operation


def instance_body(name: str, **settings: Any) -> dict[str, Any]:
    """The smallest instance that Cloud SQL takes."""
    given = {"tier": "db-g1-small", "edition": "ENTERPRISE", **settings}
    return {"name": name, "region": REGION, "databaseVersion": "POSTGRES_16", "settings": given}


def make_account(cloud: Cloud, name: str) -> str:
    """A service account; returns its address."""
    email = cloud.service_account(name)
    path = f"projects/{PROJECT}/serviceAccounts/{email}"
    with cloud.lock:
        cloud.collection("iam.serviceAccounts")[path] = {"name": path, "email": email}
    return email


def make_secret(cloud: Cloud, name: str, value: str) -> None:
    """A secret with one more version."""
    parent = f"projects/{PROJECT}"
    with client(cloud, "secretmanager", "v1") as manager:
        secrets = manager.projects().secrets()
        if f"{parent}/secrets/{name}" not in cloud.collection("secretmanager.secrets"):
            body = {"replication": {"automatic": {}}}
            secrets.create(parent=parent, secretId=name, body=body).execute()
        data = base64.b64encode(value.encode()).decode()
        secrets.addVersion(parent=f"{parent}/secrets/{name}", body={"payload": {"data": data}}).execute()


def allow(cloud: Cloud, service: str, resource: str, role: str, email: str) -> None:
    """Bind a role to a service account, beside what is bound."""
    policy = iam.policy_of(cloud, service, resource)
    bindings = [*policy.get("bindings", ()), {"role": role, "members": [f"serviceAccount:{email}"]}]
    iam.set_policy(cloud, service, resource, {**policy, "bindings": bindings})
