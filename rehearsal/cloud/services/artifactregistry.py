"""Artifact Registry: repositories, without images. https://cloud.google.com/artifact-registry/docs/reference/rest"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud import iam, operations
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import known_mask, page, updated
from rehearsal.cloud.keeping import chosen, found, inside
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import now

SERVICE, REPOSITORIES = "artifactregistry", "artifactregistry.repositories"
_R = "artifactregistry.projects.locations.repositories"
_TYPE = "type.googleapis.com/google.devtools.artifactregistry.v1"
_GIVEN = (
    "description",
    "labels",
    "format",
    "mode",
    "dockerConfig",
    "mavenConfig",
    "cleanupPolicies",
    "cleanupPolicyDryRun",
    "kmsKeyName",
)


@method(f"{_R}.create", permission="artifactregistry.repositories.create", note="no image can be pushed")
def create(call: Call) -> dict[str, Any]:
    short, at = call.query.get("repositoryId", ""), now()
    name = f"{call.name}/repositories/{short}"
    location = name.split("/")[3]
    scanning = {
        "lastEnableTime": at,
        "enablementState": "SCANNING_DISABLED",
        "enablementStateReason": "API containerscanning.googleapis.com is not enabled.",
    }
    document = {
        "name": name,
        **chosen(call.body, *_GIVEN),
        "createTime": at,
        "updateTime": at,
        "vulnerabilityScanningConfig": scanning,
        "satisfiesPzi": True,
        "registryUri": f"{location}-docker.pkg.dev/{call.cloud.project}/{short}",
    }
    document.setdefault("mode", "STANDARD_REPOSITORY")

    def work() -> dict[str, Any]:
        with call.cloud.lock:
            kept = call.cloud.collection(REPOSITORIES)
            if name in kept:
                raise refuse("repository-exists")
            kept[name] = document
            return {"@type": f"{_TYPE}.Repository", **document}

    if name in call.cloud.collection(REPOSITORIES):
        raise refuse("repository-exists")
    return _begin(call, work)


@method(f"{_R}.get", permission="artifactregistry.repositories.get")
def get(call: Call) -> dict[str, Any]:
    return found(call.cloud, REPOSITORIES, call.name, refuse("repository-missing", name=call.name))


@method(f"{_R}.list", permission="artifactregistry.repositories.list")
def list_(call: Call) -> dict[str, Any]:
    return page(inside(call.cloud, REPOSITORIES, call.name), call.query, "repositories")


@method(f"{_R}.patch", permission="artifactregistry.repositories.update", note="cleanup policies don't run")
def patch(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        current = get(call)
        mask = call.query.get("updateMask") or ",".join(chosen(call.body, *_GIVEN))
        changed = updated(current, call.body, known_mask(mask, set(_GIVEN) - {"format", "mode", "kmsKeyName"}))
        call.cloud.collection(REPOSITORIES)[call.name] = changed | {"updateTime": now()}
        return call.cloud.collection(REPOSITORIES)[call.name]


@method(f"{_R}.delete", permission="artifactregistry.repositories.delete")
def delete(call: Call) -> dict[str, Any]:
    get(call)

    def work() -> dict[str, Any]:
        with call.cloud.lock:
            call.cloud.collection(REPOSITORIES).pop(call.name, None)
            iam.forget_policies(call.cloud, SERVICE, call.name)
        return {"@type": "type.googleapis.com/google.protobuf.Empty"}

    return _begin(call, work)


@method(f"{_R}.getIamPolicy", permission="artifactregistry.repositories.getIamPolicy")
def get_policy(call: Call) -> dict[str, Any]:
    get(call)
    return iam.policy_of(call.cloud, SERVICE, call.name)


@method(f"{_R}.setIamPolicy", permission="artifactregistry.repositories.setIamPolicy")
def set_policy(call: Call) -> dict[str, Any]:
    get(call)
    return iam.set_policy(call.cloud, SERVICE, call.name, call.body.get("policy", {}))


@method("artifactregistry.projects.locations.operations.get", permission=None)
def get_operation(call: Call) -> dict[str, Any]:
    return operations.lro(operations.get(call.cloud, call.name))


def _begin(call: Call, work: operations.Work) -> dict[str, Any]:
    name = operations.lro_name(call.cloud, call.name.split("/")[3])
    return operations.begun(call, name, work, metadata={"@type": f"{_TYPE}.OperationMetadata"})
