"""Service Usage: which APIs are on, and the identity that a service has in the project.

https://cloud.google.com/service-usage/docs/reference/rest. The APIs that another one needs aren't enabled with it: what
the program uses, it has to ask for.
"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud import discovery, iam, operations
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.errors import invalid
from rehearsal.cloud.fields import page
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.services import cloudresourcemanager
from rehearsal.cloud.state import ENABLED_AT_FIRST, Cloud, long_id

_S = "serviceusage.services"
_META = "type.googleapis.com/google.api.serviceusage.v1"
KNOWN = (
    frozenset(discovery.HOSTS) | frozenset(ENABLED_AT_FIRST) | {"serviceusage", "containerscanning", "pubsub", "sts"}
)
"""Another name is refused, as Google refuses one that it hasn't got."""
AGENTS = {
    "sqladmin": "service-{number}@gcp-sa-cloud-sql.iam.gserviceaccount.com",
    "run": "service-{number}@serverless-robot-prod.iam.gserviceaccount.com",
    "cloudscheduler": "service-{number}@gcp-sa-cloudscheduler.iam.gserviceaccount.com",
    "secretmanager": "service-{number}@gcp-sa-secretmanager.iam.gserviceaccount.com",
    "artifactregistry": "service-{number}@gcp-sa-artifactregistry.iam.gserviceaccount.com",
    "vpcaccess": "service-{number}@gcp-sa-vpcaccess.iam.gserviceaccount.com",
    "servicenetworking": "service-{number}@service-networking.iam.gserviceaccount.com",
    "compute": "service-{number}@compute-system.iam.gserviceaccount.com",
}
"""https://cloud.google.com/iam/docs/service-agents"""
AGENT_ROLES = {"compute": "roles/compute.serviceAgent"}
"""What an agent gets on the project with its API, of those whose bindings the recording shows."""


@method(f"{_S}.list", permission="serviceusage.services.list")
def list_(call: Call) -> dict[str, Any]:
    wanted = {"state:ENABLED": True, "state:DISABLED": False, "": None}
    asked = call.query.get("filter", "")
    if asked not in wanted:
        raise invalid("Invalid filter: only state:ENABLED and state:DISABLED are allowed.", field="filter")
    with call.cloud.lock:
        found = [short for short in KNOWN | call.cloud.enabled if wanted[asked] in (None, short in call.cloud.enabled)]
        names = sorted(found, key="{}.googleapis.com".format)
    query = {**call.query, "filter": ""}
    return page([_document(call.cloud, short) for short in names], query, "services", size=50, most=200)


@method(f"{_S}.get", permission="serviceusage.services.get")
def get(call: Call) -> dict[str, Any]:
    return _document(call.cloud, _known(call.short))


@method(f"{_S}.enable", permission="serviceusage.services.enable")
def enable(call: Call) -> dict[str, Any]:
    short = _known(call.short)

    def work() -> dict[str, Any]:
        turn_on(call.cloud, [short])
        return {"@type": f"{_META}.EnableServiceResponse", "service": _document(call.cloud, short)}

    return _begin(call, work, [short])


@method(f"{_S}.batchEnable", permission="serviceusage.services.enable")
def batch_enable(call: Call) -> dict[str, Any]:
    shorts = [_known(host) for host in call.body.get("serviceIds", [])]

    def work() -> dict[str, Any]:
        turn_on(call.cloud, shorts)
        services = [_document(call.cloud, short) for short in shorts]
        return {"@type": f"{_META}.BatchEnableServicesResponse", "services": services}

    return _begin(call, work, shorts)


@method(f"{_S}.disable", permission="serviceusage.services.disable", note="what a service still has isn't looked at")
def disable(call: Call) -> dict[str, Any]:
    short = _known(call.short)

    def work() -> dict[str, Any]:
        with call.cloud.lock:
            call.cloud.enabled.discard(short)
        return {"@type": f"{_META}.DisableServiceResponse", "service": _document(call.cloud, short)}

    return _begin(call, work, [short])


@method(f"{_S}.generateServiceIdentity", permission="serviceusage.services.generateServiceIdentity")
def generate_identity(call: Call) -> dict[str, Any]:
    short = _known(call.short)
    if short not in call.cloud.enabled:
        raise refuse("service-disabled", service=f"{short}.googleapis.com")
    if short not in AGENTS:
        raise refuse("service-without-identity", service=f"{short}.googleapis.com")

    def work() -> dict[str, Any]:
        email = agent(call.cloud, short)
        kind = "type.googleapis.com/google.api.serviceusage.v1beta1.ServiceIdentity"
        return {"@type": kind, "email": email, "uniqueId": call.cloud.collection("iam.agents")[email]["uniqueId"]}

    return _begin(call, work, [short])


@method("serviceusage.operations.get", permission=None)
def get_operation(call: Call) -> dict[str, Any]:
    return operations.lro(operations.get(call.cloud, call.name))


def agent(cloud: Cloud, short: str) -> str:
    """The address of a service's own account in this project, which exists from now on."""
    email = AGENTS[short].format(number=cloud.number)
    with cloud.lock:
        cloud.collection("iam.agents").setdefault(email, {"email": email, "uniqueId": f"1{long_id()}"})
    return email


def turn_on(cloud: Cloud, shorts: list[str]) -> None:
    """Enable these APIs."""
    with cloud.lock:
        cloud.enabled.update(shorts)
    for short in AGENT_ROLES.keys() & set(shorts):
        _give_role(cloud, agent(cloud, short), AGENT_ROLES[short])


def _give_role(cloud: Cloud, email: str, role: str) -> None:
    """With the API its agent gets a role on the project: https://cloud.google.com/iam/docs/service-agents"""
    cloudresourcemanager.begin(cloud)
    with cloud.lock:
        project = f"projects/{cloud.project}"
        policy = iam.policy_of(cloud, cloudresourcemanager.SERVICE, project)
        if all(binding["role"] != role for binding in policy["bindings"]):
            binding = {"role": role, "members": [f"serviceAccount:{email}"]}
            policy["bindings"].append(binding)
            iam.set_policy(cloud, cloudresourcemanager.SERVICE, project, policy)


def _known(host: str) -> str:
    short = host.removesuffix(".googleapis.com")
    if short not in KNOWN:
        raise refuse("service-unknown", service=host)
    return short


def _begin(call: Call, work: operations.Work, shorts: list[str]) -> dict[str, Any]:
    number = call.cloud.number
    metadata = {
        "@type": f"{_META}.OperationMetadata",
        "resourceNames": [f"services/{short}.googleapis.com/projectSettings/{number}" for short in shorts],
    }
    name = f"operations/acf.p2-{number}-{operations.new_id()}"
    return operations.begun(call, name, work, metadata=metadata)


def _document(cloud: Cloud, short: str) -> dict[str, Any]:
    host = f"{short}.googleapis.com"
    config = {
        "name": host,
        "title": f"{short} API",
        "documentation": {},
        "quota": {},
        "authentication": {},
        "usage": {"requirements": ["serviceusage.googleapis.com/tos/cloud"]},
        "monitoring": {},
    }
    state = "ENABLED" if short in cloud.enabled else "DISABLED"
    parent = f"projects/{cloud.number}"
    return {"name": f"{parent}/services/{host}", "config": config, "state": state, "parent": parent}
