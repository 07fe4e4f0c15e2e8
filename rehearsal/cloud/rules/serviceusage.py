"""What Service Usage refuses."""

from __future__ import annotations

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_DOCS = "https://cloud.google.com/service-usage/docs/reference/rest/v1/services"


def _too_many(call: Call) -> Details | None:
    count = len(call.body.get("serviceIds", []))
    return None if 1 <= count <= 20 else {"count": count}


add(
    Rule(
        key="services-per-batch",
        methods=("serviceusage.services.batchEnable",),
        message="A batch must have between 1 and 20 services; this one has {count}.",
        source=f"{_DOCS}/batchEnable (at most 20 services)",
        check=_too_many,
    ),
    Rule(
        key="service-unknown",
        methods=(),
        message="Not found or permission denied for service(s): {service}.",
        source=f"{_DOCS}/enable; the API's words for a name that it hasn't got",
        code=403,
    ),
    Rule(
        key="service-without-identity",
        methods=("serviceusage.services.generateServiceIdentity",),
        message="Service {service} has no service identity.",
        source="https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services/generateServiceIdentity",
    ),
    Rule(
        key="service-disabled",
        methods=("serviceusage.services.generateServiceIdentity",),
        message="Service {service} is not enabled for the project; enable it, then ask for its identity.",
        source="https://cloud.google.com/iam/docs/create-service-agents#create",
        status="FAILED_PRECONDITION",
    ),
)
