"""The Cloud SQL primary, and what its replicas share with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra.gcp import settings
from infra.gcp.apis import Apis
from infra.gcp.network import Network
from infra.gcp.place import Place
from infra.gcp.sdk import sql

VERSION = "POSTGRES_16"


@dataclass(frozen=True, kw_only=True)
class InstanceArgs:
    place: Place
    gcp: settings.Gcp
    flags: Mapping[str, str]
    network: Network
    apis: Apis
    key: pulumi.Input[str] | None
    """Full name of the key the disks are encrypted with; None for Google's."""
    after: Sequence[pulumi.Resource]
    """What has to be there besides the network: the right to use that key."""


class Instance(pulumi.ComponentResource):
    """One PostgreSQL 16 instance."""

    primary: sql.DatabaseInstance
    connection_name: pulumi.Output[str]
    """``project:region:instance``."""

    def __init__(self, name: str, args: InstanceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Instance", name, {}, opts)
        chosen = args.gcp.instance
        self.primary = sql.DatabaseInstance(
            "primary",
            project=args.place.project,
            region=args.place.region,
            name=chosen.name,
            database_version=VERSION,
            encryption_key_name=args.key,
            # Three levels: the provider's word, the API's (in the settings), and Pulumi's own.
            deletion_protection=chosen.deletion_protection,
            settings=_primary_settings(args),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=args.place.protect,
                depends_on=[*args.apis.of("sqladmin"), *args.network.reachable, *args.after],
            ),
        )
        self.connection_name = self.primary.connection_name
        self.register_outputs({"connection_name": self.connection_name})


def ip_configuration(gcp: settings.Gcp, network: Network) -> sql.DatabaseInstanceSettingsIpConfigurationArgs:
    """The way to the server, the same for a replica as for the primary."""
    mode, project = gcp.network.mode, network.path.split("/")[1]
    certificates = gcp.network.client_certificates
    return sql.DatabaseInstanceSettingsIpConfigurationArgs(
        ipv4_enabled=mode == "public",
        private_network=network.path if mode == "private" else None,
        allocated_ip_range=network.allocated_range,
        enable_private_path_for_google_cloud_services=True if mode == "private" else None,
        authorized_networks=[
            sql.DatabaseInstanceSettingsIpConfigurationAuthorizedNetworkArgs(name=name, value=value)
            for name, value in sorted(gcp.network.authorized.items())
        ]
        or None,
        psc_configs=[
            sql.DatabaseInstanceSettingsIpConfigurationPscConfigArgs(
                psc_enabled=True, allowed_consumer_projects=[project]
            )
        ]
        if mode == "psc"
        else None,
        ssl_mode="TRUSTED_CLIENT_CERTIFICATE_REQUIRED" if certificates else "ENCRYPTED_ONLY",
        server_ca_mode=gcp.instance.server_ca,
    )


def shared_settings(
    gcp: settings.Gcp, *, tier: str, flags: Mapping[str, str], network: Network, labels: Mapping[str, str]
) -> dict[str, object]:
    """The settings that a replica has as the primary has them."""
    chosen, insights = gcp.instance, gcp.insights
    return {
        "tier": tier,
        # PostgreSQL 16 would be ENTERPRISE_PLUS, which has neither shared-core nor custom machines.
        "edition": chosen.edition,
        "disk_type": f"PD_{chosen.disk_type}",
        # It grows by itself, and then the provider takes a smaller disk_size for no change. Without autoresize the same
        # would be a plan to shrink, which replaces the instance: so that isn't a setting.
        "disk_size": chosen.disk_gb,
        "disk_autoresize": True,
        "disk_autoresize_limit": chosen.disk_limit_gb,
        "activation_policy": "ALWAYS",
        "connector_enforcement": "REQUIRED" if chosen.require_connector else "NOT_REQUIRED",
        "deletion_protection_enabled": chosen.deletion_protection,
        "database_flags": [
            sql.DatabaseInstanceSettingsDatabaseFlagArgs(name=name, value=value) for name, value in flags.items()
        ],
        "ip_configuration": ip_configuration(gcp, network),
        "insights_config": sql.DatabaseInstanceSettingsInsightsConfigArgs(
            query_insights_enabled=insights.enabled,
            query_string_length=insights.query_length,
            query_plans_per_minute=insights.plans_per_minute,
            record_application_tags=insights.application_tags,
            record_client_address=insights.client_address,
        ),
        "user_labels": dict(labels),
    }


def _primary_settings(args: InstanceArgs) -> sql.DatabaseInstanceSettingsArgs:
    gcp = args.gcp
    shared = shared_settings(
        gcp, tier=gcp.instance.tier, flags=args.flags, network=args.network, labels=args.place.labels
    )
    return sql.DatabaseInstanceSettingsArgs(
        **shared,  # pyright: ignore[reportArgumentType]
        availability_type=gcp.instance.availability.upper(),
        backup_configuration=_backups(gcp.backups),
        retain_backups_on_delete=True,
        final_backup_config=sql.DatabaseInstanceSettingsFinalBackupConfigArgs(
            enabled=True, retention_days=gcp.backups.final_days
        ),
        maintenance_window=sql.DatabaseInstanceSettingsMaintenanceWindowArgs(
            day=settings.WEEK.index(gcp.maintenance_window.day) + 1,
            hour=gcp.maintenance_window.hour,
            update_track=gcp.maintenance_window.track,
        ),
        deny_maintenance_period=_deny_period(gcp.maintenance_window),
        password_validation_policy=sql.DatabaseInstanceSettingsPasswordValidationPolicyArgs(
            enable_password_policy=True,
            min_length=gcp.instance.password_min_length,
            disallow_username_substring=True,
            # No complexity: COMPLEXITY_DEFAULT refuses our 32 random letters and digits for want of a special sign.
        ),
    )


def _backups(backups: settings.Backups) -> sql.DatabaseInstanceSettingsBackupConfigurationArgs:
    return sql.DatabaseInstanceSettingsBackupConfigurationArgs(
        enabled=backups.enabled,
        start_time=backups.start,
        location=backups.location,
        point_in_time_recovery_enabled=backups.point_in_time_recovery,
        transaction_log_retention_days=backups.log_days,
        backup_retention_settings=sql.DatabaseInstanceSettingsBackupConfigurationBackupRetentionSettingsArgs(
            retained_backups=backups.kept, retention_unit="COUNT"
        ),
    )


def _deny_period(window: settings.MaintenanceWindow) -> sql.DatabaseInstanceSettingsDenyMaintenancePeriodArgs | None:
    if not window.deny_from or not window.deny_until:
        return None
    return sql.DatabaseInstanceSettingsDenyMaintenancePeriodArgs(
        start_date=window.deny_from, end_date=window.deny_until, time="00:00:00"
    )
