"""What Service Networking refuses."""

from __future__ import annotations

from rehearsal.cloud.rules import Rule, add

_DOCS = "https://cloud.google.com/vpc/docs/configure-private-services-access"
_REST = "https://cloud.google.com/service-infrastructure/docs/service-networking/reference/rest/v1/services.connections"
_CREATE, _PATCH = "servicenetworking.services.connections.create", "servicenetworking.services.connections.patch"

add(
    Rule(
        key="connection-network",
        methods=(_CREATE, _PATCH),
        message="The network '{network}' was not found.",
        source=f"{_REST}#Connection.FIELDS.network",
        code=404,
    ),
    Rule(
        key="connection-no-range",
        methods=(_CREATE, _PATCH),
        message="At least one reserved peering range is required.",
        source=f"{_REST}#Connection.FIELDS.reserved_peering_ranges (required)",
    ),
    Rule(
        key="connection-range",
        methods=(_CREATE, _PATCH),
        message="Allocated IP range '{range}' not found in network '{network}'.",
        source=f"{_DOCS}#creating-connection",
    ),
    Rule(
        key="connection-exists",
        methods=(_CREATE,),
        message="Cannot modify allocated ranges in CreateConnection. Please use UpdateConnection. Existing allocated "
        "IP ranges: [{ranges}].",
        source="hashicorp/terraform-provider-google issue 3294, where the API says so",
        status="FAILED_PRECONDITION",
    ),
    Rule(
        key="connection-mask",
        methods=(_PATCH,),
        message="The update mask '{mask}' is not supported; only reservedPeeringRanges can be updated.",
        source=f"{_REST}/patch#body.QUERY_PARAMETERS.update_mask",
    ),
    Rule(
        key="connection-missing",
        methods=(_PATCH, "servicenetworking.services.connections.deleteConnection"),
        message="There is no private connection in network '{network}'.",
        source=f"{_REST}/patch",
        code=404,
    ),
    Rule(
        key="connection-range-removed",
        methods=(_PATCH,),
        message="Cannot remove allocated IP ranges [{ranges}] without force.",
        source=f"{_REST}/patch#body.QUERY_PARAMETERS.force",
        status="FAILED_PRECONDITION",
    ),
    Rule(
        key="connection-in-use",
        methods=("servicenetworking.services.connections.deleteConnection",),
        message="Failed to delete connection; Producer services (e.g. CloudSQL, Cloud Memstore, etc.) are still using "
        "this connection.",
        source="hashicorp/terraform-provider-google issue 16275, where the API says so",
        status="FAILED_PRECONDITION",
    ),
)
