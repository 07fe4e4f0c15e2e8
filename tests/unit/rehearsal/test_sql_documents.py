"""An instance as the API shows it, as far as no server is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rehearsal.cloud import sql_instances
from tests.asking import NUMBER, PROJECT, REGION, a_cloud

SETTINGS = {"tier": "db-g1-small", "edition": "ENTERPRISE"}


def document(folder: Path, **settings: Any) -> dict[str, Any]:
    cloud = a_cloud(folder)
    cloud.collection("compute.globalAddresses")["psa"] = {"name": "psa", "address": "10.9.0.0"}
    body = {"name": "db", "region": REGION, "rootPassword": "canary", "settings": {**SETTINGS, **settings}}
    return sql_instances.new_document(cloud, body, installed="16.14", version="v1")


def test_what_isnt_asked_for_is_as_cloud_sql_has_it(tmp_path: Path) -> None:
    made = document(tmp_path)
    assert made["connectionName"] == f"{PROJECT}:{REGION}:db" and made["databaseInstalledVersion"] == "POSTGRES_16_14"
    settings = made["settings"]
    assert (settings["availabilityType"], settings["dataDiskType"], settings["settingsVersion"]) == (
        "ZONAL",
        "PD_SSD",
        "1",
    )
    assert settings["backupConfiguration"]["enabled"] is False and settings["ipConfiguration"]["ipv4Enabled"] is True
    assert "serverCertificateRotationMode" not in settings["ipConfiguration"]  # the provider would change it for ever
    assert made["serviceAccountEmailAddress"].startswith(f"p{NUMBER}-")


def test_without_an_edition_it_is_the_dearer_one(tmp_path: Path) -> None:
    assert document(tmp_path, edition=None)["settings"]["edition"] == "ENTERPRISE_PLUS"


def test_the_password_of_postgres_is_nowhere_in_it(tmp_path: Path) -> None:
    assert "canary" not in str(document(tmp_path))


def test_a_private_address_is_of_the_range_that_was_given(tmp_path: Path) -> None:
    network = f"projects/{PROJECT}/global/networks/vpc"
    address = {"ipv4Enabled": False, "privateNetwork": network, "allocatedIpRange": "psa"}
    found = document(tmp_path, ipConfiguration=address)["ipAddresses"]
    assert [each["type"] for each in found] == ["PRIVATE"] and found[0]["ipAddress"].startswith("10.9.0.")


def test_private_service_connect_has_an_attachment_and_a_name(tmp_path: Path) -> None:
    made = document(tmp_path, ipConfiguration={"ipv4Enabled": False, "pscConfig": {"pscEnabled": True}})
    assert f"/regions/{REGION}/serviceAttachments/" in made["pscServiceAttachmentLink"]
    assert made["dnsName"].endswith(f".{REGION}.sql.goog.") and made["ipAddresses"] == []
