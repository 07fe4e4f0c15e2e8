"""Cloud Run's jobs: the migrations really run, with what their account may read and reach and nothing else."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from migrations import runner
from rehearsal.cloud import run_executions
from rehearsal.cloud.state import Cloud
from rehearsal.jobs.tasks import Kill
from tests.google_clients import (
    JOBS,
    PROJECT,
    REGION,
    allow,
    client,
    done,
    finished,
    instance_body,
    make_account,
    make_secret,
    running_cloud,
)

pytestmark = [pytest.mark.postgres, pytest.mark.xdist_group("run-jobs")]

CONNECTION = f"{PROJECT}:{REGION}:main"
SECRETS = {
    "GAIA_MIGRATIONS_URL": ("url", f"postgresql://gaia_migrator:of-migrator@/gaia?host=/cloudsql/{CONNECTION}"),
    "GAIA_IDENTITY_KEY": ("key", "0123456789abcdef" * 4),
    "GAIA_APP_PASSWORD": ("password", "of-gaia-app-and-long-enough"),
}
WHERE = f"projects/{PROJECT}"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as made, client(made, "sqladmin", "v1beta4") as sql:
        done(sql, sql.instances().insert(project=PROJECT, body=instance_body("main")).execute())
        done(sql, sql.databases().insert(project=PROJECT, instance="main", body={"name": "gaia"}).execute())
        user = {"name": "gaia_migrator", "password": "of-migrator"}
        done(sql, sql.users().insert(project=PROJECT, instance="main", body=user).execute())
        for name, value in SECRETS.values():
            make_secret(made, name, value)
        yield made


@pytest.fixture
def run(cloud: Cloud) -> Iterator[Any]:
    with client(cloud, "run", "v2") as made:
        yield made


def entitled(cloud: Cloud, name: str, *, without: str = "") -> str:
    """An account with all that the migrations need, but for one right."""
    email = make_account(cloud, name)
    for secret, _ in SECRETS.values():
        if secret != without:
            allow(cloud, "secretmanager", f"{WHERE}/secrets/{secret}", "roles/secretmanager.secretAccessor", email)
    for role in ("roles/cloudsql.client", "roles/cloudsql.editor"):
        if role != without:
            allow(cloud, "cloudresourcemanager", WHERE, role, email)
    return email


def body(account: str, *, code: str | None = None, token: str | None = None, **task: Any) -> dict[str, Any]:
    """A job of the migrations, or with ``code`` of that Python in their image."""
    env = [
        {"name": name, "valueSource": {"secretKeyRef": {"secret": secret, "version": "1"}}}
        for name, (secret, _) in SECRETS.items()
    ]
    env += [{"name": "GAIA_INSTANCE", "value": CONNECTION}, {"name": "GAIA_BACKUP_TIMEOUT_S", "value": "60"}]
    container = {
        "image": "europe-west1-docker.pkg.dev/demo-proj/gaia-db/migrations@sha256:" + "0" * 64,
        "command": ["python"],
        "args": ["-m", "migrations", "upgrade"] if code is None else ["-c", code],
        "env": env,
        "volumeMounts": [{"name": "cloudsql", "mountPath": "/cloudsql"}],
    }
    template = {
        "containers": [container],
        "volumes": [{"name": "cloudsql", "cloudSqlInstance": {"instances": [CONNECTION]}}],
        "serviceAccount": account,
        "maxRetries": 0,
        "timeout": "300s",
        **task,
    }
    made: dict[str, Any] = {"template": {"taskCount": 1, "template": template}}
    return made | ({"runExecutionToken": token} if token else {})


def created(run: Any, name: str, job: dict[str, Any]) -> dict[str, Any]:
    parent = f"projects/{PROJECT}/locations/{REGION}"
    begun = run.projects().locations().jobs().create(parent=parent, jobId=name, body=job).execute()
    return finished(run, begun)


def patched(run: Any, name: str, job: dict[str, Any]) -> dict[str, Any]:
    return finished(run, run.projects().locations().jobs().patch(name=f"{JOBS}/{name}", body=job).execute())


def log(cloud: Cloud, job: str, token: str) -> str:
    return run_executions.log_of(cloud, f"{JOBS}/{job}/executions/{job}-{token}")


def revision(cloud: Cloud) -> str | None:
    with cloud.servers["main"].session("gaia") as session:
        if session.execute("SELECT to_regclass('public.alembic_version')").fetchone() == (None,):
            return None
        row = session.execute("SELECT max(version_num) FROM alembic_version").fetchone()
    return row[0] if row else None


def test_without_one_right_the_job_fails_in_googles_words_and_the_database_stays_empty(cloud: Cloud, run: Any) -> None:
    for number, (missing, words) in enumerate(
        {
            "key": "Permission denied on secret: .*/secrets/key/versions/1 for Revision service account",
            "roles/cloudsql.editor": "403 .*cloudsql.backupRuns",
        }.items()
    ):
        account = entitled(cloud, f"lacking-{number}", without=missing)
        job = body(account, token="first")
        job["template"]["template"]["containers"][0]["env"][-1]["value"] = "5"  # no patience for a right to come
        answer = created(run, f"lacking-{number}", job)
        assert re.search(words, answer["error"]["message"] + log(cloud, f"lacking-{number}", "first"))
        assert revision(cloud) is None
        shown = run.projects().locations().jobs().get(name=f"{JOBS}/lacking-{number}").execute()
        assert shown["terminalCondition"]["state"] == "CONDITION_FAILED"


def test_an_account_that_may_not_connect_is_cut_off(cloud: Cloud, run: Any) -> None:
    account = make_account(cloud, "stranger")
    for secret, _ in SECRETS.values():
        allow(cloud, "secretmanager", f"{WHERE}/secrets/{secret}", "roles/secretmanager.secretAccessor", account)
    answer = created(run, "stranger", body(account, token="first"))
    words = "Task stranger-first-task0 failed with message: The container exited with an error."
    assert answer["error"]["message"] == words
    said = log(cloud, "stranger", "first")
    assert "NOT_AUTHORIZED" in said and "cloudsql.instances.get on resource instances/main" in said
    assert "Container called exit(3)." in said and revision(cloud) is None


def test_a_job_that_is_killed_in_the_middle_leaves_a_revision_and_the_next_run_goes_on(cloud: Cloud, run: Any) -> None:
    account = entitled(cloud, "killed")
    run_executions.machine(cloud).faults.append(Kill(job="killed", when="upgrading 0004"))
    answer = created(run, "killed", body(account, token="first"))
    assert "Container terminated on signal 9." in log(cloud, "killed", "first")
    assert "failed with message" in answer["error"]["message"] and revision(cloud) == "0003"
    before = len(cloud.collection(run_executions.EXECUTIONS))
    assert "error" in patched(run, "killed", body(account, token="first"))  # the same text runs nothing
    assert len(cloud.collection(run_executions.EXECUTIONS)) == before
    assert "error" not in patched(run, "killed", body(account, token="second"))
    assert revision(cloud) == runner.head()
    job = run.projects().locations().jobs().get(name=f"{JOBS}/killed").execute()
    assert job["latestCreatedExecution"]["completionStatus"] == "EXECUTION_SUCCEEDED"
    assert (job["executionCount"], job["terminalCondition"]["state"]) == (2, "CONDITION_SUCCEEDED")
    check_backups(cloud, account)


def check_backups(cloud: Cloud, account: str) -> None:
    """Each run that had something to do took one, as the job's account."""
    with client(cloud, "sqladmin", "v1") as sql:
        runs = sql.backupRuns().list(project=PROJECT, instance="main").execute()["items"]
    told = [each["description"].rpartition(" (")[0] for each in runs]
    assert told == [f"gaia: before 0004..{runner.head()}", f"gaia: before 0001..{runner.head()}"]
    asked = [
        entry.principal for entry in cloud.journal if entry.method == "sql.backupRuns.insert" and entry.code == 200
    ]
    assert asked == [f"serviceAccount:{account}"] * 2


SEEN = """
import json, os, urllib.request
host = os.environ["GCE_METADATA_HOST"]
path = "/computeMetadata/v1/instance/service-accounts/default/email"
request = urllib.request.Request(f"http://{host}{path}", headers={"Metadata-Flavor": "Google"})
email = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read().decode()
seen = {"environment": dict(os.environ), "uid": os.getuid(), "root": sorted(os.listdir("/")), "email": email}
seen["home"] = os.path.exists(HIDDEN)
seen["cloudsql"] = os.listdir("/cloudsql") if os.path.exists("/cloudsql") else None
print(json.dumps(seen))
"""


def test_a_container_sees_its_own_environment_identity_and_sockets_and_nothing_else(
    cloud: Cloud, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_CANARY", "of this machine")
    account, hidden = entitled(cloud, "looks"), tmp_path / "hidden"
    hidden.touch()
    answer = created(run, "looks", body(account, code=SEEN.replace("HIDDEN", repr(str(hidden))), token="first"))
    assert "error" not in answer
    seen = json.loads(log(cloud, "looks", "first"))
    environment = seen["environment"]
    assert environment["GAIA_MIGRATIONS_URL"] == SECRETS["GAIA_MIGRATIONS_URL"][1] or not isolated(cloud)
    assert environment["CLOUD_RUN_EXECUTION"] == "looks-first" and environment["CLOUD_RUN_TASK_COUNT"] == "1"
    assert "GAIA_CANARY" not in environment and seen["email"] == account
    assert set(environment) <= {
        *SECRETS,
        *("GAIA_INSTANCE", "GAIA_BACKUP_TIMEOUT_S", "GAIA_SQLADMIN_URL", "CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL"),
        *("GCE_METADATA_HOST", "PATH", "HOME", "LANG", "LC_CTYPE"),
        *("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
        *(f"CLOUD_RUN_{part}" for part in ("JOB", "EXECUTION", "TASK_INDEX", "TASK_ATTEMPT", "TASK_COUNT")),
    }
    if isolated(cloud):
        assert seen["cloudsql"] == [CONNECTION] and not seen["home"]
        assert seen["uid"] != 0


def isolated(cloud: Cloud) -> bool:
    return run_executions.machine(cloud).isolated


def test_a_secret_is_a_file_where_it_is_mounted_and_goes_with_the_container(cloud: Cloud, run: Any) -> None:
    code = "import pathlib; print(pathlib.Path('/secrets/of/key.txt').read_text() == '0123456789abcdef' * 4)"
    job = body(entitled(cloud, "mounts"), code=code, token="first")
    template = job["template"]["template"]
    template["volumes"].append({"name": "of", "secret": {"secret": "key", "items": [{"path": "key.txt"}]}})
    template["containers"][0]["volumeMounts"].append({"name": "of", "mountPath": "/secrets/of"})
    answer = created(run, "mounts", job)
    said = log(cloud, "mounts", "first")
    assert ("error" not in answer, said) == (True, "True\n") or not isolated(cloud)
    kept = [
        file for file in run_executions.machine(cloud).folder.rglob("*") if file.is_file() and file.suffix != ".log"
    ]
    assert not any(SECRETS["GAIA_IDENTITY_KEY"][1] in file.read_text(errors="replace") for file in kept)


def test_without_files_of_its_own_a_container_runs_all_the_same(
    cloud: Cloud, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = run_executions.machine(cloud)
    monkeypatch.setitem(vars(machine), "isolated", False)
    answer = created(run, "rewritten", body(entitled(cloud, "rewritten"), token="first"))
    assert "error" not in answer, log(cloud, "rewritten", "first")


@pytest.mark.parametrize(
    ("code", "task", "status", "words"),
    [
        ("import sys; sys.exit(7)", {}, {"exitCode": 7}, "The container exited with an error."),
        ("import time; time.sleep(600)", {"timeout": "1s"}, {"termSignal": 15}, "The configured timeout was reached."),
        ("import sys; sys.exit(1)", {"maxRetries": 2}, {"exitCode": 1}, "The container exited with an error."),
    ],
)
def test_how_a_task_ended_is_told(
    cloud: Cloud, run: Any, code: str, task: dict[str, Any], status: dict[str, int], words: str
) -> None:
    name = f"ends-{len(cloud.collection('run.jobs'))}"
    answer = created(run, name, body(entitled(cloud, "ends"), code=code, token="first", **task))
    assert answer["error"]["message"] == f"Task {name}-first-task0 failed with message: {words}"
    jobs = run.projects().locations().jobs()
    execution = f"{JOBS}/{name}/executions/{name}-first"
    shown = jobs.executions().get(name=execution).execute()
    assert (shown["failedCount"], shown["retriedCount"]) == (1, task.get("maxRetries", 0))
    assert shown["conditions"][0]["executionReason"] == "NON_ZERO_EXIT_CODE"
    result = jobs.executions().tasks().list(parent=execution).execute()["tasks"][0]["lastAttemptResult"]
    assert {key: result[key] for key in status} == status


def test_an_execution_is_cancelled_and_its_process_ended(cloud: Cloud, run: Any) -> None:
    account = entitled(cloud, "slow")
    created(run, "slow", body(account, code="import time; print('runs', flush=True); time.sleep(600)"))
    begun = run.projects().locations().jobs().run(name=f"{JOBS}/slow", body={}).execute()
    execution = begun["metadata"]["name"]
    deadline = time.monotonic() + 60
    while "runs" not in run_executions.log_of(cloud, execution):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.projects().locations().jobs().executions().cancel(name=execution, body={}).execute()
    assert "cancelled" in finished(run, begun)["error"]["message"]
    shown = run.projects().locations().jobs().executions().get(name=execution).execute()
    assert (shown["cancelledCount"], shown["conditions"][0]["executionReason"]) == (1, "CANCELLED")


def test_who_may_run_a_job_is_asked_of_its_policy(cloud: Cloud, run: Any) -> None:
    created(run, "scheduled", body(entitled(cloud, "scheduled"), code="print('ran')"))
    invoker = make_account(cloud, "invoker")
    with client(cloud, "run", "v2", cloud.token_for(invoker)) as theirs:
        request = theirs.projects().locations().jobs().run(name=f"{JOBS}/scheduled", body={})
        with pytest.raises(HttpError, match=r"run\.jobs\.run"):
            request.execute()
        allow(cloud, "run", f"{JOBS}/scheduled", "roles/run.invoker", invoker)
        assert "error" not in finished(run, request.execute())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"containers": [{"image": "gcr.io/x/other:1"}]}, "Image 'gcr.io/x/other:1' not found."),
        ({"serviceAccount": "nobody@demo-proj.iam.gserviceaccount.com"}, "iam.serviceaccounts.actAs"),
        ({"vpcAccess": {"connector": f"{WHERE}/locations/{REGION}/connectors/none"}}, "does not exist, or Cloud Run"),
    ],
)
def test_a_job_that_names_what_is_not_there_is_kept_and_not_ready(
    cloud: Cloud, run: Any, change: dict[str, Any], words: str
) -> None:
    name = f"astray-{len(cloud.collection('run.jobs'))}"
    answer = created(run, name, body(entitled(cloud, "astray"), **change))
    assert words in answer["error"]["message"]
    shown = run.projects().locations().jobs().get(name=f"{JOBS}/{name}").execute()
    assert shown["terminalCondition"]["state"] == "CONDITION_FAILED"


def test_jobs_end_with_the_cloud(tmp_path: Path) -> None:
    with running_cloud(tmp_path) as cloud, client(cloud, "run", "v2") as run:
        account = make_account(cloud, "sleeps")
        job = body(account, code="import time; print('runs', flush=True); time.sleep(600)")
        job["template"]["template"]["containers"][0]["env"] = []
        created(run, "sleeps", job)
        begun = run.projects().locations().jobs().run(name=f"{JOBS}/sleeps", body={}).execute()
        deadline = time.monotonic() + 60
        while "runs" not in run_executions.log_of(cloud, begun["metadata"]["name"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        programs = list(cloud.servers.processes._programs)
    assert programs and not any(program.runs for program in programs)
    assert not [t for t in threading.enumerate() if t.name.startswith("operation")]
