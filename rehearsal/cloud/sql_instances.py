"""Cloud SQL's documents: an instance and an operation as the API shows them, and what stands behind both."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rehearsal.cloud import operations
from rehearsal.cloud.call import Call
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.rules.sqladmin import INSTANCES, SERVED_VERSION
from rehearsal.cloud.state import Cloud, now
from rehearsal.sql import tiers
from rehearsal.sql.errors import OperationFailed, Refused
from rehearsal.sql.servers import Servers

Document = dict[str, Any]
T = TypeVar("T")
SELF = {"v1": "https://sqladmin.googleapis.com/v1", "v1beta4": "https://sqladmin.googleapis.com/sql/v1beta4"}


def servers(cloud: Cloud) -> Servers:
    """The servers of this cloud; made when they are first needed."""
    with cloud.lock:
        if cloud.servers is None:
            cloud.servers = Servers()
            cloud.closing.append(cloud.servers.close)
        return cloud.servers


def lose(cloud: Cloud, name: str) -> None:
    """A fault on request: the machine of an instance is gone at once, and its replicas are all there is."""
    servers(cloud).lose(name)
    with cloud.lock:
        cloud.collection(INSTANCES)[name]["state"] = "FAILED"


def name_on(call: Call) -> str:
    """The instance as IAM names it."""
    name = call.path.get("instance") or call.body.get("name") or ""
    return f"projects/{call.cloud.project}/instances/{name}" if name else f"projects/{call.cloud.project}"


def project_on(call: Call) -> str:
    return f"projects/{call.cloud.project}"


def shown(document: Mapping[str, Any]) -> Document:
    """What the API answers of what is kept."""
    return {name: value for name, value in document.items() if not name.startswith("_") and name != "rootPassword"}


def as_google(error: Refused | OperationFailed) -> GoogleError:
    """A refusal of ``rehearsal.sql`` as one of the API."""
    if isinstance(error, OperationFailed):
        return GoogleError(500, error.message, reason=error.code)
    return GoogleError(error.code, error.message, reason=error.reason)


def refused(work: Callable[[], T]) -> T:
    """Do it, with its refusals as the API's."""
    try:
        return work()
    except (Refused, OperationFailed) as error:
        raise as_google(error) from None


def operation(
    call: Call, kind: str, target: str, work: Callable[[], None], *, more: Mapping[str, Any] | None = None
) -> Document:
    """Begin an operation on an instance, which is busy until it is done; answers it as it is now."""
    cloud, link = call.cloud, SELF[call.method.version]
    name = operations.new_id()
    fields = {
        "kind": "sql#operation",
        "targetLink": f"{link}/projects/{cloud.project}/instances/{target}",
        "user": cloud_user(call.principal),
        "operationType": kind,
        "name": name,
        "targetId": target,
        "selfLink": f"{link}/projects/{cloud.project}/operations/{name}",
        "targetProject": cloud.project,
        **(more or {}),
    }

    def done() -> None:
        refused(work)

    begun = operations.begin(cloud, name, done, method=call.method.id, metadata=fields)
    with cloud.lock:
        if (busy := cloud.collection(INSTANCES).get(target)) is not None:
            busy["_operation"] = begun
    return sql_operation(begun)


def sql_operation(found: operations.Operation) -> Document:
    """As ``sql#operation``."""
    document: Document = {**found.metadata, "status": found.status, "insertTime": found.inserted}
    if found.started:
        document["startTime"] = found.started
    if found.status == "DONE":
        document["endTime"] = found.ended
        if found.error is not None:
            code = found.error.reason if found.error.reason.isupper() else "INTERNAL_ERROR"
            error = {"kind": "sql#operationError", "code": code, "message": found.error.message}
            document["error"] = {"kind": "sql#operationErrors", "errors": [error]}
    return document


def cloud_user(principal: str) -> str:
    return principal.partition(":")[2]


def flags_of(settings: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: str(each.get("value", "")) for each in settings.get("databaseFlags") or ()}


def tier_of(settings: Mapping[str, Any]) -> tiers.Tier:
    """Raises Refused."""
    return tiers.tier(settings["tier"], settings["edition"])


def archives(settings: Mapping[str, Any]) -> bool:
    return bool(settings["backupConfiguration"].get("pointInTimeRecoveryEnabled"))


def connection_name(cloud: Cloud, document: Mapping[str, Any]) -> str:
    return f"{cloud.project}:{document['region']}:{document['name']}"


def completed(sent: Mapping[str, Any], *, version: int, replica: bool, zone: str) -> Document:
    """Settings with what Cloud SQL sets by itself: https://cloud.google.com/sql/docs/postgres/instance-settings"""
    address = dict(sent.get("ipConfiguration") or {})
    address |= {"requireSsl": bool(address.get("requireSsl"))}
    made: Document = {
        "authorizedGaeApplications": [],
        "kind": "sql#settings",
        # PostgreSQL 16 begins with the dearer edition: hashicorp/terraform-provider-google#20498.
        "edition": "ENTERPRISE_PLUS",
        "availabilityType": "ZONAL",
        "pricingPlan": "PER_USE",
        "replicationType": "SYNCHRONOUS",
        "storageAutoResize": True,
        "storageAutoResizeLimit": "0",
        "activationPolicy": "ALWAYS",
        "dataDiskType": "PD_SSD",
        "dataDiskSizeGb": "10",
        "connectorEnforcement": "NOT_REQUIRED",
        "deletionProtectionEnabled": False,
        "retainBackupsOnDelete": False,
        "enableGoogleMlIntegration": False,
        "enableDataplexIntegration": False,
        **{name: value for name, value in sent.items() if value is not None},
        "ipConfiguration": {
            "authorizedNetworks": [],
            "ipv4Enabled": True,
            "sslMode": "ALLOW_UNENCRYPTED_AND_ENCRYPTED",
            "serverCaMode": "GOOGLE_MANAGED_INTERNAL_CA",
            **address,
        },
        "backupConfiguration": _backups(dict(sent.get("backupConfiguration") or {}), replica=replica),
        "locationPreference": {
            "zone": zone,
            **(sent.get("locationPreference") or {}),
            "kind": "sql#locationPreference",
        },
        "settingsVersion": str(version),
    }
    if made.get("maintenanceWindow"):
        made["maintenanceWindow"] = {**made["maintenanceWindow"], "kind": "sql#maintenanceWindow"}
    return made


def _backups(sent: Document, *, replica: bool) -> Document:
    sent.pop("binaryLogEnabled", None)
    made: Document = {"kind": "sql#backupConfiguration", "startTime": "13:00", "enabled": False, **sent}
    if not replica:
        made.setdefault("backupRetentionSettings", {"retentionUnit": "COUNT", "retainedBackups": 7})
        made.setdefault("transactionLogRetentionDays", 7)
        made["backupTier"] = "STANDARD"
    if made.get("pointInTimeRecoveryEnabled"):
        made |= {"replicationLogArchivingEnabled": True, "transactionalLogStorageState": "CLOUD_STORAGE"}
    return made


def new_document(cloud: Cloud, body: Mapping[str, Any], *, installed: str, version: str) -> Document:
    """An instance as it is at first."""
    name, region = body["name"], body["region"]
    zone = ((body["settings"].get("locationPreference") or {}).get("zone")) or f"{region}-b"
    replica = bool(body.get("masterInstanceName"))
    born = now()
    made: Document = {
        "kind": "sql#instance",
        "state": "PENDING_CREATE",
        "databaseVersion": body.get("databaseVersion", SERVED_VERSION),
        "settings": completed(body["settings"], version=1, replica=replica, zone=zone),
        "etag": hashlib.sha256(secrets.token_bytes(8)).hexdigest(),
        "ipAddresses": _addresses(cloud, body["settings"]),
        "serverCaCert": _authority(name, born),
        "instanceType": "READ_REPLICA_INSTANCE" if replica else "CLOUD_SQL_INSTANCE",
        "project": cloud.project,
        "serviceAccountEmailAddress": f"p{cloud.number}-{secrets.token_hex(3)}@{_AGENTS}",
        "backendType": "SECOND_GEN",
        "selfLink": f"{SELF[version]}/projects/{cloud.project}/instances/{name}",
        "connectionName": f"{cloud.project}:{region}:{name}",
        "name": name,
        "region": region,
        "gceZone": zone,
        "databaseInstalledVersion": f"POSTGRES_{installed.replace('.', '_')}",
        "maintenanceVersion": f"POSTGRES_{installed.replace('.', '_')}.R20260901.00_00",
        "createTime": born,
        "sqlNetworkArchitecture": "NEW_NETWORK_ARCHITECTURE",
        "satisfiesPzi": True,
        "geminiConfig": dict.fromkeys(_GEMINI, False),
        "includeReplicasForMajorVersionUpgrade": False,
        "upgradableDatabaseVersions": [
            {"majorVersion": "POSTGRES_17", "name": "POSTGRES_17", "displayName": "PostgreSQL 17"}
        ],
    }
    if replica:
        primary = body["masterInstanceName"].rpartition(":")[2]
        made["masterInstanceName"] = f"{cloud.project}:{primary}"
        failover = (body.get("replicaConfiguration") or {}).get("failoverTarget", False)
        made["replicaConfiguration"] = {"kind": "sql#replicaConfiguration", "failoverTarget": failover}
    if ((body["settings"].get("ipConfiguration") or {}).get("pscConfig") or {}).get("pscEnabled"):
        made |= _psc(region)
    if key := body.get("diskEncryptionConfiguration"):
        made["diskEncryptionConfiguration"] = {**key, "kind": "sql#diskEncryptionConfiguration"}
        version_name = f"{key.get('kmsKeyName', '')}/cryptoKeyVersions/1"
        made["diskEncryptionStatus"] = {"kind": "sql#diskEncryptionStatus", "kmsKeyVersionName": version_name}
    return made


_AGENTS = "gcp-sa-cloud-sql.iam.gserviceaccount.com"
_GEMINI = (
    "entitled",
    "googleVacuumMgmtEnabled",
    "oomSessionCancelEnabled",
    "activeQueryEnabled",
    "indexAdvisorEnabled",
    "flagRecommenderEnabled",
)


def _psc(region: str) -> Document:
    """The way in by Private Service Connect, in form: nobody listens there.

    https://cloud.google.com/sql/docs/postgres/configure-private-service-connect
    """
    one, other = secrets.token_hex(6), secrets.token_hex(6)
    where = f"projects/{one}-tp/regions/{region}/serviceAttachments/a-{other}-psc-service-attachment-{other}"
    return {"pscServiceAttachmentLink": where, "dnsName": f"{one}.{other}.{region}.sql.goog."}


def _addresses(cloud: Cloud, settings: Mapping[str, Any]) -> list[Document]:
    address, number = settings.get("ipConfiguration") or {}, cloud.next_number() % 250 + 2
    found = []
    if address.get("ipv4Enabled", True):
        # Documentation's own range: nobody is there.
        found.append({"type": "PRIMARY", "ipAddress": f"203.0.113.{number}"})
    if address.get("privateNetwork"):
        found.append({"type": "PRIVATE", "ipAddress": f"{_range(cloud, address.get('allocatedIpRange'))}.{number}"})
    return found


def _range(cloud: Cloud, name: str | None) -> str:
    """The first three numbers of an address that was reserved for Google's services."""
    for each in cloud.collection("compute.globalAddresses").values():
        if each.get("name") == name and each.get("address"):
            return str(each["address"]).rpartition(".")[0]
    return "10.77.0"


def _authority(name: str, born: str) -> Document:
    """A certificate in form: the server has no TLS here, so there is nothing behind it."""
    words = base64.b64encode(f"rehearsal: {name} has no TLS on this machine".encode()).decode()
    return {
        "kind": "sql#sslCert",
        "certSerialNumber": "0",
        "cert": f"-----BEGIN CERTIFICATE-----\n{words}\n-----END CERTIFICATE-----",
        "commonName": "C=US,O=Google\\, Inc,CN=Google Cloud SQL Server CA,dnQualifier=rehearsal",
        "sha1Fingerprint": hashlib.sha1(words.encode(), usedforsecurity=False).hexdigest(),
        "instance": name,
        "createTime": born,
        "expirationTime": f"{int(born[:4]) + 10}{born[4:]}",
    }
