"""Resource Manager: the one project, and its IAM policy. https://cloud.google.com/resource-manager/reference/rest"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud import iam
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.state import Cloud

SERVICE = "cloudresourcemanager"
_P = "cloudresourcemanager.projects"
_CREATED = "2025-01-02T03:04:05.678Z"


def _on_project(call: Call) -> str:
    return f"projects/{call.cloud.project}"


@method(f"{_P}.get", permission="resourcemanager.projects.get", on=_on_project)
def get(call: Call) -> dict[str, Any]:
    cloud = call.cloud
    if call.method.version == "v3":
        return {
            "name": f"projects/{cloud.number}",
            "projectId": cloud.project,
            "displayName": cloud.project,
            "state": "ACTIVE",
            "parent": "organizations/987654321098",
            "createTime": _CREATED,
            "etag": 'W/"1"',
        }
    return {
        "projectNumber": cloud.number,
        "projectId": cloud.project,
        "lifecycleState": "ACTIVE",
        "name": cloud.project,
        "createTime": _CREATED,
        "parent": {"type": "organization", "id": "987654321098"},
    }


@method(f"{_P}.getIamPolicy", permission="resourcemanager.projects.getIamPolicy", on=_on_project)
def get_policy(call: Call) -> dict[str, Any]:
    begin(call.cloud)
    return iam.policy_of(call.cloud, SERVICE, _on_project(call))


@method(f"{_P}.setIamPolicy", permission="resourcemanager.projects.setIamPolicy", on=_on_project)
def set_policy(call: Call) -> dict[str, Any]:
    begin(call.cloud)
    policy = dict(call.body.get("policy", {}))
    mask = (call.body.get("updateMask") or "bindings,etag,auditConfigs").split(",")
    if "bindings" not in mask:
        policy["bindings"] = iam.policy_of(call.cloud, SERVICE, _on_project(call)).get("bindings", [])
    return iam.set_policy(call.cloud, SERVICE, _on_project(call), policy)


@method(f"{_P}.testIamPermissions", permission=None)
def test_permissions(call: Call) -> dict[str, Any]:
    return iam.answer_test(call.cloud, call.principal, SERVICE, _on_project(call), call.body.get("permissions", []))


def begin(cloud: Cloud) -> None:
    """The policy of a new project: the one who made it owns it."""
    first = {"version": 1, "etag": "BwYAAAAAAAE=", "bindings": [{"role": "roles/owner", "members": [cloud.operator]}]}
    iam.start_policy(cloud, SERVICE, f"projects/{cloud.project}", first)
