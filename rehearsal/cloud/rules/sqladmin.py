"""What Cloud SQL refuses before it begins. What a server itself finds, ``rehearsal.sql`` refuses in the same words."""

from __future__ import annotations

import re
from typing import Any

from rehearsal.cloud import iam
from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add
from rehearsal.cloud.state import Cloud

INSTANCES = "sqladmin.instances"
WEEK_S = 7 * 24 * 3600
_DOCS = "https://cloud.google.com/sql/docs/postgres"
_INSERT, _CHANGES = "sql.instances.insert", ("sql.instances.update", "sql.instances.patch")
_SETTINGS = (_INSERT, *_CHANGES)
_MUTATIONS = (
    "sql.instances.update sql.instances.patch sql.instances.delete sql.instances.restart sql.instances.failover"
    " sql.instances.clone sql.instances.promoteReplica sql.instances.restoreBackup sql.instances.export"
    " sql.instances.import sql.users.insert sql.users.update sql.users.delete sql.databases.insert"
    " sql.databases.delete sql.databases.patch sql.databases.update sql.backupRuns.insert sql.sslCerts.insert"
)
MUTATIONS = tuple(_MUTATIONS.split())
SERVED_VERSION = "POSTGRES_16"


def instance(call: Call) -> dict[str, Any] | None:
    """The instance that the call names, if it is there."""
    with call.cloud.lock:
        return call.cloud.collection(INSTANCES).get(call.path.get("instance", ""))


def settings_after(call: Call) -> dict[str, Any]:
    """The settings as the call would leave them, as far as they are sent."""
    sent = call.body.get("settings") or {}
    found = instance(call)
    if call.method.id == "sql.instances.patch" and found is not None:
        return {**found["settings"], **sent}
    return sent


def _missing(call: Call) -> Details | None:
    return {} if instance(call) is None else None


def _bad_name(call: Call) -> Details | None:
    name = call.body.get("name", "")
    fits = re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name) and len(f"{call.cloud.project}:{name}") <= 98
    return None if fits else {"name": name}


def _taken(call: Call) -> Details | None:
    name = call.body.get("name", "")
    there = name in call.cloud.collection(INSTANCES)
    return {} if there or call.cloud.retired(INSTANCES, name, within_s=WEEK_S) else None


def _other_version(call: Call) -> Details | None:
    version = call.body.get("databaseVersion")
    return {"version": version} if version and version != SERVED_VERSION else None


def _no_region(call: Call) -> Details | None:
    region = call.body.get("region", "")
    return None if re.fullmatch(r"[a-z]+-[a-z]+\d+", region) else {"region": region}


def _no_tier(call: Call) -> Details | None:
    return {} if not (call.body.get("settings") or {}).get("tier") else None


def _log_days(call: Call) -> Details | None:
    chosen = settings_after(call)
    days = (chosen.get("backupConfiguration") or {}).get("transactionLogRetentionDays")
    most = 7 if chosen.get("edition", "ENTERPRISE_PLUS") == "ENTERPRISE" else 35
    return {"most": most} if days is not None and not 1 <= int(days) <= most else None


def _no_backups_for_points(call: Call) -> Details | None:
    chosen = settings_after(call).get("backupConfiguration") or {}
    return {} if chosen.get("pointInTimeRecoveryEnabled") and not chosen.get("enabled") else None


def _binary_log(call: Call) -> Details | None:
    return {} if (settings_after(call).get("backupConfiguration") or {}).get("binaryLogEnabled") else None


def _start_time(call: Call) -> Details | None:
    start = (settings_after(call).get("backupConfiguration") or {}).get("startTime")
    return {"start": start} if start and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", start) else None


def _disk_size(call: Call) -> Details | None:
    size = int(settings_after(call).get("dataDiskSizeGb") or 10)
    return None if 10 <= size <= 65536 else {"size": size}


def _long_queries(call: Call) -> Details | None:
    chosen = settings_after(call)
    length = (chosen.get("insightsConfig") or {}).get("queryStringLength")
    most = 4500 if chosen.get("edition", "ENTERPRISE_PLUS") == "ENTERPRISE" else 100_000
    return {"length": length, "most": most} if length is not None and not 256 <= int(length) <= most else None


def _final_days(call: Call) -> Details | None:
    days = (settings_after(call).get("finalBackupConfig") or {}).get("retentionDays")
    return {"days": days} if days is not None and not 1 <= int(days) <= 365 else None


def _data_cache(call: Call) -> Details | None:
    chosen = settings_after(call)
    wanted = (chosen.get("dataCacheConfig") or {}).get("dataCacheEnabled")
    return {} if wanted and chosen.get("edition") == "ENTERPRISE" else None


def _kept_backups(call: Call) -> Details | None:
    given = (settings_after(call).get("backupConfiguration") or {}).get("backupRetentionSettings") or {}
    kept = given.get("retainedBackups")
    return {"kept": kept} if kept is not None and not 1 <= int(kept) <= 365 else None


def _account_suffix(call: Call) -> Details | None:
    machine = call.body.get("type") == "CLOUD_IAM_SERVICE_ACCOUNT"
    return {} if machine and call.body.get("name", "").endswith(".gserviceaccount.com") else None


def _no_password(call: Call) -> Details | None:
    if call.body.get("type", "BUILT_IN") != "BUILT_IN" or call.body.get("password"):
        return None
    roles = call.body.get("databaseRoles") or call.query.get("databaseRoles")
    return None if call.method.id == "sql.users.update" and roles else {}


def _no_database_name(call: Call) -> Details | None:
    return None if call.body.get("name") else {}


def _shrinks(call: Call) -> Details | None:
    found, wanted = instance(call), (call.body.get("settings") or {}).get("dataDiskSizeGb")
    if found is None or not wanted:
        return None
    return {} if int(wanted) < int(found["settings"]["dataDiskSizeGb"]) else None


def _stale(call: Call) -> Details | None:
    found, sent = instance(call), (call.body.get("settings") or {}).get("settingsVersion")
    return {} if found is not None and sent is not None and str(sent) != found["settings"]["settingsVersion"] else None


def _without_version(call: Call) -> Details | None:
    return {} if not (call.body.get("settings") or {}).get("settingsVersion") else None


def _protected(call: Call) -> Details | None:
    found = instance(call)
    return {} if found is not None and found["settings"].get("deletionProtectionEnabled") else None


def _has_replicas(call: Call) -> Details | None:
    found = instance(call)
    return {"names": ", ".join(found["replicaNames"])} if found and found.get("replicaNames") else None


def _network_lost(call: Call) -> Details | None:
    found, sent = instance(call), (call.body.get("settings") or {}).get("ipConfiguration")
    if found is None or sent is None:
        return None
    before = found["settings"]["ipConfiguration"].get("privateNetwork")
    return {} if before and sent.get("privateNetwork") != before else None


def _unreachable(call: Call) -> Details | None:
    address = settings_after(call).get("ipConfiguration") or {}
    ways = address.get("ipv4Enabled", True), address.get("privateNetwork"), address.get("pscConfig")
    return None if any(ways) else {}


def _not_peered(call: Call) -> Details | None:
    network = (settings_after(call).get("ipConfiguration") or {}).get("privateNetwork")
    if not network:
        return None
    wanted = call.cloud.canonical(network.rpartition("/v1/")[2] or network)
    name = call.body.get("name") or call.path.get("instance", "")
    where = f"{call.cloud.project}:{name}"
    if "servicenetworking" not in call.cloud.enabled:
        return {"where": where, "why": "SERVICE_NETWORKING_NOT_ENABLED"}
    return None if wanted in _peered(call.cloud) else {"where": where, "why": "NETWORK_NOT_PEERED"}


def _peered(cloud: Cloud) -> set[str]:
    """Networks that have a connection to Google's services, with the project's id."""
    found = cloud.collection("servicenetworking.connections").values()
    return {cloud.canonical(str(each.get("network", ""))) for each in found}


def _key_unusable(call: Call) -> Details | None:
    key = (call.body.get("diskEncryptionConfiguration") or {}).get("kmsKeyName")
    agent = f"service-{call.cloud.number}@gcp-sa-cloud-sql.iam.gserviceaccount.com"
    permission = "cloudkms.cryptoKeyVersions.useToEncrypt"
    if not key or iam.allowed(call.cloud, f"serviceAccount:{agent}", permission, "cloudkms", call.cloud.canonical(key)):
        return None
    return {"agent": agent, "key": key}


def _no_primary(call: Call) -> Details | None:
    name = call.body.get("masterInstanceName")
    short = (name or "").rpartition(":")[2]
    return {"name": short} if name and short not in call.cloud.collection(INSTANCES) else None


def _replica_backups(call: Call) -> Details | None:
    chosen = (call.body.get("settings") or {}).get("backupConfiguration") or {}
    return {} if call.body.get("masterInstanceName") and chosen.get("enabled") else None


def _busy(call: Call) -> Details | None:
    found = instance(call)
    under_way = found.get("_operation") if found else None
    return {} if under_way is not None and not under_way.finished.is_set() else None


add(
    Rule(
        key="sql-instance-missing",
        methods=(
            *MUTATIONS,
            *("sql.instances.get", "sql.users.list", "sql.users.get", "sql.databases.get", "sql.databases.list"),
            *("sql.backupRuns.list", "sql.backupRuns.get", "sql.connect.get", "sql.sslCerts.list"),
        ),
        message="The Cloud SQL instance does not exist.",
        source="https://github.com/hashicorp/terraform-provider-google/issues (Error 404: … instanceDoesNotExist)",
        code=404,
        reason="instanceDoesNotExist",
        check=_missing,
    ),
    Rule(
        key="sql-busy",
        methods=MUTATIONS,
        message="Operation failed because another operation was already in progress. Try your request after the "
        "current operation is complete.",
        source="https://github.com/ovotech/cloud_sql_backup/pull/8; reason in the recorded phase fault-sql409",
        code=409,
        reason="operationInProgress",
        check=_busy,
    ),
    Rule(
        key="sql-name",
        methods=(_INSERT,),
        message="Invalid request: instance name ({name}).",
        source=f"{_DOCS}/instance-settings#instance-id-2ndgen; words: hashicorp/terraform-provider-google#10871",
        check=_bad_name,
    ),
    Rule(
        key="sql-name-reused",
        methods=(_INSERT,),
        message="The Cloud SQL instance already exists. When you delete an instance, you can't reuse the name of the "
        "deleted instance until one week from the deletion date.",
        source="https://github.com/terraform-google-modules/terraform-google-gke-gitlab/issues/81",
        code=409,
        reason="instanceAlreadyExists",
        check=_taken,
    ),
    Rule(
        key="sql-version-not-here",
        methods=_SETTINGS,
        message="not modelled: this rehearsal has PostgreSQL 16 and no {version}",
        source="ours: the binaries of this environment are those of PostgreSQL 16",
        code=501,
        check=_other_version,
    ),
    Rule(
        key="sql-region",
        methods=(_INSERT,),
        message="Invalid value for region: {region}.",
        source=f"{_DOCS}/locations (words ours)",
        check=_no_region,
    ),
    Rule(
        key="sql-tier-missing",
        methods=(_INSERT, "sql.instances.update"),
        message="Missing parameter: Tier.",
        source=f"{_DOCS}/admin-api/rest/v1/instances#Settings.FIELDS.tier (required)",
        reason="required",
        check=_no_tier,
    ),
    Rule(
        key="sql-log-days",
        methods=_SETTINGS,
        message="Invalid request: The number of transaction log retention days must be between 1 and {most}.",
        source="https://github.com/langfuse/langfuse-terraform-gcp/issues/8",
        check=_log_days,
    ),
    Rule(
        key="sql-points-need-backups",
        methods=_SETTINGS,
        message="Invalid request: Point in time recovery can't be enabled when backups are disabled.",
        source=f"{_DOCS}/backup-recovery/pitr (words ours)",
        check=_no_backups_for_points,
    ),
    Rule(
        key="sql-binary-log",
        methods=_SETTINGS,
        message="Invalid request: Binary log can only be enabled for MySQL instances.",
        source=f"{_DOCS}/admin-api/rest/v1/instances#BackupConfiguration.FIELDS.binary_log_enabled (words ours)",
        check=_binary_log,
    ),
    Rule(
        key="sql-backup-start",
        methods=_SETTINGS,
        message="Invalid request: Backup start time {start} is not of the form HH:MM.",
        source=f"{_DOCS}/admin-api/rest/v1/instances#BackupConfiguration.FIELDS.start_time (words ours)",
        check=_start_time,
    ),
    Rule(
        key="sql-disk-size",
        methods=_SETTINGS,
        message="Invalid request: Data disk size {size} GB is not between 10 and 65536.",
        source=f"{_DOCS}/quotas#storage_limits (words ours)",
        check=_disk_size,
    ),
    Rule(
        key="sql-insights-length",
        methods=_SETTINGS,
        message="Invalid request: Query string length {length} is not between 256 and {most}.",
        source=f"{_DOCS}/using-query-insights#enable-insights: 256 to 4500 bytes, 1 to 100 KB with Enterprise Plus",
        check=_long_queries,
    ),
    Rule(
        key="sql-final-backup-days",
        methods=_SETTINGS,
        message="Invalid request: The retention of the final backup, {days} days, is not between 1 and 365.",
        source=f"{_DOCS}/backup-recovery/final-backups (words ours)",
        check=_final_days,
    ),
    Rule(
        key="sql-kept-backups",
        methods=_SETTINGS,
        message="Invalid request: The number of retained backups, {kept}, is not between 1 and 365.",
        source=f"{_DOCS}/backup-recovery/backups#retained-backups (words ours)",
        check=_kept_backups,
    ),
    Rule(
        key="sql-data-cache",
        methods=_SETTINGS,
        message="Invalid request: Data cache is only supported for Enterprise Plus edition.",
        source=f"{_DOCS}/data-cache (words after those for connection pools, magic-modules#15107)",
        check=_data_cache,
    ),
    Rule(
        key="sql-user-suffix",
        methods=("sql.users.insert",),
        message="Invalid request: Database username for Cloud IAM service account should be created without "
        '".gserviceaccount.com" suffix.',
        source=f"{_DOCS}/add-manage-iam-users#creating-a-database-user",
        check=_account_suffix,
    ),
    Rule(
        key="sql-user-password",
        methods=("sql.users.insert", "sql.users.update"),
        message="Invalid request: A password is required for a built-in user.",
        source=f"{_DOCS}/users: all PostgreSQL users must have a password (words ours)",
        check=_no_password,
    ),
    Rule(
        key="sql-database-name",
        methods=("sql.databases.insert",),
        message="Missing parameter: Database name.",
        source=f"{_DOCS}/admin-api/rest/v1/databases/insert (words ours)",
        reason="required",
        check=_no_database_name,
    ),
    Rule(
        key="sql-disk-shrinks",
        methods=_CHANGES,
        message="Invalid request: Disk size cannot be decreased.",
        source=f"{_DOCS}/instance-settings#storage-capacity-2ndgen (words ours)",
        check=_shrinks,
    ),
    Rule(
        key="sql-settings-version",
        methods=("sql.instances.update",),
        message="Missing parameter: Settings version.",
        source=f"{_DOCS}/admin-api/rest/v1/instances#Settings.FIELDS.settings_version (required for update)",
        reason="required",
        check=_without_version,
    ),
    Rule(
        key="sql-stale",
        methods=_CHANGES,
        message="Condition does not match.",
        source="the recorded answer of phase fault-sql412",
        code=412,
        reason="staleData",
        check=_stale,
    ),
    Rule(
        key="sql-deletion-protection",
        methods=("sql.instances.delete",),
        message="The instance is protected. Please disable the deletion protection and try again. To disable deletion "
        "protection, update the instance settings with deletionProtectionEnabled set to false.",
        source=f"{_DOCS}/deletion-protection",
        check=_protected,
    ),
    Rule(
        key="sql-has-replicas",
        methods=("sql.instances.delete",),
        message="Invalid request: The instance has read replicas ({names}); delete or promote them first.",
        source=f"{_DOCS}/delete-instance (words ours)",
        check=_has_replicas,
    ),
    Rule(
        key="sql-network-lost",
        methods=_CHANGES,
        message="Invalid request: Private network can't be changed or removed once it is set.",
        source=f"{_DOCS}/configure-private-ip: it can't be disabled once it is enabled (words ours)",
        check=_network_lost,
    ),
    Rule(
        key="sql-unreachable",
        methods=_SETTINGS,
        message="Invalid request: At least one of Public IP, Private IP or PSC connectivity must be enabled.",
        source=f"{_DOCS}/configure-ip (words ours)",
        check=_unreachable,
    ),
    Rule(
        key="sql-not-peered",
        methods=(_INSERT,),
        message="Invalid request: Incorrect Service Networking config for instance: {where}:{why}.",
        source=f"{_DOCS}/configure-private-services-access; the words as reported for SERVICE_NETWORKING_NOT_ENABLED",
        check=_not_peered,
    ),
    Rule(
        key="sql-key",
        methods=(_INSERT,),
        message="Invalid request: The service account {agent} does not have access to the KMS key {key}: "
        "cloudkms.cryptoKeyVersions.useToEncrypt is missing.",
        source=f"{_DOCS}/configure-cmek (words ours)",
        check=_key_unusable,
    ),
    Rule(
        key="sql-primary-missing",
        methods=(_INSERT,),
        message="Invalid request: The master instance {name} does not exist.",
        source=f"{_DOCS}/replication/create-replica (words ours)",
        check=_no_primary,
    ),
    Rule(
        key="sql-replica-backups",
        methods=(_INSERT,),
        message="Invalid request: Backups can't be enabled on a read replica.",
        source=f"{_DOCS}/replication#topologies: a replica of PostgreSQL takes no backups (words ours)",
        check=_replica_backups,
    ),
)
