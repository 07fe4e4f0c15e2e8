"""The bad inputs of Cloud SQL and Cloud Run that pass the official provider's preview: the server refuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.asking import a_cloud, refused
from tests.rehearsal.test_cloud_refusals import OTHERS, rows
from tests.unit.rehearsal.test_cloud_sql_rules import PRIVATE, RUN, SQL, changed, job, made_job, there, wanted

PATCH, INSERT = f"PATCH {SQL}/db", f"POST {SQL}"
NO_NETWORK = (
    "settings.ip_configuration.private_network +settings.ip_configuration.allocated_ip_range(absent),"
    "settings.ip_configuration.enable_private_path_for_google_cloud_services(absent)"
)
BACKUPS = "settings.backup_configuration"
RETENTION = {"retainedBackups": 7, "retentionUnit": "DAYS"}

REQUESTS: dict[tuple[str, str, str], tuple[str, Any]] = {
    ("sql.DatabaseInstance", "name", "Orders_DB"): (INSERT, wanted("Orders_DB")),
    ("sql.DatabaseInstance", "database_version", "POSTGRES_99"): (PATCH, {"databaseVersion": "POSTGRES_99"}),
    ("sql.DatabaseInstance", "settings.tier", "db-nonsense"): (PATCH, changed(tier="db-nonsense")),
    ("sql.DatabaseInstance", f"{BACKUPS}.binary_log_enabled", "true"): (
        PATCH,
        changed(backupConfiguration={"binaryLogEnabled": True}),
    ),
    ("sql.DatabaseInstance", "settings.insights_config.query_string_length", "100000"): (
        PATCH,
        changed(insightsConfig={"queryStringLength": 100000}),
    ),
    ("sql.DatabaseInstance", NO_NETWORK, "(absent)"): (PATCH, changed(ipConfiguration={"ipv4Enabled": False})),
    ("sql.DatabaseInstance", "settings.activation_policy", "SOMETIMES"): (
        PATCH,
        changed(activationPolicy="SOMETIMES"),
    ),
    ("sql.DatabaseInstance", "settings.disk_type", "FLOPPY"): (PATCH, changed(dataDiskType="FLOPPY")),
    ("sql.DatabaseInstance", f"{BACKUPS}.backup_retention_settings.retention_unit", "DAYS"): (
        PATCH,
        changed(backupConfiguration={"backupRetentionSettings": RETENTION}),
    ),
    ("sql.DatabaseInstance", "settings.final_backup_config.retention_days", "9999"): (
        PATCH,
        changed(finalBackupConfig={"enabled": True, "retentionDays": 9999}),
    ),
    ("sql.DatabaseInstance", "settings.data_cache_config", '{"data_cache_enabled": true}'): (
        PATCH,
        changed(dataCacheConfig={"dataCacheEnabled": True}),
    ),
    ("sql.DatabaseInstance(replica)", BACKUPS, '{"enabled": true}'): (
        INSERT,
        {**wanted("r", backupConfiguration={"enabled": True}), "masterInstanceName": "db"},
    ),
    ("sql.User", "type", "LDAP"): (f"POST {SQL}/db/users", {"name": "ada", "type": "LDAP"}),
    ("sql.User", "password", "(absent)"): (f"PUT {SQL}/db/users?name=ada&host=", {"name": "ada"}),
    ("sql.Database", "name", ""): (f"POST {SQL}/db/databases", {"name": ""}),
    ("cloudrunv2.Job", "name", "Bad_Name"): (f"POST {RUN}?jobId=Bad_Name", job()),
    ("cloudrunv2.Job", "template.template.containers.0.envs.1.value", "v"): (
        f"PATCH {RUN}/j",
        job(container={"env": [{"name": "A", "value": "v", "valueSource": {"secretKeyRef": {"secret": "s"}}}]}),
    ),
}
"""By type, property and value of the recording, the request that they make."""
NEVER_SENT = {("sql.DatabaseInstance", "deletion_policy"), ("sql.Database", "deletion_policy")}
"""The provider keeps these for itself."""


@pytest.mark.postgres  # a machine's name is looked at beside the server's parameters
@pytest.mark.parametrize("row", sorted(REQUESTS), ids=lambda row: " ".join(row)[:70])
def test_the_server_refuses_it(row: tuple[str, str, str], tmp_path: Path) -> None:
    cloud = a_cloud(tmp_path)
    there(**PRIVATE)(cloud)
    made_job(cloud)
    try:
        code, message = refused(cloud, *REQUESTS[row])
    finally:
        cloud.close()
    assert code == 400 and message


def test_every_recorded_row_is_tried_or_never_sent() -> None:
    left = {row for row in rows() if row[0].startswith(OTHERS)} - REQUESTS.keys()
    assert {row[:2] for row in left} == NEVER_SENT
