"""What IAM refuses of service accounts and roles; of policies: ``rehearsal.cloud.iam``."""

from __future__ import annotations

import re

from rehearsal.cloud import roles
from rehearsal.cloud.call import METHODS, Call
from rehearsal.cloud.rules import Details, Rule, add

_DOCS = "https://cloud.google.com/iam/docs/reference/rest/v1"
_CREATE, _PATCH = "iam.projects.serviceAccounts.create", "iam.projects.serviceAccounts.patch"
_ROLE_CREATE, _ROLE_PATCH = "iam.projects.roles.create", "iam.projects.roles.patch"


def _account_id(call: Call) -> Details | None:
    given = call.body.get("accountId", "")
    return None if re.fullmatch(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])", given) else {"given": given}


def _text(call: Call) -> Details | None:
    sent = call.body.get("serviceAccount", {})
    for name, limit in (("displayName", 100), ("description", 256)):
        if len(sent.get(name, "").encode()) > limit:
            return {"name": name, "limit": limit}
    return None


def _role_id(call: Call) -> Details | None:
    given = call.body.get("roleId", "")
    return None if re.fullmatch(r"[a-zA-Z0-9_.]{3,64}", given) else {"given": given}


def _role_text(call: Call) -> Details | None:
    sent = call.body.get("role", call.body)
    for name, limit in (("title", 100), ("description", 300)):
        if len(sent.get(name, "")) > limit:
            return {"name": name, "limit": limit}
    return None


def _permission(call: Call) -> Details | None:
    known = {registered.permission for registered in METHODS.values() if registered.permission}
    known |= {each for given in roles.ROLES.values() for each in given}
    for each in call.body.get("role", call.body).get("includedPermissions", []):
        if each not in known or "*" in each:
            return {"given": each}
    return None


add(
    Rule(
        key="account-id",
        methods=(_CREATE,),
        message="The account ID '{given}' does not have a valid length or form: it must match "
        "[a-z]([-a-z0-9]*[a-z0-9]) and have 6 to 30 characters.",
        source=f"{_DOCS}/projects.serviceAccounts/create#request-body",
        check=_account_id,
    ),
    Rule(
        key="account-text",
        methods=(_CREATE, _PATCH),
        message="The {name} of a service account must be at most {limit} bytes.",
        source=f"{_DOCS}/projects.serviceAccounts#ServiceAccount",
        check=_text,
    ),
    Rule(
        key="account-exists",
        methods=(_CREATE,),
        message="Service account {account} already exists within project {project}.",
        source=f"{_DOCS}/projects.serviceAccounts/create; the API's words",
        code=409,
    ),
    Rule(
        key="account-missing",
        methods=(),
        message="Unknown service account: {name}",
        source=f"{_DOCS}/projects.serviceAccounts/get; the API's words",
        code=404,
    ),
    Rule(
        key="iam-etag",
        methods=(_PATCH, _ROLE_PATCH),
        message="There were concurrent changes: the etag is not the current one. Read it again, then change it.",
        source=f"{_DOCS}/projects.roles#Role.FIELDS.etag",
        code=409,
        status="ABORTED",
    ),
    Rule(
        key="role-id",
        methods=(_ROLE_CREATE,),
        message="The role_id '{given}' must be 3 to 64 characters of [a-zA-Z0-9_.].",
        source=f"{_DOCS}/projects.roles/create#request-body",
        check=_role_id,
    ),
    Rule(
        key="role-text",
        methods=(_ROLE_CREATE, _ROLE_PATCH),
        message="The {name} of a role must be at most {limit} characters.",
        source=f"{_DOCS}/organizations.roles#Role",
        check=_role_text,
    ),
    Rule(
        key="role-permission",
        methods=(_ROLE_CREATE, _ROLE_PATCH),
        message="Permission {given} is not valid.",
        source="https://cloud.google.com/iam/docs/creating-custom-roles; known here: those that the rehearsal looks at",
        check=_permission,
    ),
    Rule(
        key="role-exists",
        methods=(_ROLE_CREATE,),
        message="A role named {role} in {name} already exists.",
        source=f"{_DOCS}/projects.roles/create; the API's words",
        code=409,
    ),
    Rule(
        key="role-deleted",
        methods=(_ROLE_CREATE,),
        message="You can't create a role with role_id ({role}) where there is an existing role with that role_id in a "
        "deleted state.",
        source="https://cloud.google.com/iam/docs/creating-custom-roles#deleting-custom-role",
        status="FAILED_PRECONDITION",
    ),
    Rule(
        key="role-missing",
        methods=(),
        message="The role named {name} was not found.",
        source=f"{_DOCS}/projects.roles/get; the API's words",
        code=404,
    ),
)
