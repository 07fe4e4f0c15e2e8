"""What Compute Engine refuses."""

from __future__ import annotations

import ipaddress
import re

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_DOCS = "https://cloud.google.com/compute/docs/reference/rest/v1"
_VPC = "https://cloud.google.com/vpc/docs"
NAME = r"(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)"
_INSERTS = tuple(f"compute.{group}.insert" for group in ("networks", "globalAddresses", "addresses", "forwardingRules"))


def _name(call: Call) -> Details | None:
    given = call.body.get("name", "")
    return None if re.fullmatch(NAME, given) else {"given": given, "pattern": NAME}


def _mtu(call: Call) -> Details | None:
    given = call.body.get("mtu")
    return None if given is None or 1300 <= int(given) <= 8896 else {"given": given}


def _peering_range(call: Call) -> Details | None:
    body = call.body
    if body.get("purpose") != "VPC_PEERING":
        return None
    if body.get("addressType") != "INTERNAL" or not body.get("network"):
        return {"what": "a range for VPC_PEERING must be INTERNAL and name its network"}
    if not 8 <= int(body.get("prefixLength", 0)) <= 30:
        return {"what": f"the prefix length {body.get('prefixLength', 'is missing and')} must be between 8 and 30"}
    if body.get("address"):
        try:
            ipaddress.IPv4Network(f"{body['address']}/{body['prefixLength']}")
        except ValueError as error:
            return {"what": str(error)}
    return None


def _psc_scheme(call: Call) -> Details | None:
    target, scheme = call.body.get("target", ""), call.body.get("loadBalancingScheme", "")
    return {"scheme": scheme} if "/serviceAttachments/" in target and scheme else None


add(
    Rule(
        key="compute-name",
        methods=_INSERTS,
        message="Invalid value for field 'resource.name': '{given}'. Must be a match of regex '{pattern}'",
        source="https://cloud.google.com/compute/docs/naming-resources",
        check=_name,
    ),
    Rule(
        key="network-mtu",
        methods=("compute.networks.insert", "compute.networks.patch"),
        message="Invalid value for field 'resource.mtu': '{given}'. Must be between 1300 and 8896.",
        source=f"{_VPC}/mtu",
        check=_mtu,
    ),
    Rule(
        key="peering-range",
        methods=("compute.globalAddresses.insert",),
        message="Invalid value for field 'resource': {what}.",
        source=f"{_VPC}/configure-private-services-access#allocating-range",
        check=_peering_range,
    ),
    Rule(
        key="psc-scheme",
        methods=("compute.forwardingRules.insert",),
        message="Invalid value for field 'resource.loadBalancingScheme': '{scheme}'. A forwarding rule to a service "
        "attachment must not have one.",
        source=f"{_DOCS}/forwardingRules#ForwardingRule.FIELDS.load_balancing_scheme",
        check=_psc_scheme,
    ),
    Rule(
        key="compute-missing",
        methods=(),
        message="The resource '{what}' was not found",
        source=f"{_DOCS}/networks/get; the API's words",
        code=404,
    ),
    Rule(
        key="compute-exists",
        methods=_INSERTS,
        message="The resource '{what}' already exists",
        source=f"{_DOCS}/networks/insert; the API's words",
        code=409,
        reason="alreadyExists",
    ),
    Rule(
        key="compute-in-use",
        methods=("compute.networks.delete", "compute.addresses.delete"),
        message="The {what} is already being used by '{user}'",
        source=f"{_VPC}/create-modify-vpc-networks#deleting_a_network; the API's words",
        reason="resourceInUseByAnotherResource",
    ),
    Rule(
        key="range-overlap",
        methods=("compute.globalAddresses.insert",),
        message="Invalid value for field 'resource.address': '{given}'. Requested range conflicts with other "
        "resources: {other}.",
        source=f"{_VPC}/configure-private-services-access#considerations",
    ),
    Rule(
        key="range-exhausted",
        methods=("compute.globalAddresses.insert",),
        message="No free range of that size is left in network '{network}'.",
        source=f"{_VPC}/configure-private-services-access#considerations",
    ),
    Rule(
        key="label-fingerprint",
        methods=("compute.globalAddresses.setLabels",),
        message="Labels fingerprint either invalid or resource labels have changed",
        source="https://cloud.google.com/compute/docs/labeling-resources; the API's words",
        code=412,
        reason="conditionNotMet",
    ),
)
