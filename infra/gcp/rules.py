"""What single values of production can't tell: settings that disagree. Plain functions on plain data."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from infra.gcp import flags, tiers
from infra.gcp.settings import WEEK

if TYPE_CHECKING:
    from infra.gcp.settings import Gcp
    from infra.settings import Database

_RESERVED = {
    "172.17.0.0/16": "which Cloud SQL keeps for itself",
    "10.128.0.0/9": "where the subnetworks of the network default lie",
}
_LOG_DAYS = {"ENTERPRISE": 7, "ENTERPRISE_PLUS": 35}
_HA = {"ENTERPRISE": True, "ENTERPRISE_PLUS": True}
"""Which edition can be regional: both are today; an edition that isn't listed can't."""
MOST_DENY_DAYS = 90


def faults(database: Database, gcp: Gcp) -> list[str]:
    """Every disagreement, each with its key and its way out."""
    return [fault for rule in RULES for fault in rule(database, gcp)]


def _machine(database: Database, gcp: Gcp) -> Iterator[str]:
    instance = gcp.instance
    machines = [("instance", instance.tier)]
    machines += [(f"replicas.{name}", replica.tier) for name, replica in gcp.replicas.items() if replica.tier]
    for key, tier in machines:
        if wrong := tiers.fault(tier):
            yield f"gcp.{key}.tier: {tier}: {wrong}"
        elif tiers.edition_of(tier) != instance.edition:
            yield (
                f"gcp.{key}.tier: {tier} belongs to edition {tiers.edition_of(tier)}, but gcp.instance.edition is "
                f"{instance.edition}; change one of them"
            )
    if instance.edition == "ENTERPRISE_PLUS" and instance.disk_type == "HDD":
        yield "gcp.instance.disk_type: ENTERPRISE_PLUS has no HDD; choose SSD, or edition ENTERPRISE"
    if instance.availability == "regional" and not _HA.get(instance.edition):
        yield f"gcp.instance.availability: edition {instance.edition} can't be regional; choose zonal, or ENTERPRISE"
    if 0 < instance.disk_limit_gb < instance.disk_gb:
        yield (
            f"gcp.instance.disk_limit_gb: {instance.disk_limit_gb} is less than disk_gb {instance.disk_gb}; "
            "raise it, or 0 for no limit"
        )
    if instance.availability == "regional" and not (gcp.backups.enabled and gcp.backups.point_in_time_recovery):
        yield (
            "gcp.instance.availability: regional needs gcp.backups.enabled and "
            "gcp.backups.point_in_time_recovery; turn them on, or choose zonal"
        )


def _memory(database: Database, gcp: Gcp) -> Iterator[str]:
    yield from flags.faults(gcp.instance)
    yield from flags.memory_faults(gcp.instance, database.tuning)
    if database.tuning.max_connections < 14:
        yield (
            f"database.tuning.max_connections: {database.tuning.max_connections} is below 14, "
            "the least that Cloud SQL takes; allow more"
        )
    for name, replica in gcp.replicas.items():
        if replica.tier and tiers.memory_bytes(replica.tier) < tiers.memory_bytes(gcp.instance.tier):
            # It has the primary's flags: max_connections may not be lower on a standby.
            yield (
                f"gcp.replicas.{name}.tier: {replica.tier} has less memory than the primary's {gcp.instance.tier}, "
                "whose flags it takes over; choose one that is no smaller"
            )


def _port(database: Database, gcp: Gcp) -> Iterator[str]:
    if database.port != 5432:
        yield f"database.port: {database.port}: Cloud SQL listens on 5432 alone; take the key out"


def _backups(database: Database, gcp: Gcp) -> Iterator[str]:
    backups = gcp.backups
    if backups.point_in_time_recovery and not backups.enabled:
        yield ("gcp.backups.point_in_time_recovery: needs gcp.backups.enabled; turn backups on, or this off")
    most = _LOG_DAYS[gcp.instance.edition]
    if backups.log_days > most:
        yield (
            f"gcp.backups.log_days: {backups.log_days}: edition {gcp.instance.edition} keeps transaction logs for "
            f"1 to {most} days"
        )
    elif backups.log_days > backups.kept:
        yield (
            f"gcp.backups.log_days: {backups.log_days} days of logs need as many backups to start from, but "
            f"gcp.backups.kept is {backups.kept}; keep more backups or fewer logs"
        )
    if gcp.replicas and not (backups.enabled and backups.point_in_time_recovery):
        yield (
            "gcp.replicas: a replica needs gcp.backups.enabled and gcp.backups.point_in_time_recovery; "
            "turn them on, or take the replicas out"
        )


def _deny_period(database: Database, gcp: Gcp) -> Iterator[str]:
    window = gcp.maintenance_window
    key = "gcp.maintenance_window.deny_from"
    if (window.deny_from is None) != (window.deny_until is None):
        yield f"{key}: goes with deny_until; give both or neither"
        return
    if not window.deny_from or not window.deny_until:
        return
    if len(window.deny_from) != len(window.deny_until):
        yield f"{key}: {window.deny_from} and {window.deny_until}: give both with a year, or both without (each year)"
        return
    days = _days_between(window.deny_from, window.deny_until)
    if days is None or not 1 <= days <= MOST_DENY_DAYS:
        yield (
            f"{key}: {window.deny_from} to {window.deny_until} is no span of 1 to {MOST_DENY_DAYS} days, "
            "which is what Cloud SQL takes"
        )


def _days_between(start: str, end: str) -> int | None:
    yearly = len(start) == len("12-20")
    try:
        # 2027 is no leap year: 02-29 alone would be no date each year.
        first, last = (dt.date.fromisoformat(f"2027-{day}" if yearly else day) for day in (start, end))
    except ValueError:
        return None
    days = (last - first).days + 1
    return days + 365 if yearly and days < 1 else days


def _ranges(database: Database, gcp: Gcp) -> Iterator[str]:
    network = gcp.network
    used = []
    if network.mode == "private":
        used.append(("gcp.network.allocated_range", network.allocated_range))
    if network.mode != "public" and network.egress == "connector":
        used.append(("gcp.network.connector.range", network.connector.range))
        if ipaddress.ip_network(network.connector.range).prefixlen != 28:
            yield f"gcp.network.connector.range: {network.connector.range}: a connector wants a /28 of its own"
    for index, (key, given) in enumerate(used):
        this = ipaddress.ip_network(given)
        if not this.is_private:
            yield f"{key}: {given} is no private range; choose one in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
        for reserved, why in _RESERVED.items():
            if this.overlaps(ipaddress.ip_network(reserved)) and (network.network == "default" or "17" in reserved[:6]):
                yield f"{key}: {given} overlaps {reserved}, {why}; choose another, such as {_free(key)}"
        for other_key, other in used[index + 1 :]:
            if this.overlaps(ipaddress.ip_network(other)):
                yield f"{key}: {given} overlaps {other_key} {other}; choose another, such as {_free(key)}"
    if network.mode == "private" and not 16 <= ipaddress.ip_network(network.allocated_range).prefixlen <= 24:
        yield (
            f"gcp.network.allocated_range: {network.allocated_range}: must be a range from /16 to /24, "
            "for replicas and other services share it"
        )


def _free(key: str) -> str:
    return "10.8.0.0/28" if "connector" in key else "10.9.0.0/20"


def _connector(database: Database, gcp: Gcp) -> Iterator[str]:
    connector = gcp.network.connector
    if connector.region and connector.region != gcp.region:
        yield (
            f"gcp.network.connector.region: {connector.region}: a connector serves its own region alone, and "
            f"gcp.region is {gcp.region}; take the key out"
        )
    if connector.min_instances >= connector.max_instances:
        yield (
            f"gcp.network.connector.min_instances: {connector.min_instances} must be less than max_instances "
            f"{connector.max_instances}"
        )


def _reach(database: Database, gcp: Gcp) -> Iterator[str]:
    network = gcp.network
    if network.mode == "public":
        if not network.authorized:
            yield (
                "gcp.network.authorized: mode public needs the ranges that may connect, such as "
                "{office: 203.0.113.0/24}; or choose mode private"
            )
    elif network.authorized:
        yield (
            f"gcp.network.authorized: counts with mode public alone, but gcp.network.mode is {network.mode}; "
            "take it out, or change the mode"
        )
    for name, given in network.authorized.items():
        if ipaddress.ip_network(given).prefixlen < 8:
            yield f"gcp.network.authorized.{name}: {given} lets (nearly) everybody in; name the ranges that need it"
    if network.client_certificates and network.mode != "public":
        yield (
            f"gcp.network.client_certificates: goes with mode public alone, but gcp.network.mode is {network.mode}; "
            "turn it off: the connector has certificates of its own"
        )
    if gcp.instance.require_connector and network.mode != "private":
        # With connectors required, Cloud SQL refuses whoever comes straight to an address or endpoint.
        yield (
            f"gcp.instance.require_connector: excludes gcp.network.mode {network.mode}, where clients come straight to "
            "an address; set it to false, or choose mode private"
        )


def _own_key(database: Database, gcp: Gcp) -> Iterator[str]:
    if not gcp.encryption.own_key:
        return
    for name, replica in gcp.replicas.items():
        if replica.region and replica.region != gcp.region:
            yield (
                f"gcp.replicas.{name}.region: {replica.region}: with gcp.encryption.own_key a replica elsewhere needs "
                f"a key of that region, which this stack doesn't make; keep it in {gcp.region}, or turn own_key off"
            )


def _iam(database: Database, gcp: Gcp) -> Iterator[str]:
    access = gcp.access
    if (access.iam_users or access.backend_iam_login) and not gcp.instance.iam_authentication:
        key = "iam_users" if access.iam_users else "backend_iam_login"
        yield f"gcp.access.{key}: needs gcp.instance.iam_authentication; turn it on, or take this out"


def _schedules(database: Database, gcp: Gcp) -> Iterator[str]:
    if not gcp.exports.days or len(set(gcp.exports.days)) < len(gcp.exports.days):
        yield "gcp.exports.days: must name at least one weekday, and each once"
        return
    places = sorted(WEEK.index(day) for day in gcp.exports.days)
    gaps = [(later - earlier) for earlier, later in zip(places, [*places[1:], places[0] + 7], strict=True)]
    if gcp.alerts.export_missing_h <= 24 * max(gaps):
        yield (
            f"gcp.alerts.export_missing_h: {gcp.alerts.export_missing_h}: gcp.exports.days leaves {24 * max(gaps)} "
            "hours between two exports; raise it above that, or export on more days"
        )


def _names(database: Database, gcp: Gcp) -> Iterator[str]:
    names = [gcp.instance.name, *(f"{gcp.instance.name}-{name}" for name in gcp.replicas)]
    longest = max(names, key=len)
    if gcp.project and len(f"{gcp.project}:{longest}") > 98:
        yield f"gcp.instance.name: {gcp.project}:{longest} is longer than the 98 characters Cloud SQL takes; shorten it"
    bucket = gcp.exports.bucket or f"{gcp.project or ''}-gaia-db-backups"
    if "google" in bucket:
        yield f"gcp.exports.bucket: {bucket}: no bucket's name may hold 'google'; choose another"
    if gcp.migration_job.timeout_s < 60 * 5:
        yield (
            f"gcp.migration_job.timeout_s: {gcp.migration_job.timeout_s} s leave no time for the backup before the "
            "migration; give at least 300"
        )


Rule = Callable[["Database", "Gcp"], Iterator[str]]
RULES: tuple[Rule, ...] = (
    _machine,
    _memory,
    _port,
    _backups,
    _deny_period,
    _ranges,
    _connector,
    _reach,
    _own_key,
    _iam,
    _schedules,
    _names,
)
