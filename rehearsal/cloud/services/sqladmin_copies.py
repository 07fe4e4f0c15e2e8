"""Cloud SQL's backups, clones, exports and imports."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rehearsal.cloud import iam, objects, sql_instances
from rehearsal.cloud.call import Call, method
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.fields import page
from rehearsal.cloud.rules.sqladmin import INSTANCES, WEEK_S
from rehearsal.cloud.sql_instances import (
    SELF,
    Document,
    connection_name,
    flags_of,
    name_on,
    operation,
    servers,
    tier_of,
)
from rehearsal.cloud.state import Cloud, now
from rehearsal.sql import dumps
from rehearsal.sql.errors import OperationFailed, invalid

BACKUPS = "sqladmin.backupRuns"
IMPORT_USER = "cloudsqlsuperuser"
_URI = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]+)/(?P<object>.+)")


# Backups.


@method("sql.backupRuns.insert", permission="cloudsql.backupRuns.create", on=name_on)
def insert_backup(call: Call) -> Document:
    return back_up(call, kind="ON_DEMAND", description=call.body.get("description", ""))


def back_up(call: Call, *, kind: str, description: str) -> Document:
    """Begin a backup; answers its operation."""
    cloud, instance = call.cloud, _kept(call)
    if instance["instanceType"] == "READ_REPLICA_INSTANCE":
        raise GoogleError(400, "Invalid request: Backups of a read replica can't be created.")
    behind, name = servers(cloud), instance["name"]
    id = behind.new_backup_id()
    run: Document = {
        "kind": "sql#backupRun",
        "status": "ENQUEUED",
        "enqueuedTime": now(),
        "id": id,
        "type": kind,
        "windowStartTime": now(),
        "instance": name,
        "selfLink": f"{SELF[call.method.version]}/projects/{cloud.project}/instances/{name}/backupRuns/{id}",
        "location": _location(instance),
        "backupKind": "SNAPSHOT",
        "databaseVersion": instance["databaseVersion"],
    }
    if description:
        run["description"] = description
    with cloud.lock:
        cloud.collection(BACKUPS)[f"{name}/{id}"] = run

    def work() -> None:
        run.update({"status": "RUNNING", "startTime": now()})
        try:
            behind.back_up(name, id)
        except Exception as error:
            run.update({"status": "FAILED", "endTime": now(), "error": {"kind": "sql#operationError"}})
            run["error"] |= {"code": "INTERNAL_ERROR", "message": str(error)}
            raise
        run.update({"status": "SUCCESSFUL", "endTime": now()})
        _keep_newest(cloud, instance)

    context = {"kind": "sql#backupContext", "backupId": id}
    return operation(call, "BACKUP_VOLUME", name, work, more={"backupContext": context})


def _keep_newest(cloud: Cloud, instance: Mapping[str, Any]) -> None:
    """Automated backups beyond those to be kept go: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups"""
    settings = instance["settings"]["backupConfiguration"].get("backupRetentionSettings") or {}
    with cloud.lock:
        runs = cloud.collection(BACKUPS)
        own = [name for name, run in runs.items() if run["instance"] == instance["name"] and run["type"] == "AUTOMATED"]
        for name in own[: -int(settings.get("retainedBackups") or 7)]:
            servers(cloud).forget(runs.pop(name)["id"])


def _location(instance: Mapping[str, Any]) -> str:
    """The multi-region nearest to the region, unless another place is asked for."""
    chosen = instance["settings"]["backupConfiguration"].get("location")
    nearest = {"us": "us", "northamerica": "us", "southamerica": "us", "europe": "eu", "asia": "asia"}
    return chosen or nearest.get(instance["region"].partition("-")[0], "us")


@method("sql.backupRuns.list", permission="cloudsql.backupRuns.list", on=name_on)
def list_backups(call: Call) -> Document:
    with call.cloud.lock:
        runs = call.cloud.collection(BACKUPS).values()
        every = [run for run in runs if run["instance"] == call.path["instance"]]
    return {"kind": "sql#backupRunsList", **page(every[::-1], call.query, "items")}


@method("sql.backupRuns.get", permission="cloudsql.backupRuns.get", on=name_on)
def get_backup(call: Call) -> Document:
    return _backup(call.cloud, call.path["instance"], call.path["id"])


@method("sql.backupRuns.delete", permission="cloudsql.backupRuns.delete", on=name_on)
def delete_backup(call: Call) -> Document:
    name, id = call.path["instance"], call.path["id"]
    _backup(call.cloud, name, id)

    def work() -> None:
        servers(call.cloud).forget(id)
        with call.cloud.lock:
            del call.cloud.collection(BACKUPS)[f"{name}/{id}"]

    return operation(call, "DELETE_BACKUP", name, work, more={"backupContext": {"backupId": id}})


@method("sql.instances.restoreBackup", permission="cloudsql.instances.restoreBackup", on=name_on)
def restore(call: Call) -> Document:
    context = call.body.get("restoreBackupContext") or {}
    id, source = context.get("backupRunId", ""), context.get("instanceId") or call.path["instance"]
    run, name = _backup(call.cloud, source, id), call.path["instance"]
    if run["status"] != "SUCCESSFUL":
        raise GoogleError(400, f"Invalid request: Backup {id} can't be restored: it is {run['status']}.")
    return operation(call, "RESTORE_VOLUME", name, lambda: servers(call.cloud).restore(name, id))


def _backup(cloud: Cloud, instance: str, id: str) -> Document:
    with cloud.lock:
        found = cloud.collection(BACKUPS).get(f"{instance}/{id}")
    if found is None:
        raise GoogleError(404, "The specified backup run does not exist.", reason="backupRunDoesNotExist")
    return found


# Clones.


@method("sql.instances.clone", permission="cloudsql.instances.clone", on=name_on)
def clone(call: Call) -> Document:
    cloud, source, context = call.cloud, _kept(call), call.body.get("cloneContext") or {}
    name, at = context.get("destinationInstanceName", ""), context.get("pointInTime")
    with cloud.lock:
        if name in cloud.collection(INSTANCES) or cloud.retired(INSTANCES, name, within_s=WEEK_S):
            raise GoogleError(409, "The Cloud SQL instance already exists.", reason="instanceAlreadyExists")
        if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name):
            raise GoogleError(400, f"Invalid request: instance name ({name}).")
        body = {"name": name, "region": source["region"], "settings": source["settings"]}
        installed = source["databaseInstalledVersion"].removeprefix("POSTGRES_").replace("_", ".")
        document = sql_instances.new_document(cloud, body, installed=installed, version=call.method.version)
        cloud.collection(INSTANCES)[name] = document
    settings, behind = document["settings"], servers(cloud)
    moment = datetime.fromisoformat(at.replace("Z", "+00:00")) if at else None

    def work() -> None:
        try:
            behind.clone(
                name,
                connection_name(cloud, document),
                of=source["name"],
                flags=flags_of(settings),
                tier=tier_of(settings),
                at=moment,
            )
        except Exception:
            with cloud.lock:
                del cloud.collection(INSTANCES)[name]
            raise
        document["state"] = "RUNNABLE"

    return operation(call, "CLONE", name, work)


@method("sql.projects.instances.getLatestRecoveryTime", permission="cloudsql.instances.get", on=name_on)
def latest_recovery_time(call: Call) -> Document:
    earliest = servers(call.cloud).earliest(call.path["instance"])
    if earliest is None:
        raise GoogleError(400, "Invalid request: Point in time recovery is not enabled for the instance.")
    return {
        "kind": "sql#getLatestRecoveryTime",
        "latestRecoveryTime": now(),
        "earliestRecoveryTime": earliest.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


# Exports and imports.


@method("sql.instances.export", permission="cloudsql.instances.export", on=name_on, note="SQL, not CSV")
def export(call: Call) -> Document:
    instance, context = _kept(call), call.body.get("exportContext") or {}
    databases = context.get("databases") or []
    bucket, name = _place(context.get("uri", ""))
    if context.get("fileType", "SQL") != "SQL":
        raise GoogleError(501, f"not modelled: an export as {context['fileType']}")
    if len(databases) != 1:
        raise GoogleError(400, "Invalid request: Exactly one database must be specified for a PostgreSQL export.")
    options = context.get("sqlExportOptions") or {}

    def work() -> None:
        _may(call.cloud, instance, bucket, name, "storage.objects.create")
        with tempfile.TemporaryDirectory(dir=servers(call.cloud).folder) as folder:
            file = Path(folder) / name.replace("/", "_")
            dumps.dump(
                servers(call.cloud)[instance["name"]],
                databases[0],
                file,
                schema_only=bool(options.get("schemaOnly")),
                tables=options.get("tables") or (),
            )
            _store(call.cloud, bucket, name, file)

    more = {"exportContext": {**context, "kind": "sql#exportContext"}}
    return operation(call, "EXPORT", instance["name"], work, more=more)


@method(
    "sql.instances.import",
    permission="cloudsql.instances.import",
    on=name_on,
    note="SQL, not CSV; without an importUser it runs as cloudsqlsuperuser",
)
def import_(call: Call) -> Document:
    instance, context = _kept(call), call.body.get("importContext") or {}
    bucket, name = _place(context.get("uri", ""))
    database, user = context.get("database", ""), context.get("importUser") or IMPORT_USER
    if context.get("fileType", "SQL") != "SQL":
        raise GoogleError(501, f"not modelled: an import of {context['fileType']}")
    if not database:
        raise GoogleError(400, "Invalid request: A database must be specified for a PostgreSQL import.")

    def work() -> None:
        _may(call.cloud, instance, bucket, name, "storage.objects.get")
        with tempfile.TemporaryDirectory(dir=servers(call.cloud).folder) as folder:
            file = Path(folder) / name.replace("/", "_")
            shutil.copyfile(_fetched(call.cloud, bucket, name), file)
            dumps.load(servers(call.cloud)[instance["name"]], database, file, user=user)

    more = {"importContext": {**context, "kind": "sql#importContext"}}
    return operation(call, "IMPORT", instance["name"], work, more=more)


def _place(uri: str) -> tuple[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise refused_uri(uri)
    return match["bucket"], match["object"]


def refused_uri(uri: str) -> GoogleError:
    return sql_instances.as_google(invalid(f"Invalid URI {uri}: it must be of the form gs://bucketName/fileName."))


def _may(cloud: Cloud, instance: Mapping[str, Any], bucket: str, name: str, permission: str) -> None:
    """Raises OperationFailed in the words of terraform-google-modules/terraform-google-sql-db#599."""
    account = instance["serviceAccountEmailAddress"]
    where = f"projects/_/buckets/{bucket}/objects/{name}"
    if not iam.allowed(cloud, f"serviceAccount:{account}", permission, "storage", where):
        raise OperationFailed(
            f"gs://{bucket}/: Access denied for service account {account}, permissions missing are: [{permission}]",
            code="PERMISSION_DENIED",
        )


def _store(cloud: Cloud, bucket: str, name: str, file: Path) -> None:
    kind = "application/x-gzip" if name.endswith(".gz") else "application/sql"
    live = [each for each in objects.versions(cloud, bucket) if each["name"] == name and "timeDeleted" not in each]
    if live:
        raise OperationFailed(f"gs://{bucket}/{name}: the object already exists", code="ERROR_RDBMS")
    objects.put(cloud, bucket, name, file, {"contentType": kind})


def _fetched(cloud: Cloud, bucket: str, name: str) -> Path:
    return objects.content(cloud, objects.get(cloud, bucket, name))


def _kept(call: Call) -> dict[str, Any]:
    with call.cloud.lock:
        return call.cloud.collection(INSTANCES)[call.path["instance"]]
