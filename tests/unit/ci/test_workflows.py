"""The workflows: linted, pinned, with the least permissions, and every step a script that the tests run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import pin

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / ".github" / "workflows").iterdir())
FULL_COMMIT = r"[\w.-]+/[\w./-]+@[0-9a-f]{40}"
FORK = "github.event.pull_request.head.repo.full_name == github.repository"


def text(name: str) -> str:
    return (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")


def workflow(name: str) -> dict[str, Any]:
    """Parsed; YAML 1.1 takes the key ``on`` for true."""
    found = yaml.safe_load(text(name))
    return {("on" if key is True else key): value for key, value in found.items()}


WORKFLOWS = {file.stem: workflow(file.stem) for file in FILES}
JOBS = {f"{name}.{job}": found for name, each in WORKFLOWS.items() for job, found in each["jobs"].items()}


def steps(which: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in which.values():
        yield from job.get("steps", [])


def step(job: str, action: str) -> dict[str, Any]:
    """What a job gives to an action."""
    return next(each for each in JOBS[job]["steps"] if each.get("uses", "").startswith(f"{action}@"))


def test_there_are_the_four() -> None:
    assert [file.name for file in FILES] == ["check.yml", "deploy.yml", "drill.yml", "preview.yml"]


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    files = [str(file) for file in FILES]
    done = subprocess.run([actionlint, "-no-color", *files], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_actionlint_finds_what_is_wrong(actionlint: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(text("check").replace("contents: read", "contents: reed"))
    done = subprocess.run([actionlint, "-no-color", wrong], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "reed" in done.stdout


# --- what runs ---


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_its_full_commit_with_its_version_beside_it(name: str) -> None:
    used = re.findall(r"uses: (\S+)(.*)", text(name))
    assert used
    for action, comment in used:
        if action.startswith("./"):
            assert (ROOT / action).is_file()
            continue
        assert re.fullmatch(FULL_COMMIT, action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_an_action_has_one_pin() -> None:
    pins = {each["uses"] for each in steps(JOBS) if "uses" in each}
    assert len(pins) == len({pinned.split("@")[0] for pinned in pins})


SCRIPTS = {
    ".ci/run",
    ".ci/image.py",
    ".ci/deployed.py",
    ".ci/drill.py",
    "engine/environment.py",
    "./gaia",
}
"""Each is run by a test: those of .ci in test_scripts.py, the others in tests/unit/engine and tests/engine."""


def test_every_step_is_one_script_of_the_repository() -> None:
    for each in steps(JOBS):
        if "run" not in each:
            continue
        words = shlex.split(each["run"])
        if words[0] in ("python", ".venv/bin/python"):
            words = words[1:]
        assert words[0] in SCRIPTS
        assert (ROOT / words[0]).is_file()
        assert not re.search(r"[\n;&|`<>]|\$", each["run"]), "the shell has nothing to do but to call it"
        assert all(re.fullmatch(r"[\w.-]+", word) for word in words[1:])


def test_the_command_of_the_readme_is_what_check_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^\./gaia test +# every test$", readme, re.MULTILINE)
    assert [each["run"] for each in steps({"check": JOBS["check.check"]}) if "run" in each] == [".ci/run"]
    assert re.search(r"^\./gaia test </dev/null", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("job", ["preview.cloud", "deploy.prod"])
def test_pulumi_is_the_version_that_the_repository_pins(job: str) -> None:
    assert step(job, "pulumi/actions")["with"]["pulumi-version"] == pin.VERSION


INPUTS = {
    "always-include-summary",
    "cloud-url",
    "command",
    "comment-on-pr",
    "comment-on-summary",
    "diff",
    "edit-pr-comment",
    "pulumi-version",
    "stack-name",
    "suppress-outputs",
    "suppress-progress",
}
"""Of pulumi/actions, as its action.yml and README name them. GitHub only warns about one that it doesn't know."""


@pytest.mark.parametrize("job", ["preview.cloud", "deploy.prod"])
def test_pulumis_action_is_given_inputs_that_it_has(job: str) -> None:
    assert set(step(job, "pulumi/actions")["with"]) <= INPUTS


# --- who may do what ---


def test_nothing_runs_with_rights_on_behalf_of_a_stranger() -> None:
    for found in WORKFLOWS.values():
        triggers = found["on"]
        names = {triggers} if isinstance(triggers, str) else set(triggers)
        assert names <= {"pull_request", "push", "schedule", "workflow_call", "workflow_dispatch"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_secret_of_github_is_used(name: str) -> None:
    code = re.sub(r"#.*", "", text(name))
    assert "secrets" not in code
    assert "github.token" not in code.lower()
    assert "github_token" not in code.lower()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_permission_and_every_job_says_its_own(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    assert all("permissions" in job for job in WORKFLOWS[name]["jobs"].values())


def test_the_permissions_are_these_and_no_others() -> None:
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "check.check": {"contents": "read"},
        "deploy.check": {"contents": "read"},
        "deploy.prod": {"contents": "read", "id-token": "write"},
        "drill.prod": {"contents": "read", "id-token": "write"},
        "preview.cloud": {"contents": "read", "id-token": "write", "pull-requests": "write"},
        "preview.local": {"contents": "read"},
    }


def test_no_job_of_a_fork_gets_an_identity() -> None:
    for name, job in JOBS.items():
        if "pull_request" in WORKFLOWS[name.split(".")[0]]["on"] and "id-token" in job["permissions"]:
            assert job["if"] == FORK


def test_no_checkout_leaves_its_token_on_disk() -> None:
    checkouts = [each for each in steps(JOBS) if each.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 5
    assert all(each["with"] == {"persist-credentials": False} for each in checkouts)


def test_nothing_that_a_stranger_writes_gets_into_a_command_or_a_script() -> None:
    """Titles, branches and messages are a stranger's; variables, the matrix and numbers aren't."""
    allowed = r"(vars\.\w+|matrix\.stack|steps\.[\w-]+\.outputs\.\w+|github\.(ref|workflow|repository|event_name))"
    allowed += r"|github\.event\.pull_request\.number|github\.event_name == 'pull_request'"
    for name in WORKFLOWS:
        for expression in re.findall(r"\$\{\{ *(.*?) *\}\}", text(name)):
            assert re.fullmatch(allowed, expression), expression


@pytest.mark.parametrize("job", [name for name, job in JOBS.items() if "steps" in job])
def test_a_job_says_how_long_it_may_take_and_on_what(job: str) -> None:
    assert JOBS[job]["runs-on"] == "ubuntu-24.04"
    assert 0 < JOBS[job]["timeout-minutes"] <= 360


# --- preview ---


def targets() -> dict[str, str]:
    """Stack → what it runs on."""
    files = ROOT.glob("Pulumi.*.yaml")
    return {file.name.split(".")[1]: yaml.safe_load(file.read_text())["config"]["gaia-db:target"] for file in files}


def test_every_stack_of_the_repository_is_previewed_and_those_in_the_cloud_with_an_identity() -> None:
    cloud = JOBS["preview.cloud"]["strategy"]["matrix"]["stack"]
    local = JOBS["preview.local"]["strategy"]["matrix"]["stack"]
    assert sorted(cloud) == sorted(stack for stack, target in targets().items() if target == "gcp")
    assert sorted(local) == sorted(stack for stack, target in targets().items() if target != "gcp")


def test_a_preview_is_one_comment_that_is_updated() -> None:
    given = step("preview.cloud", "pulumi/actions")["with"]
    assert given["command"] == "preview"
    assert (given["comment-on-pr"], given["edit-pr-comment"]) == (True, True)


def test_a_preview_reads_with_the_identity_that_reads() -> None:
    given = step("preview.cloud", "google-github-actions/auth")["with"]
    assert given["service_account"] == "${{ vars.GCP_PREVIEW_SERVICE_ACCOUNT }}"
    assert set(given) == {"workload_identity_provider", "service_account"}
    assert "--build" not in text("preview")


# --- deploy ---


def test_a_deploy_waits_for_an_approval_and_is_never_cancelled() -> None:
    assert JOBS["deploy.prod"]["environment"] == "prod"
    assert WORKFLOWS["deploy"]["concurrency"] == {"group": "deploy-prod", "cancel-in-progress": False}
    assert "concurrency" not in JOBS["deploy.prod"]


def test_only_the_main_branch_is_deployed_and_only_once_it_is_checked() -> None:
    job = JOBS["deploy.prod"]
    assert WORKFLOWS["deploy"]["on"]["push"] == {"branches": ["main"]}
    assert (job["if"], job["needs"]) == ("github.ref == 'refs/heads/main'", "check")
    assert JOBS["deploy.check"]["uses"] == "./.github/workflows/check.yml"


def test_a_check_that_a_deploy_waits_for_is_never_cancelled() -> None:
    assert WORKFLOWS["check"]["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


def test_a_deploy_goes_up_asserts_head_verifies_and_hands_on_in_this_order() -> None:
    said = [each.get("run") or each["uses"].split("@")[0] for each in JOBS["deploy.prod"]["steps"]]
    order = [
        "google-github-actions/auth",
        ".venv/bin/python .ci/image.py --build",
        "pulumi/actions",
        ".venv/bin/python .ci/deployed.py head",
        ".venv/bin/python .ci/deployed.py verify",
        ".venv/bin/python .ci/deployed.py hand-on",
        "actions/upload-artifact",
    ]
    assert [each for each in said if each in order] == order
    assert step("deploy.prod", "pulumi/actions")["with"]["command"] == "up"
    assert not any("continue-on-error" in each or "if" in each for each in JOBS["deploy.prod"]["steps"])


def test_what_is_handed_on_is_what_the_script_writes() -> None:
    script = (ROOT / ".ci" / "deployed.py").read_text(encoding="utf-8")
    handed = step("deploy.prod", "actions/upload-artifact")["with"]
    assert f'FILE = "{handed["path"]}"' in script
    assert handed["if-no-files-found"] == "error"
    assert JOBS["deploy.prod"]["outputs"] == {"contract": "${{ steps.hand-on.outputs.contract }}"}
    assert 'f"contract={' in script
