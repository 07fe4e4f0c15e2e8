"""What Cloud DNS refuses."""

from __future__ import annotations

import re

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_REST = "https://cloud.google.com/dns/docs/reference/rest/v1"


def _name(call: Call) -> Details | None:
    given = call.body.get("name", "")
    return None if re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", given) else {"given": given}


def _dns_name(call: Call) -> Details | None:
    given = call.body.get("dnsName", "")
    return None if re.fullmatch(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+", given) else {"given": given}


add(
    Rule(
        key="zone-name",
        methods=("dns.managedZones.create",),
        message="Invalid value for 'entity.managedZone.name': '{given}'",
        source=f"{_REST}/managedZones#ManagedZone.FIELDS.name",
        check=_name,
    ),
    Rule(
        key="zone-dns-name",
        methods=("dns.managedZones.create",),
        message="Invalid value for 'entity.managedZone.dnsName': '{given}'",
        source=f"{_REST}/managedZones#ManagedZone.FIELDS.dns_name (ends with a dot)",
        check=_dns_name,
    ),
    Rule(
        key="zone-network",
        methods=("dns.managedZones.create",),
        message="The network '{network}' of the zone's private visibility was not found.",
        source=f"{_REST}/managedZones#PrivateVisibilityConfig",
    ),
    Rule(
        key="zone-exists",
        methods=("dns.managedZones.create",),
        message="The resource 'entity.managedZone' named '{name}' already exists",
        source=f"{_REST}/managedZones/create; the API's words",
        code=409,
        reason="alreadyExists",
    ),
    Rule(
        key="zone-missing",
        methods=(),
        message="The 'parameters.managedZone' resource named '{name}' does not exist.",
        source=f"{_REST}/managedZones/get; the API's words",
        code=404,
    ),
    Rule(
        key="zone-not-empty",
        methods=("dns.managedZones.delete",),
        message="The resource named '{name}' cannot be deleted because it contains one or more 'resource records'.",
        source="https://cloud.google.com/dns/docs/zones#delete-zone; the API's words",
        reason="containerNotEmpty",
    ),
    Rule(
        key="record-exists",
        methods=("dns.resourceRecordSets.create", "dns.changes.create"),
        message="The resource 'entity.rrset' named '{name} ({kind})' already exists",
        source=f"{_REST}/resourceRecordSets/create; the API's words",
        code=409,
        reason="alreadyExists",
    ),
    Rule(
        key="record-outside",
        methods=("dns.resourceRecordSets.create", "dns.changes.create"),
        message="Invalid value for 'entity.rrset.name': '{name}' is not in the zone",
        source=f"{_REST}/resourceRecordSets",
    ),
    Rule(
        key="record-missing",
        methods=(),
        message="The resource named '{name}' does not exist.",
        source=f"{_REST}/resourceRecordSets/get",
        code=404,
    ),
)
