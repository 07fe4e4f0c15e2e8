"""The section ``gcp`` of a stack file. Defaults are the source document's; ``rules`` looks at values together."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from infra.rotation import Rotation
from infra.setting_types import STRICT, Natural, Positive, matches

Region = Annotated[str, matches(r"[a-z]+-[a-z]+[0-9]{1,2}", "a region such as us-west1")]
ProjectId = Annotated[
    str, matches(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", "a project id such as gaia-prod (6 to 30 characters)")
]
InstanceName = Annotated[
    str, matches(r"[a-z]([a-z0-9-]{0,60}[a-z0-9])?", "a name of lower-case letters, digits and hyphens")
]
ReplicaName = Annotated[str, matches(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", "a short lower-case name such as reports")]
ResourceName = Annotated[
    str, matches(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "a lower-case name of letters, digits and hyphens")
]
ConnectorName = Annotated[
    str, matches(r"[a-z][a-z0-9-]{0,22}[a-z0-9]", "a lower-case name of at most 24 letters, digits and hyphens")
]
Tier = Annotated[
    str,
    matches(
        r"db-f1-micro|db-g1-small|db-custom-[0-9]{1,2}-[0-9]{4,6}|db-perf-optimized-N-[0-9]{1,3}|db-memory-optimized-N-[0-9]{1,3}|db-c4a-highmem-[0-9]{1,2}",
        "a machine of Cloud SQL such as db-g1-small, db-custom-2-7680 (CPUs, MB) or db-perf-optimized-N-2",
    ),
]
TimeOfDay = Annotated[str, matches(r"([01][0-9]|2[0-3]):00", "a full hour such as 08:00 (UTC)")]
Date = Annotated[str, matches(r"([0-9]{4}-)?(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", "a date: 2026-12-20, or 12-20")]
Cron = Annotated[str, matches(r"[0-9*,/-]+( [0-9A-Za-z*,/-]+){4}", "five fields of cron such as 30 9 * * *")]
TimeZone = Annotated[str, matches(r"[A-Z][A-Za-z]+(/[A-Za-z_+-]+[0-9]*)*", "a time zone such as Etc/UTC")]
Email = Annotated[str, matches(r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address")]
Image = Annotated[
    str,
    matches(
        r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}",
        "an image pinned by digest: <region>-docker.pkg.dev/<project>/gaia-db/migrations@sha256:<64 hex digits>",
    ),
]
BucketName = Annotated[
    str, matches(r"(?!goog)[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", "a bucket's name: 3 to 63 of a-z, 0-9, - _ .")
]
Channel = Annotated[
    str,
    matches(
        r"projects/[a-z0-9.:-]+/notificationChannels/[0-9]+",
        "the name projects/<project>/notificationChannels/<number>",
    ),
]
Url = Annotated[str, matches(r"https://[^\s]+[^/\s]", "an address that begins with https:// and ends without /")]
Principal = Annotated[
    str, matches(r"principal(Set)?://iam\.googleapis\.com/[^\s]+", "principalSet://iam.googleapis.com/projects/…")
]
Fraction = Annotated[float, Field(gt=0, le=1)]
Timeout = Annotated[int, Field(ge=10, le=86_400)]
Weekday = Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]
WEEK: tuple[Weekday, ...] = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def _network(value: str) -> str:
    try:
        if ipaddress.ip_network(value).version == 4:
            return value
    except ValueError:
        pass
    raise ValueError("must be an IPv4 range such as 10.8.0.0/28, its address at the range's start")


Range = Annotated[str, AfterValidator(_network)]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """The Cloud SQL primary."""

    __pydantic_config__ = STRICT

    name: InstanceName = "gaia-prod-db"
    edition: Literal["ENTERPRISE", "ENTERPRISE_PLUS"] = "ENTERPRISE"
    tier: Tier = "db-g1-small"
    disk_type: Literal["HDD", "SSD"] = "HDD"
    disk_gb: Annotated[int, Field(ge=10, le=65_536)] = 10
    disk_limit_gb: Annotated[int, Field(ge=0, le=65_536)] = 0
    availability: Literal["zonal", "regional"] = "zonal"
    deletion_protection: bool = True
    require_connector: bool = True
    server_ca: Literal["GOOGLE_MANAGED_INTERNAL_CA", "GOOGLE_MANAGED_CAS_CA"] = "GOOGLE_MANAGED_INTERNAL_CA"
    iam_authentication: bool = True
    password_min_length: Annotated[int, Field(ge=16, le=32)] = 16
    audit: tuple[Literal["read", "write", "function", "role", "ddl", "misc", "misc_set", "all", "none"], ...] = (
        "ddl",
        "role",
    )
    flags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MaintenanceWindow:
    """When Google may restart the instance for an update; UTC."""

    __pydantic_config__ = STRICT

    day: Weekday = "MON"
    hour: Annotated[int, Field(ge=0, le=23)] = 2
    track: Literal["canary", "stable", "week5"] = "stable"
    deny_from: Date | None = None
    deny_until: Date | None = None


@dataclass(frozen=True, kw_only=True)
class Backups:
    """Automated backups, transaction logs, and what is left after a deletion."""

    __pydantic_config__ = STRICT

    enabled: bool = True
    start: TimeOfDay = "08:00"
    kept: Annotated[int, Field(ge=1, le=365)] = 7
    point_in_time_recovery: bool = True
    log_days: Annotated[int, Field(ge=1, le=35)] = 7
    location: Annotated[str, matches(r"[a-z]+(-[a-z]+[0-9]{1,2})?", "a region or multi-region such as us")] | None = (
        None
    )
    final_days: Annotated[int, Field(ge=1, le=365)] = 30


@dataclass(frozen=True, kw_only=True)
class Insights:
    """Query Insights."""

    __pydantic_config__ = STRICT

    enabled: bool = True
    query_length: Annotated[int, Field(ge=256, le=4500)] = 1024
    plans_per_minute: Annotated[int, Field(ge=0, le=20)] = 5
    application_tags: bool = True
    client_address: bool = True


@dataclass(frozen=True, kw_only=True)
class Connector:
    """The Serverless VPC connector."""

    __pydantic_config__ = STRICT

    name: ConnectorName = "gaia-prod-connector"
    range: Range = "10.8.0.0/28"
    region: Region | None = None
    machine_type: Literal["f1-micro", "e2-micro", "e2-standard-4"] = "e2-micro"
    min_instances: Annotated[int, Field(ge=2, le=9)] = 2
    max_instances: Annotated[int, Field(ge=3, le=10)] = 3


@dataclass(frozen=True, kw_only=True)
class Network:
    """How the database is reached."""

    __pydantic_config__ = STRICT

    mode: Literal["private", "psc", "public"] = "private"
    network: ResourceName = "default"
    subnetwork: ResourceName = "default"
    allocated_range: Range = "10.9.0.0/20"
    egress: Literal["connector", "direct"] = "connector"
    connector: Connector = field(default_factory=Connector)
    authorized: dict[ResourceName, Range] = field(default_factory=dict)
    client_certificates: bool = False


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One read replica; what is left out is as on the primary."""

    __pydantic_config__ = STRICT

    region: Region | None = None
    tier: Tier | None = None


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """A key of one's own (CMEK). It can be chosen only when the instance is made."""

    __pydantic_config__ = STRICT

    own_key: bool = False
    rotation_days: Annotated[int, Field(ge=2, le=3650)] = 90


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may log in without a password, and who previews."""

    __pydantic_config__ = STRICT

    iam_users: dict[ReplicaName, Email] = field(default_factory=dict)
    backend_iam_login: bool = False
    preview_principal: Principal | None = None
    drill_principal: Principal | None = None


@dataclass(frozen=True, kw_only=True)
class MigrationJob:
    """The job that migrates as part of ``up``."""

    __pydantic_config__ = STRICT

    image: Image | None = None
    timeout_s: Timeout = 3600
    cpu: Literal["1", "2", "4"] = "1"
    memory: Annotated[str, matches(r"[1-9][0-9]*(Mi|Gi)", "a size such as 512Mi")] = "512Mi"
    run: Positive = 1


@dataclass(frozen=True, kw_only=True)
class MaintenanceJob:
    """The job that makes the partitions of the months ahead."""

    __pydantic_config__ = STRICT

    schedule: Cron = "30 9 * * *"
    time_zone: TimeZone = "Etc/UTC"
    timeout_s: Timeout = 900


@dataclass(frozen=True, kw_only=True)
class Exports:
    """Logical dumps to Cloud Storage, one scheduler job a weekday."""

    __pydantic_config__ = STRICT

    bucket: BucketName | None = None
    location: Annotated[str, matches(r"[A-Z]+(-[A-Z]+[0-9]{1,2})?", "US, EU, ASIA or US-WEST1")] | None = None
    days: tuple[Weekday, ...] = WEEK
    hour: Annotated[int, Field(ge=0, le=23)] = 10
    kept_days: Annotated[int, Field(ge=1, le=36_500)] = 365


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """Thresholds, and who is told."""

    __pydantic_config__ = STRICT

    emails: dict[ReplicaName, Email] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    runbooks_url: Url | None = None
    cpu: Fraction = 0.8
    memory: Fraction = 0.9
    disk: Fraction = 0.8
    down_s: Annotated[int, Field(ge=60, le=3600)] = 120
    connections: Fraction = 0.8
    idle_in_transaction: Positive = 5
    transaction_ids: Fraction = 0.5
    deadlocks_per_hour: Natural = 5
    log_archive_failures: Natural = 0
    replica_lag_s: Positive = 60
    export_missing_h: Annotated[int, Field(ge=2, le=336)] = 26
    backup_missing_h: Annotated[int, Field(ge=25, le=336)] = 26
    drill_missing_h: Annotated[int, Field(ge=25, le=336)] = 50


@dataclass(frozen=True, kw_only=True)
class Gcp:
    """Production on Google Cloud."""

    __pydantic_config__ = STRICT

    region: Region = "us-west1"
    project: ProjectId | None = None
    instance: Instance = field(default_factory=Instance)
    maintenance_window: MaintenanceWindow = field(default_factory=MaintenanceWindow)
    backups: Backups = field(default_factory=Backups)
    insights: Insights = field(default_factory=Insights)
    network: Network = field(default_factory=Network)
    replicas: dict[ReplicaName, Replica] = field(default_factory=dict)
    encryption: Encryption = field(default_factory=Encryption)
    access: Access = field(default_factory=Access)
    rotation: Rotation = field(default_factory=Rotation)
    migration_job: MigrationJob = field(default_factory=MigrationJob)
    maintenance_job: MaintenanceJob = field(default_factory=MaintenanceJob)
    exports: Exports = field(default_factory=Exports)
    alerts: Alerts = field(default_factory=Alerts)


DATABASE_DEFAULTS = {
    "tuning": {"max_connections": 50},
    # The package's own pools of 20 and 5 would not fit a db-g1-small.
    "pool": {"size": 4, "overflow": 0, "max_instances": 4},
}
"""What the section ``database`` is on this target where the stack file doesn't say."""
