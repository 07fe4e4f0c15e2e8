"""What Serverless VPC Access refuses."""

from __future__ import annotations

import re

from rehearsal.cloud import networks
from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_DOCS = "https://cloud.google.com/vpc/docs/configure-serverless-vpc-access"
_REST = "https://cloud.google.com/vpc/docs/reference/vpcaccess/rest/v1/projects.locations.connectors"
_CREATE, _PATCH = "vpcaccess.projects.locations.connectors.create", "vpcaccess.projects.locations.connectors.patch"
MACHINES = ("f1-micro", "e2-micro", "e2-standard-4")


def _name(call: Call) -> Details | None:
    given = call.query.get("connectorId", "")
    return None if re.fullmatch(r"[a-z][a-z0-9-]{0,23}[a-z0-9]", given) else {"given": given}


def _range(call: Call) -> Details | None:
    if call.body.get("subnet"):
        return None
    given = call.body.get("ipCidrRange", "")
    wanted = networks.as_range(given)
    return None if wanted is not None and wanted.prefixlen == 28 else {"given": given}


def _no_size(call: Call) -> Details | None:
    body = call.body
    instances = body.get("minInstances") is not None and body.get("maxInstances") is not None
    return None if instances or body.get("maxThroughput") is not None else {}


def _two_sizes(call: Call) -> Details | None:
    body = call.body
    instances = body.get("minInstances") is not None or body.get("maxInstances") is not None
    throughput = body.get("minThroughput") is not None or body.get("maxThroughput") is not None
    return {} if instances and throughput else None


def _instances(call: Call) -> Details | None:
    kept = call.cloud.collection(networks.CONNECTORS).get(call.name, {})
    sizes = {**kept, **call.body}
    least, most = sizes.get("minInstances"), sizes.get("maxInstances")
    if least is None or most is None:
        return None
    return None if 2 <= least < most <= 10 and least <= 9 else {"least": least, "most": most}


def _machine(call: Call) -> Details | None:
    given = call.body.get("machineType", "e2-micro")
    return None if given in MACHINES else {"given": given, "known": ", ".join(MACHINES)}


add(
    Rule(
        key="connector-name",
        methods=(_CREATE,),
        message="The connector ID '{given}' must match ^[a-z][-a-z0-9]{{0,23}}[a-z0-9]$.",
        source=f"{_DOCS}#create-connector (fewer than 26 characters)",
        check=_name,
    ),
    Rule(
        key="connector-range",
        methods=(_CREATE,),
        message="Invalid ip_cidr_range '{given}': it must be an unused /28 CIDR range.",
        source=f"{_DOCS}#create-connector",
        check=_range,
    ),
    Rule(
        key="connector-without-size",
        methods=(_CREATE,),
        message="One of min_instances and max_instances, or max_throughput, must be specified.",
        source="hashicorp/terraform-provider-google issue 10244 and " + _REST,
        check=_no_size,
    ),
    Rule(
        key="connector-two-sizes",
        methods=(_CREATE,),
        message="Only one of instances and throughput can be specified.",
        source=f"{_REST}#Connector",
        check=_two_sizes,
    ),
    Rule(
        key="connector-instances",
        methods=(_CREATE, _PATCH),
        message="min_instances {least} and max_instances {most} must be between 2 and 10, the first below the second.",
        source=f"{_REST}#Connector.FIELDS.max_instances",
        check=_instances,
    ),
    Rule(
        key="connector-machine",
        methods=(_CREATE, _PATCH),
        message="Invalid machine type '{given}': must be one of {known}.",
        source=f"{_DOCS}#scaling",
        check=_machine,
    ),
    Rule(
        key="connector-exists",
        methods=(_CREATE,),
        message="Requested entity already exists: {name}.",
        source=f"{_REST}/create; the API's words",
        code=409,
    ),
    Rule(
        key="connector-missing",
        methods=(),
        message="Connector {name} not found.",
        source=f"{_REST}/get",
        code=404,
    ),
    Rule(
        key="connector-network",
        methods=(_CREATE,),
        message="VPC network '{network}' does not exist.",
        source=f"{_DOCS}#create-connector",
        status="FAILED_PRECONDITION",
    ),
    Rule(
        key="connector-range-overlap",
        methods=(_CREATE,),
        message="Operation failed: ip_cidr_range {given} overlaps with {other}.",
        source=f"{_DOCS}#create-connector (must not overlap)",
        status="FAILED_PRECONDITION",
    ),
)
