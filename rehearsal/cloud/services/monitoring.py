"""Monitoring: channels, alert policies and dashboards are checked and kept; nothing is measured, nobody is told.

https://cloud.google.com/monitoring/api/ref_v3/rest
"""

from __future__ import annotations

import uuid
from typing import Any

from rehearsal.cloud.call import Call, method
from rehearsal.cloud.fields import known_mask, page, updated
from rehearsal.cloud.keeping import chosen, found, inside, made
from rehearsal.cloud.rules import refuse
from rehearsal.cloud.state import Cloud, long_id, now

CHANNELS, POLICIES, DASHBOARDS = "monitoring.channels", "monitoring.alertPolicies", "monitoring.dashboards"
_C, _A, _D = "notificationChannels", "alertPolicies", "dashboards"
_P = "monitoring.projects"
_CHANNEL = ("type", "displayName", "description", "labels", "userLabels", "enabled")
_POLICY = (
    "displayName",
    "documentation",
    "userLabels",
    "conditions",
    "combiner",
    "enabled",
    "notificationChannels",
    "alertStrategy",
    "severity",
)
_NOTE = "nobody is told"


@method(f"{_P}.{_C}.create", permission="monitoring.notificationChannels.create", depth="checked", note=_NOTE)
def create_channel(call: Call) -> dict[str, Any]:
    name, at = f"projects/{call.cloud.project}/{_C}/{long_id()}", now()
    document = {"name": name, **chosen(call.body, *_CHANNEL)}
    document |= {"creationRecord": {"mutateTime": at}, "mutationRecords": [{"mutateTime": at}]}
    return made(call.cloud, CHANNELS, name, document)


@method(f"{_P}.{_C}.get", permission="monitoring.notificationChannels.get")
def get_channel(call: Call) -> dict[str, Any]:
    return channel(call.cloud, call.name)


@method(f"{_P}.{_C}.list", permission="monitoring.notificationChannels.list")
def list_channels(call: Call) -> dict[str, Any]:
    return page(inside(call.cloud, CHANNELS, call.name), call.query, "notificationChannels")


@method(f"{_P}.{_C}.patch", permission="monitoring.notificationChannels.update", depth="checked", note=_NOTE)
def patch_channel(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        current = channel(call.cloud, call.name)
        mask = call.query.get("updateMask")
        changed = updated(current, call.body, known_mask(mask, _CHANNEL) if mask else _CHANNEL)
        current.clear()
        current.update(changed)
        current["mutationRecords"] = [*current["mutationRecords"], {"mutateTime": now()}]
        return current


@method(f"{_P}.{_C}.delete", permission="monitoring.notificationChannels.delete")
def delete_channel(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        channel(call.cloud, call.name)
        users = [
            policy for policy in call.cloud.collection(POLICIES).values() if call.name in _channels(call.cloud, policy)
        ]
        if users and not call.query.get("force"):
            raise refuse("channel-in-use", name=call.name, user=users[0]["name"])
        for policy in users:
            policy["notificationChannels"] = [each for each in policy["notificationChannels"] if each != call.name]
        del call.cloud.collection(CHANNELS)[call.name]
    return {}


@method(f"{_P}.{_A}.create", permission="monitoring.alertPolicies.create", depth="checked", note="nothing is measured")
def create_policy(call: Call) -> dict[str, Any]:
    name = f"projects/{call.cloud.project}/{_A}/{long_id()}"
    record = _record(call)
    document = {"name": name, **chosen(call.body, *_POLICY), "creationRecord": record, "mutationRecord": record}
    document.setdefault("enabled", True)
    document["conditions"] = _named(name, call.body["conditions"])
    return made(call.cloud, POLICIES, name, document)


@method(f"{_P}.{_A}.get", permission="monitoring.alertPolicies.get")
def get_policy(call: Call) -> dict[str, Any]:
    return found(call.cloud, POLICIES, call.name, refuse("policy-missing", name=call.name))


@method(f"{_P}.{_A}.list", permission="monitoring.alertPolicies.list")
def list_policies(call: Call) -> dict[str, Any]:
    every = inside(call.cloud, POLICIES, call.name)
    return page(every, call.query, "alertPolicies") | {"totalSize": len(every)}


@method(f"{_P}.{_A}.patch", permission="monitoring.alertPolicies.update", depth="checked", note="nothing is measured")
def patch_policy(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        current = get_policy(call)
        mask = call.query.get("updateMask")
        changed = updated(current, call.body, known_mask(mask, _POLICY) if mask else _POLICY)
        changed["conditions"] = _named(call.name, changed["conditions"])
        current.clear()
        current.update(changed | {"mutationRecord": _record(call)})
        return current


@method(f"{_P}.{_A}.delete", permission="monitoring.alertPolicies.delete")
def delete_policy(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        get_policy(call)
        del call.cloud.collection(POLICIES)[call.name]
    return {}


@method(f"{_P}.{_D}.create", permission="monitoring.dashboards.create", depth="checked", note="nothing is drawn")
def create_dashboard(call: Call) -> dict[str, Any]:
    given = call.body.get("name", "").rpartition("/")[2] or str(uuid.uuid4())
    key = f"{call.cloud.canonical(call.name)}/{_D}/{given}"
    document = {**call.body, "name": call.cloud.numbered(key), "etag": uuid.uuid4().hex}
    return made(call.cloud, DASHBOARDS, key, document, refuse("dashboard-exists", name=key))


@method(f"{_P}.{_D}.get", permission="monitoring.dashboards.get")
def get_dashboard(call: Call) -> dict[str, Any]:
    return found(call.cloud, DASHBOARDS, call.name, refuse("dashboard-missing", name=call.name))


@method(f"{_P}.{_D}.list", permission="monitoring.dashboards.list")
def list_dashboards(call: Call) -> dict[str, Any]:
    return page(inside(call.cloud, DASHBOARDS, call.name), call.query, "dashboards")


@method(f"{_P}.{_D}.patch", permission="monitoring.dashboards.update", depth="checked", note="nothing is drawn")
def patch_dashboard(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        current = get_dashboard(call)
        if call.body.get("etag", current["etag"]) != current["etag"]:
            raise refuse("dashboard-etag")
        changed = {**call.body, "name": current["name"], "etag": uuid.uuid4().hex}
        call.cloud.collection(DASHBOARDS)[call.name] = changed
        return changed


@method(f"{_P}.{_D}.delete", permission="monitoring.dashboards.delete")
def delete_dashboard(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        get_dashboard(call)
        del call.cloud.collection(DASHBOARDS)[call.name]
    return {}


def channel(cloud: Cloud, name: str) -> dict[str, Any]:
    """Raises GoogleError 404."""
    return found(cloud, CHANNELS, name, refuse("channel-missing", name=name))


def _channels(cloud: Cloud, policy: dict[str, Any]) -> list[str]:
    return [cloud.canonical(each) for each in policy.get("notificationChannels", [])]


def _named(policy: str, conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "name": each.get("name") or f"{policy}/conditions/{long_id()}"} for each in conditions]


def _record(call: Call) -> dict[str, Any]:
    return {"mutateTime": now(), "mutatedBy": call.principal.partition(":")[2]}
