"""docs/production.md: each line of the source document's "Production Deployment" has its resource and property, which
the program registers with that value; and each alert has its runbook."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra import outputs
from migrations import job
from tests.production import planning

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
TABLES = PAGE.partition("## Every line of the document\n")[2]
RUNBOOKS = ROOT / "docs" / "runbooks"

DOCUMENT = {
    "Provision the Instance": (
        "gcloud services enable sqladmin.googleapis.com|secretmanager.googleapis.com|iam.googleapis.com"
        "|gcloud sql instances create gaia-prod-db|--project=|--database-version=POSTGRES_16|--tier=db-g1-small"
        "|--storage-size=10|--storage-type=HDD|--region=us-west1|--availability-type=zonal|--backup"
        "|--maintenance-window-day=MON|--maintenance-window-hour=2|--edition=ENTERPRISE"
        "|db-custom-2-7680|SSD|--availability-type=regional"
        "|gcloud compute networks vpc-access connectors create gaia-prod-connector|--region=${REGION}"
        "|--network=default|--range=10.8.0.0/28|--network=projects/${PROJECT_ID}/global/networks/default"
        "|--ipv4-enabled=false|--vpc-connector gaia-prod-connector"
    ),
    "Create Databases and Users": (
        "gcloud sql users create gaia_app|--instance=gaia-prod-db|--password=|gcloud sql databases create gaia"
        "|secrets/.secrets.env|gcloud sql instances describe gaia-prod-db|--format="
    ),
    "Configure Environment Variables": (
        "DB_USER=|DB_PASSWORD=|DB_NAME=|DB_HOST=/cloudsql/|DATABASE_URL=|DB_HOST=<PUBLIC_IP>|--authorized-networks"
        "|--require-ssl|certificates"
    ),
    "Grant Cloud Run Access": (
        "gcloud projects add-iam-policy-binding|--member=|--role=|gcloud sql instances patch gaia-prod-db|--assign-ip"
        "|VPC connector"
    ),
    "Deploy from Cloud Run": (
        "gcloud run deploy gaia-backend|--image=|--service-account=|--set-env-vars=|--add-cloudsql-instances="
        "|--vpc-connector=|--set-secrets=DB_USER=db-user|DB_PASSWORD=db-password|DB_NAME=db-name|DATABASE_URL=db-url"
    ),
    "Run Migrations": (
        "Cloud Run job|gcloud run jobs execute gaia-db-migrate|--args|Cloud Build step|Local machine|Always create"
    ),
    "Backups and Maintenance": (
        "--backup|point-in-time recovery|gcloud sql export sql gaia-prod-db|gs://gaia-db-backups/|--database=gaia"
        "|cpu/utilization|connections|storage|high CPU|storage limits|Rotate the `gaia_app` password"
        "|secrets/.secrets.env"
    ),
}
"""The document's flags and lines, by its sections."""

VARIANTS = {
    "": {},
    "scaled": {"instance": {"tier": "db-custom-2-7680", "disk_type": "SSD", "availability": "regional"}},
    "public": {
        "network": {"mode": "public", "authorized": {"office": "203.0.113.0/24"}, "client_certificates": True},
        "instance": {"require_connector": False},
    },
}
SETTINGS = {
    name: planning.production({"gcp": {"project": "demo-project", **changes}}) for name, changes in VARIANTS.items()
}

ALERTS = {
    *("cpu", "memory", "disk", "down", "connections", "connections-by-state", "transaction-ids", "deadlocks"),
    *("log-archive", "replica-lag", "migration-job-failed", "maintenance-failed", "export-missing", "backup-failed"),
    "backup-missing",
}
WITH_A_DRILL = {"drill-missing"}
HEADINGS = ["Symptom", "What it means", "Look", "Mend", "Afterwards"]


def rows(section: str) -> list[list[str]]:
    """The rows of a section's table: the document's words, ours, and the test."""
    text = TABLES.partition(f"### {section}\n")[2].partition("\n### ")[0]
    found = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [row.split(" | ") for row in found if not row.startswith(("the document", "---"))]


ROWS = [row for section in DOCUMENT for row in rows(section)]
CLAIMS = sorted({claim for row in ROWS for claim in re.findall(r"`((?:\w+:)?[\w-]+\.[\w.]+)` = `([^`]*)`", row[1])})


def planned(variant: str) -> dict[str, dict[str, Any]]:
    """What production registers, by name."""
    return {each.name: each.inputs for each in planning.planned(SETTINGS[variant]).resources.values()}


def value_at(inputs: Any, path: str) -> Any:
    for part in path.split("."):
        camel = re.sub(r"_(\w)", lambda found: found[1].upper(), part)
        inputs = inputs[int(part)] if part.isdigit() else inputs[camel]
    return inputs


def written(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return value if isinstance(value, str) else json.dumps(int(value) if whole else value)


@pytest.mark.parametrize("section", DOCUMENT)
def test_no_line_of_the_document_is_left_out(section: str) -> None:
    left = " ".join(row[0] for row in rows(section))
    assert [line for line in DOCUMENT[section].split("|") if line not in left] == []


def test_the_sections_are_the_documents_in_its_order() -> None:
    assert re.findall(r"^### (.*)$", TABLES, re.MULTILINE) == list(DOCUMENT)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_each_line_has_a_resource_or_an_output_and_a_test_that_is_there(row: list[str]) -> None:
    assert len(row) == 3 and all(row)
    assert "`" in row[1] or "output" in row[1]
    assert row[2] == "test_production" or (ROOT / row[2]).is_file(), row[2]
    assert set(re.findall(r"output `(\w+)`", row[1])) <= set(outputs.NAMES)
    for path in re.findall(r"`((?:examples|migrations|infra)/[\w./-]+)`", row[1]):
        assert (ROOT / path).exists(), path
    for name, path in re.findall(r"(?<!= )`([\w-]+)\.([\w.]+)`(?! = )", row[1]):
        if not name.startswith("gcp"):
            assert value_at(planned("")[name], path), f"{name}.{path}"


@pytest.mark.parametrize(("claim", "value"), CLAIMS, ids=lambda text: text[:60])
def test_the_program_registers_what_the_table_says(claim: str, value: str) -> None:
    variant, _, place = claim.rpartition(":")
    name, _, path = place.partition(".")
    assert written(value_at(planned(variant)[name], path)) == value


def test_every_setting_that_the_page_names_is_one() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") + (ROOT / "infra/gcp/settings.py").read_text()
    pages = [PAGE, *(page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md"))]
    for key in {found for page in pages for found in re.findall(r"`gcp\.([\w.]+)", page)}:
        assert re.search(rf"\b{key.split('.')[-1]}\b", text), key


def test_the_jobs_variables_are_those_of_the_page() -> None:
    table = PAGE.partition("| variable | what for |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([A-Z_]+)`", table)) == set(job.VARIABLES) - {"CLOUD_RUN_EXECUTION"}


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == ALERTS | WITH_A_DRILL
    registered = {name.removeprefix("alert-") for name in planned("") if name.startswith("alert-")}
    assert registered == ALERTS
    assert (
        set(re.findall(r"^\| \[([\w-]+)\]", (RUNBOOKS / "README.md").read_text(), re.MULTILINE))
        == ALERTS | WITH_A_DRILL
    )


def test_every_alert_names_its_runbook() -> None:
    for key in ALERTS:
        assert f"runbooks/{key}.md" in json.dumps(planned("")[f"alert-{key}"]), key


@pytest.mark.parametrize("key", sorted(ALERTS | WITH_A_DRILL))
def test_a_runbook_has_the_same_parts_as_the_others_and_is_short(key: str) -> None:
    text = (RUNBOOKS / f"{key}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    parts = re.split(r"^## .*\n", text, flags=re.MULTILINE)[1:]
    assert all(part.strip() for part in parts)
    assert len(text.splitlines()) <= 60
    assert "```sh\n" in parts[2]  # commands, to be copied as they are
    assert re.search(r"PROJECT_ID|psql\.sh", parts[2])


@pytest.mark.parametrize("page", [ROOT / "docs/production.md", *sorted(RUNBOOKS.glob("*.md"))], ids=lambda p: p.stem)
def test_shell_blocks_can_be_read_by_a_shell(page: Path) -> None:
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
