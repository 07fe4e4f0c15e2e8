"""docs/ci.md: its pins, flags, variables and roles are those of the workflows, of gcloud and of the program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from infra.gcp import apis, bindings
from tests.production.test_backend_deploy import FLAGS
from tests.unit.ci.test_workflows import FILES, JOBS, steps

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "ci.md").read_text(encoding="utf-8")
SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")


def commands() -> list[str]:
    return [line.strip() for line in SHELL.splitlines() if line.strip().startswith("gcloud ")]


def test_the_table_of_actions_is_that_of_the_workflows() -> None:
    rows = re.findall(r"^\| `([\w/.-]+)` \| (v[\d.]+) \| `([0-9a-f]{40})` \|$", PAGE, re.MULTILINE)
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    used = set(re.findall(r"uses: ([\w/.-]+)@([0-9a-f]{40}) # (v[\d.]+)", text))
    assert {(action, commit, version) for action, version, commit in rows} == used


def test_every_gcloud_command_takes_the_flags_that_it_is_given() -> None:
    assert len(commands()) > 15
    for line in commands():
        words = shlex.split(line)[1:]
        command = next((each for each in FLAGS if words[: len(each.split())] == each.split()), None)
        assert command, line
        assert [word for word in words if word.startswith("--") and word.split("=")[0] not in FLAGS[command]] == []


def test_the_variables_that_the_page_sets_are_those_that_the_workflows_read() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    assert set(re.findall(r"gh variable set (\w+)", SHELL)) == set(re.findall(r"vars\.(\w+)", text))


def test_every_name_that_a_command_uses_is_set_before() -> None:
    known = {"role", "REVIEWER_ID", "PROVIDER"}
    for line in SHELL.splitlines():
        assert set(re.findall(r"\$\{?([A-Z_]+|role)\b", line)) - known <= set(re.findall(r"\b([A-Z_]+)=", line)), line
        known |= set(re.findall(r"\b([A-Z_]+)=", line))


def test_whom_google_believes_is_one_repository_by_its_numbers() -> None:
    condition = next(line for line in commands() if "create-oidc" in line)
    assert "assertion.repository_id == '$REPO_ID' && assertion.repository_owner_id == '$OWNER_ID'" in condition


def test_each_identity_is_bound_to_its_jobs_alone() -> None:
    deploys = next(line for line in commands() if "workloadIdentityUser" in line)
    assert f"/subject/$SUBJECT:environment:{JOBS['deploy.prod']['environment']}" in deploys
    assert f"$SUBJECT:environment:{JOBS['drill.prod']['environment']}" in PAGE
    assert "$SUBJECT:pull_request" in PAGE
    assert "principalSet" not in SHELL


def test_who_previews_is_given_nothing_that_writes() -> None:
    given = [line for line in commands() if "$PREVIEW" in line]
    roles = {role for line in given for role in re.findall(r"--role=(\S+)", line)}
    assert roles == {
        "roles/storage.objectViewer",
        "roles/cloudkms.cryptoKeyDecrypter",
        "roles/artifactregistry.reader",
    }
    assert not any(line.startswith("gcloud projects") for line in given)


ROLES = {
    "artifactregistry": "artifactregistry.admin",
    "cloudresourcemanager": "resourcemanager.projectIamAdmin",
    "cloudscheduler": "cloudscheduler.admin",
    "iam": "iam.serviceAccountAdmin",
    "logging": "logging.configWriter",
    "monitoring": "monitoring.editor",
    "run": "run.admin",
    "secretmanager": "secretmanager.admin",
    "sqladmin": "cloudsql.admin",
    "storage": "storage.admin",
}


def test_who_deploys_has_a_role_for_each_service_that_the_program_uses() -> None:
    assert sorted(apis.ALWAYS) == sorted(ROLES)
    assert [role for role in ROLES.values() if role not in SHELL] == []
    assert not re.search(r"roles/(owner|editor)\b", PAGE)


def test_who_deploys_may_grant_what_the_program_grants_on_the_project_and_nothing_else() -> None:
    limit = re.search(r"hasOnly\(\[(.*?)\]\)", SHELL, re.DOTALL)
    assert limit
    assert set(re.findall(r"'([^']+)'", limit[1])) == {
        bindings.CLIENT,
        bindings.LOGIN,
        bindings.DRILL_TELLS.role,
        *(f"projects/$PROJECT/roles/{role}" for role in bindings.PERMISSIONS),
    }


def test_the_scripts_that_the_page_names_are_those_that_run() -> None:
    ran = {each["run"].removeprefix(".venv/bin/python ").split()[0] for each in steps(JOBS) if "run" in each}
    assert {name for name in ran if name.startswith(".ci/")} <= set(re.findall(r"\.ci/[\w.]+", PAGE))
