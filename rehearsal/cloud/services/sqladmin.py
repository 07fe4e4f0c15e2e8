"""Cloud SQL's instances: each one a real PostgreSQL 16.

https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1
"""

from __future__ import annotations

from typing import Any

from infra.local import postgres
from rehearsal.cloud import operations, sql_instances
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.fields import merged, page
from rehearsal.cloud.rules.sqladmin import INSTANCES
from rehearsal.cloud.sql_instances import (
    Document,
    archives,
    connection_name,
    flags_of,
    name_on,
    operation,
    project_on,
    refused,
    servers,
    shown,
    sql_operation,
    tier_of,
)

_SWEPT = ("settingsVersion", "kind")
_KEPT_ALONE = "TLS, addresses, disks, maintenance and Query Insights are kept, with nothing behind them"


@method("sql.instances.insert", permission="cloudsql.instances.create", on=project_on, note=_KEPT_ALONE)
def insert(call: Call) -> Document:
    behind = servers(call.cloud)
    installed = postgres.version(behind.template_server)
    document = sql_instances.new_document(call.cloud, call.body, installed=installed, version=call.method.version)
    settings, name = document["settings"], document["name"]
    tier, flags = refused(lambda: tier_of(settings)), flags_of(settings)
    refused(lambda: behind.check(flags, tier))
    connection = connection_name(call.cloud, document)
    primary = document.get("masterInstanceName", "").rpartition(":")[2]
    with call.cloud.lock:
        kept = call.cloud.collection(INSTANCES)
        if name in kept:
            raise GoogleError(409, "The Cloud SQL instance already exists.", reason="instanceAlreadyExists")
        kept[name] = document

    def work() -> None:
        try:
            if primary:
                behind.replicate(name, connection, of=primary, flags=flags, tier=tier)
            else:
                password = call.body.get("rootPassword") or ""
                behind.create(name, connection, flags=flags, tier=tier, archives=archives(settings), password=password)
        except Exception:
            document["state"] = "FAILED"
            raise
        _made(call, document, primary)

    return operation(call, "CREATE_REPLICA" if primary else "CREATE", name, work)


def _made(call: Call, document: Document, primary: str) -> None:
    with call.cloud.lock:
        document["state"] = "RUNNABLE"
        if primary:
            of = call.cloud.collection(INSTANCES)[primary]
            of["replicaNames"] = [*of.get("replicaNames", ()), document["name"]]
            _bump(of)


def _bump(document: Document) -> None:
    """A replica changes the version of its primary's settings as well: seen as 412 staleData in real life."""
    document["settings"]["settingsVersion"] = str(int(document["settings"]["settingsVersion"]) + 1)


@method("sql.instances.get", permission="cloudsql.instances.get", on=name_on)
def get(call: Call) -> Document:
    return shown(_kept(call))


@method("sql.instances.list", permission="cloudsql.instances.list", on=project_on, note="a filter is ignored")
def list_(call: Call) -> Document:
    with call.cloud.lock:
        every = [shown(each) for each in call.cloud.collection(INSTANCES).values()]
    return {"kind": "sql#instancesList", **page(every, call.query, "items")}


@method("sql.instances.update", permission="cloudsql.instances.update", on=name_on, note="the same")
def update(call: Call) -> Document:
    return _change(call, call.body)


@method("sql.instances.patch", permission="cloudsql.instances.update", on=name_on, note="the same")
def patch(call: Call) -> Document:
    kept = _kept(call)
    before = {name: value for name, value in kept["settings"].items() if name not in _SWEPT}
    return _change(call, {**call.body, "settings": merged(before, call.body.get("settings") or {})})


def _change(call: Call, body: Document) -> Document:
    kept, behind = _kept(call), servers(call.cloud)
    before = kept["settings"]
    replica = kept["instanceType"] == "READ_REPLICA_INSTANCE"
    sent = {**body["settings"]}
    sent.setdefault("dataDiskSizeGb", before["dataDiskSizeGb"])
    sent.setdefault("edition", before["edition"])
    version = int(before["settingsVersion"]) + 1
    after = sql_instances.completed(sent, version=version, replica=replica, zone=kept["gceZone"])
    tier, flags = refused(lambda: tier_of(after)), flags_of(after)
    refused(lambda: behind.check(flags, tier))
    restart = before["tier"] != after["tier"] or before["edition"] != after["edition"]
    wakes = after["activationPolicy"] == "ALWAYS"

    def work() -> None:
        name = kept["name"]
        if replica and body.get("instanceType") == "CLOUD_SQL_INSTANCE":
            promote_now(call, kept)
        if wakes:
            behind.change(
                name, flags=flags, before=flags_of(before), tier=tier, archives=archives(after), restart=restart
            )
            behind[name].start()
        else:
            behind[name].stop()
        with call.cloud.lock:
            kept["settings"] = after
            kept["state"] = "RUNNABLE" if wakes else "STOPPED"

    return operation(call, "UPDATE", kept["name"], work)


@method("sql.instances.delete", permission="cloudsql.instances.delete", on=name_on)
def delete(call: Call) -> Document:
    kept, behind = _kept(call), servers(call.cloud)
    name = kept["name"]
    final = (kept["settings"].get("finalBackupConfig") or {}).get("enabled")

    def work() -> None:
        if name in behind.instances:  # an operation that died half-way leaves an instance without a server
            if final and behind[name].runs and behind[name].primary is None:
                behind.back_up(name)
            behind.delete(name)
        with call.cloud.lock:
            instances = call.cloud.collection(INSTANCES)
            del instances[name]
            call.cloud.retire(INSTANCES, name)
            primary = instances.get(kept.get("masterInstanceName", "").rpartition(":")[2])
            if primary is not None and name in primary.get("replicaNames", ()):
                primary["replicaNames"] = [each for each in primary["replicaNames"] if each != name]
                _bump(primary)

    return operation(call, "DELETE", name, work)


@method("sql.instances.restart", permission="cloudsql.instances.restart", on=name_on)
def restart(call: Call) -> Document:
    kept = _kept(call)

    def work() -> None:
        servers(call.cloud)[kept["name"]].restart()
        kept["state"] = "RUNNABLE"

    return operation(call, "RESTART", kept["name"], work)


@method(
    "sql.instances.failover",
    permission="cloudsql.instances.failover",
    on=name_on,
    note="the standby of another zone is the same server, restarted",
)
def failover(call: Call) -> Document:
    kept = _kept(call)
    if kept["settings"]["availabilityType"] != "REGIONAL":
        raise GoogleError(400, "Invalid request: The instance is not configured for high availability.")
    return operation(call, "FAILOVER", kept["name"], servers(call.cloud)[kept["name"]].restart)


@method("sql.instances.promoteReplica", permission="cloudsql.instances.promoteReplica", on=name_on)
def promote(call: Call) -> Document:
    kept = _kept(call)
    if kept["instanceType"] != "READ_REPLICA_INSTANCE":
        raise GoogleError(400, "Invalid request: The instance is not a read replica.")
    return operation(call, "PROMOTE_REPLICA", kept["name"], lambda: promote_now(call, kept))


def promote_now(call: Call, kept: Document) -> None:
    """Have a replica be an instance of its own."""
    servers(call.cloud).promote(kept["name"])
    with call.cloud.lock:
        primary = call.cloud.collection(INSTANCES).get(kept.pop("masterInstanceName", "").rpartition(":")[2])
        kept.pop("replicaConfiguration", None)
        kept["instanceType"] = "CLOUD_SQL_INSTANCE"
        if primary is not None:
            primary["replicaNames"] = [each for each in primary.get("replicaNames", ()) if each != kept["name"]]


@method("sql.operations.get", permission="cloudsql.instances.get", on=project_on)
def get_operation(call: Call) -> Document:
    return sql_operation(operations.get(call.cloud, call.path["operation"]))


@method("sql.operations.list", permission="cloudsql.instances.get", on=project_on)
def list_operations(call: Call) -> Document:
    wanted = call.query.get("instance")
    found = [each for each in operations.listed(call.cloud, "") if each.metadata.get("kind") == "sql#operation"]
    every = [sql_operation(each) for each in found if not wanted or each.metadata["targetId"] == wanted]
    return {"kind": "sql#operationsList", **page(every, call.query, "items")}


@method("sql.flags.list", permission=None)
def list_flags(call: Call) -> Document:
    return {"kind": "sql#flagsList", "items": servers(call.cloud).described_flags()}


@method("sql.tiers.list", permission="cloudsql.instances.list", on=project_on, note="the shared cores alone")
def list_tiers(call: Call) -> Document:
    items = [
        {"kind": "sql#tier", "tier": name, "RAM": str(mb * 1024**2), "DiskQuota": "3298534883328"}
        for name, mb in (("db-f1-micro", 614), ("db-g1-small", 1740))
    ]
    return {"kind": "sql#tiersList", "items": items}


@method("sql.connect.get", permission="cloudsql.instances.get", on=name_on, depth="checked", note="there is no TLS")
def connect_settings(call: Call) -> Document:
    kept = _kept(call)
    names = ("ipAddresses", "region", "databaseVersion", "backendType", "serverCaCert")
    mode = kept["settings"]["ipConfiguration"]["serverCaMode"]
    return {"kind": "sql#connectSettings", **{name: kept[name] for name in names}, "serverCaMode": mode}


def _kept(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        return call.cloud.collection(INSTANCES)[call.path["instance"]]
