"""IAM: service accounts, who may act as them, and the project's own roles.

https://cloud.google.com/iam/docs/reference/rest
"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud import iam
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import known_mask, page, updated
from rehearsal.cloud.keeping import chosen, found, inside, made
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import Cloud, long_id

SERVICE, ACCOUNTS, ROLES = "iam", "iam.serviceAccounts", "iam.roles"
_A, _R = "iam.projects.serviceAccounts", "iam.projects.roles"
_ROLE_FIELDS = ("title", "description", "includedPermissions", "stage")


@method(f"{_A}.create", permission="iam.serviceAccounts.create")
def create(call: Call) -> dict[str, Any]:
    email = call.cloud.service_account(call.body["accountId"])
    name, unique = f"{call.name}/serviceAccounts/{email}", f"1{long_id()}{long_id()}"[:21]
    document = {
        "name": name,
        "projectId": call.cloud.project,
        "uniqueId": unique,
        "email": email,
        "etag": iam.new_etag(),
        "oauth2ClientId": unique,
        **chosen(call.body.get("serviceAccount", {}), "displayName", "description"),
    }
    exists = refuse("account-exists", account=call.body["accountId"], project=call.name)
    return made(call.cloud, ACCOUNTS, name, document, exists)


@method(f"{_A}.get", permission="iam.serviceAccounts.get", on=lambda call: _full(call))
def get(call: Call) -> dict[str, Any]:
    return account(call.cloud, call.name)


@method(f"{_A}.list", permission="iam.serviceAccounts.list")
def list_(call: Call) -> dict[str, Any]:
    return page(inside(call.cloud, ACCOUNTS, call.name), call.query, "accounts", size=20, most=100)


@method(f"{_A}.patch", permission="iam.serviceAccounts.update", on=lambda call: _full(call))
def patch(call: Call) -> dict[str, Any]:
    return _changed(call, call.body.get("serviceAccount", {}), call.body.get("updateMask", ""))


@method(f"{_A}.update", permission="iam.serviceAccounts.update", on=lambda call: _full(call))
def update(call: Call) -> dict[str, Any]:
    return _changed(call, call.body, "displayName,description")


@method(f"{_A}.delete", permission="iam.serviceAccounts.delete", on=lambda call: _full(call))
def delete(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        gone = account(call.cloud, call.name)
        del call.cloud.collection(ACCOUNTS)[gone["name"]]
        iam.forget_policies(call.cloud, SERVICE, gone["name"])
        iam.forget_member(call.cloud, f"serviceAccount:{gone['email']}", gone["uniqueId"])
    return {}


@method(f"{_A}.enable", f"{_A}.disable", permission="iam.serviceAccounts.enable", on=lambda call: _full(call))
def switch(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        kept = account(call.cloud, call.name)
        kept.pop("disabled", None)
        if call.method.id.endswith(".disable"):
            kept["disabled"] = True
    return {}


@method(f"{_A}.getIamPolicy", permission="iam.serviceAccounts.getIamPolicy", on=lambda call: _full(call))
def get_policy(call: Call) -> dict[str, Any]:
    return iam.policy_of(call.cloud, SERVICE, account(call.cloud, call.name)["name"])


@method(f"{_A}.setIamPolicy", permission="iam.serviceAccounts.setIamPolicy", on=lambda call: _full(call))
def set_policy(call: Call) -> dict[str, Any]:
    name = account(call.cloud, call.name)["name"]
    return iam.set_policy(call.cloud, SERVICE, name, call.body.get("policy", {}))


@method(f"{_A}.testIamPermissions", permission=None)
def test_permissions(call: Call) -> dict[str, Any]:
    asked = call.body.get("permissions", [])
    return iam.answer_test(call.cloud, call.principal, SERVICE, _full(call), asked)


@method("iamcredentials.projects.serviceAccounts.generateAccessToken", permission=None, note="the token never expires")
def generate_access_token(call: Call) -> dict[str, Any]:
    kept = account(call.cloud, call.name)
    iam.require(call.cloud, call.principal, "iam.serviceAccounts.getAccessToken", SERVICE, kept["name"])
    return {"accessToken": call.cloud.token_for(kept["email"]), "expireTime": "2099-01-01T00:00:00Z"}


@method(f"{_R}.create", permission="iam.roles.create")
def create_role(call: Call) -> dict[str, Any]:
    name = f"{call.name}/roles/{call.body['roleId']}"
    with call.cloud.lock:
        kept = call.cloud.collection(ROLES).get(name)
        if kept is not None:
            key = "role-deleted" if kept.get("deleted") else "role-exists"
            raise refuse(key, role=call.body["roleId"], name=name)
        role = call.body.get("role", {})
        document = {"name": name, **chosen(role, *_ROLE_FIELDS), "etag": iam.new_etag()}
        document.setdefault("stage", "ALPHA")
        return made(call.cloud, ROLES, name, document)


@method(f"{_R}.get", permission="iam.roles.get")
def get_role(call: Call) -> dict[str, Any]:
    return _role(call)


@method(f"{_R}.list", permission="iam.roles.list")
def list_roles(call: Call) -> dict[str, Any]:
    every = [
        role
        for role in inside(call.cloud, ROLES, call.name)
        if call.query.get("showDeleted") or not role.get("deleted")
    ]
    return page(every, call.query, "roles", size=300, most=1000)


@method(f"{_R}.patch", permission="iam.roles.update")
def patch_role(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        current = _role(call)
        if call.body.get("etag") and not iam.same_etag(call.body["etag"], current["etag"]):
            raise refuse("iam-etag")
        mask = call.query.get("updateMask") or ",".join(field for field in _ROLE_FIELDS if field in call.body)
        current |= updated(current, call.body, known_mask(mask, _ROLE_FIELDS)) | {"etag": iam.new_etag()}
        return current


@method(f"{_R}.delete", permission="iam.roles.delete", note="a deleted role is never purged")
def delete_role(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        kept = _role(call)
        kept["deleted"] = True
        return kept


@method(f"{_R}.undelete", permission="iam.roles.undelete")
def undelete_role(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        kept = _role(call)
        kept.pop("deleted", None)
        return kept


def account(cloud: Cloud, name: str) -> dict[str, Any]:
    """By address or unique id; ``projects/-`` finds it too. Raises GoogleError 404."""
    key = name.rpartition("/")[2]
    with cloud.lock:
        for kept in cloud.collection(ACCOUNTS).values():
            if key in (kept["email"], kept["uniqueId"]):
                return kept
    raise refuse("account-missing", name=name)


def _full(call: Call) -> str:
    return f"projects/{call.cloud.project}/serviceAccounts/{call.short}"


def _changed(call: Call, sent: dict[str, Any], mask: str) -> dict[str, Any]:
    with call.cloud.lock:
        current = account(call.cloud, call.name)
        if sent.get("etag") and not iam.same_etag(sent["etag"], current["etag"]):
            raise refuse("iam-etag")
        wanted = known_mask(mask, ("displayName", "description", "etag"))
        changed = updated(current, sent, [path for path in wanted if path != "etag"])
        current.clear()
        current.update(changed | {"etag": iam.new_etag()})
        return current


def _role(call: Call) -> dict[str, Any]:
    return found(call.cloud, ROLES, call.name, refuse("role-missing", name=call.name))
