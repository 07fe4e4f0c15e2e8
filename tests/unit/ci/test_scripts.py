"""The scripts that the workflows' steps call, run with stand-ins for gcloud, docker and ./gaia."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from infra.gcp import settings as gcp
from tests.production.test_backend_deploy import FLAGS, OUTPUTS

ROOT = Path(__file__).resolve().parents[3]
DIGEST = "sha256:" + "ab" * 32


class Checkout:
    """The scripts in a folder, and programs that answer as they are told and write down what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.log = folder / "log"
        shutil.copytree(ROOT / ".ci", folder / ".ci")

    def answers(self, program: str, script: str) -> None:
        """``script`` sees the arguments as ``$*``, and how often it was called as ``$call``."""
        place = self.folder / "gaia" if program == "gaia" else self.programs / program
        place.write_text(
            f'#!/bin/bash\necho "{program} $*" >>"{self.log}"\n'
            f'call=$(grep -cxF "{program} $*" "{self.log}")\n{script}\n'
        )
        place.chmod(0o755)

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.programs}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": path, "HOME": str(self.folder), "GAIA_STACK": "prod", **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def asked(self, program: str = "") -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(program)]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


# --- .ci/run ---


def ran(checkout: Checkout, gaia: str) -> subprocess.CompletedProcess[str]:
    for script in (checkout.folder / ".ci").iterdir():
        if script.is_file() and script.name != "run":
            script.write_text(f'#!/bin/bash\necho "{script.name} $*" >>"{checkout.log}"\n')
    checkout.answers("gaia", gaia)
    return checkout.run(".ci/run")


def test_run_checks_and_tests_between_the_start_and_the_end_of_the_docker_engine(checkout: Checkout) -> None:
    assert ran(checkout, "true").returncode == 0
    asked = checkout.asked()
    assert (asked[0], asked[-1]) == ("docker start", "docker stop")
    assert [line for line in asked if line.startswith("gaia")] == ["gaia setup", "gaia check", "gaia test"]


def test_run_tests_though_the_checks_failed_and_ends_with_their_code(checkout: Checkout) -> None:
    assert ran(checkout, '[ "$*" != check ] || exit 7').returncode == 7
    asked = checkout.asked()
    assert "gaia test" in asked
    assert asked[-1] == "docker stop"


# --- .ci/deployed.py ---


def deployed(
    checkout: Checkout,
    what: str,
    *,
    outputs: dict[str, Any] | None = None,
    instance: dict[str, str] | None = None,
    job: str = "true",
    **environ: str,
) -> subprocess.CompletedProcess[str]:
    contract = {
        **OUTPUTS,
        "migration_job": "projects/p-1/locations/us-west1/jobs/gaia-db-migrate",
        **(outputs or {}),
    }
    (checkout.folder / "contract").write_text(json.dumps(contract))
    history = json.dumps({"ok": True, "revisions": [{"id": "0009", "title": "z"}, {"id": "0008", "title": "y"}]})
    shown = json.dumps(instance or {"state": "RUNNABLE", "databaseVersion": "POSTGRES_16"})
    checkout.answers("gaia", f"case $1 in outputs) cat contract ;; migrate) echo '{history}' ;; *) exit 9 ;; esac")
    checkout.answers("gcloud", f"case $1 in sql) echo '{shown}' ;; run) {job} ;; *) exit 9 ;; esac")
    return checkout.run(sys.executable, ".ci/deployed.py", what, **environ)


def test_head_is_the_newest_revision_of_the_commit(checkout: Checkout) -> None:
    done = deployed(checkout, "head")
    assert (done.returncode, done.stdout) == (0, "ok    schema_revision is head (0009)\n")


def test_a_schema_that_is_behind_fails_the_deploy_and_names_the_runbook(checkout: Checkout) -> None:
    done = deployed(checkout, "head", outputs={"schema_revision": "0008"})
    assert done.returncode == 1
    assert "stack prod is at revision 0008, and this commit's head is 0009" in done.stderr
    assert "docs/runbooks/migration-job-failed.md" in done.stderr


def test_verify_asks_the_instance_and_the_job_in_its_network(checkout: Checkout) -> None:
    done = deployed(checkout, "verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok    ") == 5
    executed = "gcloud run jobs execute gaia-db-migrate --project=p-1 --region=us-west1"
    assert checkout.asked("gcloud") == [
        "gcloud sql instances describe gaia-prod-db --project=p-1 --format=json",
        f"{executed} --args=-m,migrations,plan,0009 --wait --quiet",
        f"{executed} --args=-m,migrations,check --wait --quiet",
    ]


def test_gcloud_is_asked_with_flags_that_it_has(checkout: Checkout) -> None:
    deployed(checkout, "verify")
    for line in checkout.asked("gcloud"):
        command = next(each for each in FLAGS if line.startswith(f"gcloud {each} "))
        assert set(re.findall(r"--[a-z-]+", line)) <= set(FLAGS[command])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"instance": {"state": "SUSPENDED", "databaseVersion": "POSTGRES_16"}}, "its state is SUSPENDED"),
        ({"instance": {"state": "RUNNABLE", "databaseVersion": "POSTGRES_15"}}, "it is POSTGRES_15"),
        ({"outputs": {"password_secret": None}}, "password_secret: null"),
        ({"job": "exit 1"}, "--args=-m,migrations,plan,0009"),
        ({"job": '[[ "$*" != *check* ]]'}, "--args=-m,migrations,check"),
    ],
)
def test_what_is_not_as_it_should_be_fails_the_deploy(checkout: Checkout, changed: dict[str, Any], says: str) -> None:
    done = deployed(checkout, "verify", **changed)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_hand_on_writes_the_contract_as_a_file_and_as_one_line(checkout: Checkout) -> None:
    target = checkout.folder / "github"
    target.write_text("earlier=1\n")
    done = deployed(checkout, "hand-on", outputs={"replicas": {"reports": "a\nb=c"}}, GITHUB_OUTPUT=str(target))
    assert done.returncode == 0, done.stderr
    earlier, line = target.read_text().splitlines()
    assert earlier == "earlier=1"
    handed = json.loads(line.removeprefix("contract="))
    assert handed == json.loads((checkout.folder / "gaia-db-outputs.json").read_text())
    assert handed["replicas"] == {"reports": "a\nb=c"}


def test_what_was_handed_on_is_what_the_example_deploys_with(checkout: Checkout) -> None:
    deployed(checkout, "hand-on")
    example = ROOT / "examples" / "backend-deploy"
    outputs = str(checkout.folder / "gaia-db-outputs.json")
    command = [sys.executable, str(example), "secrets", "--image", "i", "--outputs", outputs]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--set-secrets=" in done.stdout


@pytest.mark.parametrize(("arguments", "stack"), [([], "prod"), (["undo"], "prod"), (["head"], "")])
def test_an_unknown_command_or_no_stack_is_usage(checkout: Checkout, arguments: list[str], stack: str) -> None:
    done = checkout.run(sys.executable, ".ci/deployed.py", *arguments, GAIA_STACK=stack)
    assert done.returncode == 2
    assert "head|verify|hand-on" in done.stderr


def test_a_command_of_gaia_that_fails_ends_the_step_with_a_sentence(checkout: Checkout) -> None:
    checkout.answers("gaia", "echo 'gaia: no engine' >&2; exit 3")
    done = checkout.run(sys.executable, ".ci/deployed.py", "head")
    assert done.returncode == 1
    assert "gaia: no engine" in done.stderr
    assert "`./gaia outputs --stack prod --format json` ended with 3" in done.stderr


# --- .ci/drill.py ---

BUCKET = "p-1-gaia-db-backups"
LISTED = f"""
      1200  2026-11-21T10:04:11Z  gs://{BUCKET}/gaia-prod-db-sat.sql.gz
      1300  2026-11-22T10:04:12Z  gs://{BUCKET}/gaia-prod-db-sun.sql.gz
                                 gs://{BUCKET}/folder/
TOTAL: 2 objects, 2500 bytes (2.44kiB)
"""


def drilled(checkout: Checkout, *, listed: str = LISTED, gaia: str = "true") -> subprocess.CompletedProcess[str]:
    checkout.answers("gcloud", f"case $2 in ls) cat <<'END'\n{listed}\nEND\n;; cp) echo dump >$4 ;; esac")
    checkout.answers("gaia", gaia)
    return checkout.run(sys.executable, ".ci/drill.py", GAIA_PROJECT="p-1", GAIA_EXPORTS=BUCKET)


def test_the_newest_export_is_restored_and_the_log_hears_of_it(checkout: Checkout) -> None:
    done = drilled(checkout, gaia="cat $3 && echo '{}'")
    assert done.returncode == 0, done.stderr
    listed, copied, restored, told = checkout.asked()
    assert listed == f"gcloud storage ls --long gs://{BUCKET}/"
    assert copied.startswith(f"gcloud storage cp gs://{BUCKET}/gaia-prod-db-sun.sql.gz ")
    assert re.fullmatch(r"gaia restore --drill \S+/gaia-prod-db-sun\.sql\.gz --json", restored)
    assert told.startswith('gcloud logging write gaia-db-drill {"ok": true')
    assert told.endswith("--payload-type=json --project=p-1")


@pytest.mark.parametrize(
    ("given", "says"),
    [({"gaia": "exit 1"}, "./gaia restore --drill"), ({"listed": "TOTAL: 0"}, "there is no export in gs://p-1-gaia")],
)
def test_a_drill_that_failed_fails_and_the_log_hears_why(checkout: Checkout, given: dict[str, str], says: str) -> None:
    done = drilled(checkout, **given)
    assert done.returncode == 1
    assert says in done.stderr and "docs/runbooks/drill-missing.md" in done.stderr
    assert '{"ok": false' in checkout.asked()[-1] and says in checkout.asked()[-1]


def test_a_drill_asks_gcloud_with_flags_that_it_has(checkout: Checkout) -> None:
    drilled(checkout)
    for line in checkout.asked("gcloud"):
        command = next(each for each in FLAGS if line.startswith(f"gcloud {each} "))
        assert set(re.findall(r"(?<= )--[a-z-]+", line)) <= set(FLAGS[command])


def test_a_drill_of_nothing_is_usage(checkout: Checkout) -> None:
    assert checkout.run(sys.executable, ".ci/drill.py").returncode == 2


# --- .ci/image.py ---


NAME = "us-west1-docker.pkg.dev/my-project/gaia-db/migrations"
STACK_FILE = """# a comment
config:
  gcp:project: my-project
  gaia-db:target: gcp
  gaia-db:gcp:
    region: us-west1
secretsprovider: gcpkms://projects/p
encryptedkey: abc=
"""
ABSENT = "exit 1"
THERE = f"echo {DIGEST}"
AFTER_THE_PUSH = f'if [ "$call" = 1 ]; then exit 1; else echo {DIGEST}; fi'


def sources(checkout: Checkout) -> None:
    for name in (".dockerignore", "migrations/Dockerfile", "db/models.py", "db/manager.py"):
        place = checkout.folder / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(name)
    (checkout.folder / "Pulumi.prod.yaml").write_text(STACK_FILE)
    commit(checkout)


def commit(checkout: Checkout) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
    for arguments in (
        ["init", "-q"],
        ["add", "db", "migrations", ".dockerignore"],
        ["commit", "--allow-empty", "-qm", "x"],
    ):
        subprocess.run([*git, *arguments], cwd=checkout.folder, check=True, capture_output=True)


def image(checkout: Checkout, *arguments: str, registry: str, docker: str = "true") -> subprocess.CompletedProcess[str]:
    checkout.answers("gcloud", f"case $1 in artifacts) {registry} ;; auth) true ;; *) exit 9 ;; esac")
    checkout.answers("docker", docker)
    return checkout.run(sys.executable, ".ci/image.py", *arguments)


def written(checkout: Checkout) -> Any:
    return yaml.safe_load((checkout.folder / "Pulumi.prod.yaml").read_text())


def tag(checkout: Checkout) -> str:
    described = next(line for line in checkout.asked("gcloud artifacts"))
    found = re.search(rf"{NAME}:([0-9a-f]+) ", described)
    assert found
    return found[1]


def test_an_image_that_is_there_is_not_built_again(checkout: Checkout) -> None:
    sources(checkout)
    done = image(checkout, "--build", registry=THERE)
    assert done.returncode == 0, done.stderr
    assert written(checkout)["config"]["gaia-db:gcp"]["migration_job"]["image"] == f"{NAME}@{DIGEST}"
    assert checkout.asked("docker") == []


def test_an_image_that_is_not_there_is_built_and_pushed_under_its_tag(checkout: Checkout) -> None:
    sources(checkout)
    done = image(checkout, "--build", registry=AFTER_THE_PUSH)
    assert done.returncode == 0, done.stderr
    name = f"{NAME}:{tag(checkout)}"
    assert checkout.asked("docker") == [
        f"docker build --file migrations/Dockerfile --tag {name} .",
        f"docker push {name}",
    ]
    assert "gcloud auth configure-docker us-west1-docker.pkg.dev --quiet" in checkout.asked("gcloud")
    assert written(checkout)["config"]["gaia-db:gcp"]["migration_job"]["image"] == f"{NAME}@{DIGEST}"


def test_the_rest_of_the_stack_file_stays(checkout: Checkout) -> None:
    sources(checkout)
    image(checkout, registry=THERE)
    expected = yaml.safe_load(STACK_FILE)
    expected["config"]["gaia-db:gcp"]["migration_job"] = {"image": f"{NAME}@{DIGEST}"}
    assert written(checkout) == expected


def test_a_preview_builds_nothing_and_shows_that_there_will_be_another_image(checkout: Checkout) -> None:
    sources(checkout)
    done = image(checkout, registry=ABSENT)
    assert done.returncode == 0, done.stderr
    assert "isn't built yet" in done.stdout
    found = written(checkout)["config"]["gaia-db:gcp"]["migration_job"]["image"]
    assert re.fullmatch(rf"{re.escape(NAME)}@sha256:[0-9a-f]{{64}}", found)
    assert checkout.asked("docker") == []


def test_the_tag_changes_with_what_the_image_is_built_from_and_with_nothing_else(checkout: Checkout) -> None:
    sources(checkout)
    tags = []
    for changed in ("README.md", "db/manager.py", "db/models.py"):
        (checkout.folder / changed).write_text(f"changed {changed}")
        commit(checkout)
        checkout.log.unlink(missing_ok=True)
        (checkout.folder / "Pulumi.prod.yaml").write_text(STACK_FILE)
        image(checkout, registry=THERE)
        tags.append(tag(checkout))
    assert tags[0] == tags[1] != tags[2]


def test_a_stack_file_that_names_an_image_keeps_it(checkout: Checkout) -> None:
    sources(checkout)
    file = checkout.folder / "Pulumi.prod.yaml"
    named = STACK_FILE.replace("region: us-west1", f"migration_job: {{image: '{NAME}@{DIGEST}'}}")
    file.write_text(named)
    done = image(checkout, "--build", registry=ABSENT)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == named
    assert checkout.asked() == []


@pytest.mark.parametrize("fails", ["build", "push"])
def test_a_build_or_push_that_fails_ends_the_step(checkout: Checkout, fails: str) -> None:
    sources(checkout)
    done = image(checkout, "--build", registry=ABSENT, docker=f"[ $1 != {fails} ]")
    assert done.returncode == 1
    assert f"`docker {fails} " in done.stderr
    assert (checkout.folder / "Pulumi.prod.yaml").read_text() == STACK_FILE


def test_a_stack_without_a_project_is_a_sentence(checkout: Checkout) -> None:
    sources(checkout)
    (checkout.folder / "Pulumi.prod.yaml").write_text(STACK_FILE.replace("  gcp:project: my-project\n", ""))
    done = image(checkout, "--build", registry=THERE)
    assert done.returncode == 1
    assert "has no project" in done.stderr


def test_an_unknown_stack_is_usage(checkout: Checkout) -> None:
    done = checkout.run(sys.executable, ".ci/image.py", GAIA_STACK="nowhere")
    assert (done.returncode, done.stdout) == (2, "")


def test_what_it_writes_is_a_setting_that_the_program_takes(checkout: Checkout) -> None:
    assert "image" in {field.name for field in fields(gcp.MigrationJob)}
    sources(checkout)
    for registry in (THERE, ABSENT):
        (checkout.folder / "Pulumi.prod.yaml").write_text(STACK_FILE)
        image(checkout, registry=registry)
        written_image = written(checkout)["config"]["gaia-db:gcp"]["migration_job"]["image"]
        assert TypeAdapter(gcp.Image).validate_python(written_image) == written_image


def test_the_tag_covers_all_that_the_image_is_built_from() -> None:
    script = (ROOT / ".ci" / "image.py").read_text(encoding="utf-8")
    listed = re.search(r"^BUILT_FROM = \((.*)\)$", script, re.MULTILINE)
    assert listed
    covered = re.findall(r'"([^"]+)"', listed[1])
    dockerfile = (ROOT / "migrations" / "Dockerfile").read_text(encoding="utf-8")
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE) for word in line.split()[:-1]
    ]
    assert copied
    assert [name for name in copied if not any(name == each or name.startswith(f"{each}/") for each in covered)] == []


def test_the_job_takes_the_arguments_that_verify_gives_it() -> None:
    """They stand in place of the job's own, behind its command ``python``."""
    from migrations.__main__ import _parser

    job = (ROOT / "infra" / "gcp" / "database_job.py").read_text(encoding="utf-8")
    assert 'commands=["python"]' in job
    script = (ROOT / ".ci" / "deployed.py").read_text(encoding="utf-8")
    given = re.findall(r'"-m,migrations,([^"]+)"', script)
    assert given == ["plan,{newest_revision()}", "check"]
    assert all(_parser().parse_args(each.split(",")) for each in given)
