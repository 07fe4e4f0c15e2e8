"""IAM: policies with etags, read and set as Google documents it, and who may do what."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from rehearsal.cloud import conditions, roles
from rehearsal.cloud.errors import GoogleError, aborted, denied, invalid
from rehearsal.cloud.state import Cloud

Policy = dict[str, Any]
EMPTY_ETAG = "ACAB"
"""The etag of a policy that was never set."""
_POLICIES = "policies"
_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(user|group|serviceAccount|domain):[^\s:]+|project(Owner|Editor|Viewer):[^\s:]+"
    r"|principal(Set)?://iam\.googleapis\.com/\S+|deleted:\S+"
)
_CUSTOM = "iam.roles"


def policy_of(cloud: Cloud, service: str, resource: str) -> Policy:
    """The policy as it was set, or an empty one."""
    with cloud.lock:
        kept = cloud.collection(_POLICIES).get(f"{service}:{resource}")
        return deepcopy(kept) if kept else {"etag": EMPTY_ETAG}


def start_policy(cloud: Cloud, service: str, resource: str, policy: Policy) -> None:
    """The policy that a resource has from the beginning."""
    with cloud.lock:
        cloud.collection(_POLICIES).setdefault(f"{service}:{resource}", policy)


def forget_policies(cloud: Cloud, service: str, resource: str) -> None:
    """With a resource its policy goes, and those of what it holds."""
    with cloud.lock:
        kept = cloud.collection(_POLICIES)
        for name in [name for name in kept if f"{name}/".startswith(f"{service}:{resource}/")]:
            del kept[name]


def forget_member(cloud: Cloud, member: str, unique_id: str) -> None:
    """A deleted account's bindings stay, and give nothing: https://cloud.google.com/iam/docs/principals-overview"""
    with cloud.lock:
        for policy in cloud.collection(_POLICIES).values():
            for binding in policy.get("bindings", ()):
                if member in binding["members"]:
                    kept = [each for each in binding["members"] if each != member]
                    binding["members"] = sorted([*kept, f"deleted:{member}?uid={unique_id}"])


def set_policy(
    cloud: Cloud, service: str, resource: str, sent: Mapping[str, Any], *, etag: str | None = None
) -> Policy:
    """Replace the policy; a stale etag is refused. https://cloud.google.com/iam/docs/policies#etag

    Raises GoogleError.
    """
    with cloud.lock:
        current = policy_of(cloud, service, resource)
        if sent.get("etag") and not same_etag(sent["etag"], current["etag"]):
            raise aborted(
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential "
                f"backoff. The request's ETag '{sent['etag']}' did not match the current policy's ETag "
                f"'{current['etag']}'."
            )
        bindings = [checked_binding(cloud, binding, sent) for binding in sent.get("bindings") or ()]
        policy: Policy = {"version": sent.get("version", 1), "etag": etag or new_etag()}
        if kept := _merged(bindings):
            policy["bindings"] = kept
        for audit in ("auditConfigs",):
            if sent.get(audit):
                policy[audit] = sent[audit]
        cloud.collection(_POLICIES)[f"{service}:{resource}"] = policy
        return deepcopy(policy)


def checked_binding(cloud: Cloud, binding: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, Any]:
    """Raises GoogleError 400 for a role or member that Google wouldn't take."""
    role, condition = binding.get("role", ""), binding.get("condition")
    if not re.fullmatch(r"roles/[\w.]+|(projects|organizations)/[^/]+/roles/[\w.]+", role):
        raise invalid(f"Role name must be in the format roles/{{role}}; got '{role}'.")
    if role.startswith("projects/") and cloud.canonical(role) not in cloud.collection(_CUSTOM):
        raise invalid(f"Role {role} does not exist in the resource's hierarchy.")
    for member in binding.get("members") or ():
        _check_member(cloud, member)
    made = {"role": role, "members": sorted(set(binding.get("members") or ()))}
    if condition:
        if policy.get("version") != 3:
            raise invalid("Policy version must be set to 3 (or greater) to specify IAM conditions.")
        try:
            conditions.check(condition.get("expression", ""))
        except conditions.NotCel as error:
            raise invalid(f"Invalid expression in condition '{condition.get('title', '')}': {error}.") from None
        made["condition"] = dict(condition)
    return made


def _check_member(cloud: Cloud, member: str) -> None:
    if not _MEMBER.fullmatch(member):
        raise invalid(f"Invalid member '{member}': must be prefixed with its type, such as user: or serviceAccount:.")
    kind, _, email = member.partition(":")
    if kind == "serviceAccount":
        if email != email.lower():
            raise invalid(f"The member {member} is of an unknown type. Service accounts are in lower case.")
        if not _account_is_there(cloud, email):
            raise invalid(f"Service account {email} does not exist.")


def _account_is_there(cloud: Cloud, email: str) -> bool:
    """Of this project's accounts and of its services' own; others can't be looked into."""
    if email.endswith(f"@{cloud.project}.iam.gserviceaccount.com"):
        return f"projects/{cloud.project}/serviceAccounts/{email}" in cloud.collection("iam.serviceAccounts")
    if email.startswith(f"service-{cloud.number}@gcp-sa-"):
        return email in cloud.collection("iam.agents")
    return True


def _merged(bindings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One binding for each role and condition; none without members."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for binding in bindings:
        if not binding["members"]:
            continue
        key = (binding["role"], repr(sorted(binding.get("condition", {}).items())))
        if key in merged:
            merged[key]["members"] = sorted({*merged[key]["members"], *binding["members"]})
        else:
            merged[key] = binding
    return [merged[key] for key in sorted(merged)]


def new_etag() -> str:
    return base64.b64encode(b"\x07\x06" + secrets.token_bytes(6)).decode()


def same_etag(one: str, other: str) -> bool:
    """Etags are bytes: their text may be of the URL's alphabet or of the usual one."""
    return one.replace("-", "+").replace("_", "/") == other.replace("-", "+").replace("_", "/")


# Who may do what.


def require(cloud: Cloud, principal: str, permission: str, service: str, resource: str) -> None:
    """Raises GoogleError 403 where the principal may not."""
    if not allowed(cloud, principal, permission, service, resource):
        raise denied(permission, resource)


def allowed(cloud: Cloud, principal: str, permission: str, service: str, resource: str) -> bool:
    """Whether a binding on the resource, on what it lies in, or on the project gives it. The operator may all."""
    if principal == cloud.operator:
        return True
    names = _names(principal)
    attributes = {
        "resource.name": resource,
        "resource.service": f"{service}.googleapis.com",
        "resource.type": "",
        "request.time": datetime.now(UTC),
    }
    return any(
        _gives(cloud, binding, permission, attributes)
        for policy in _policies_above(cloud, service, resource)
        for binding in policy.get("bindings", ())
        if names & set(binding["members"])
    )


def _names(principal: str) -> set[str]:
    return {principal, "allUsers", "allAuthenticatedUsers"}


def _policies_above(cloud: Cloud, service: str, resource: str) -> Iterator[Policy]:
    parts = resource.split("/")
    for length in range(len(parts), 0, -1):
        yield policy_of(cloud, service, "/".join(parts[:length]))
    yield policy_of(cloud, "cloudresourcemanager", f"projects/{cloud.project}")


def _gives(cloud: Cloud, binding: Mapping[str, Any], permission: str, attributes: Mapping[str, Any]) -> bool:
    role, condition = binding["role"], binding.get("condition")
    if role.startswith("roles/"):
        given = roles.role_allows(role, permission)
    else:
        custom = cloud.collection(_CUSTOM).get(cloud.canonical(role), {})
        given = permission in custom.get("includedPermissions", ()) and not custom.get("deleted")
    if not given or not condition:
        return given
    try:
        return conditions.holds(condition["expression"], attributes)
    except conditions.NotCel:
        return False


def answer_test(cloud: Cloud, principal: str, service: str, resource: str, asked: list[str]) -> dict[str, Any]:
    """``testIamPermissions``: those of the asked ones that the caller has."""
    has = [each for each in asked if allowed(cloud, principal, each, service, resource)]
    return {"permissions": has} if has else {}


def unknown_principal(given: bool) -> GoogleError:
    """401, without a token or with one that nobody was given."""
    what = "had invalid authentication credentials" if given else "is missing required authentication credential"
    return GoogleError(
        401,
        f"Request {what}. Expected OAuth 2 access token, login cookie or other valid authentication credential. "
        "See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    )
