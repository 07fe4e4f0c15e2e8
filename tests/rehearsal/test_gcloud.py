"""gcloud, where it is installed, works against the cloud with the variables that `./gaia cloud` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.cloud import endpoints
from rehearsal.cloud.app import running
from tests.asking import PROJECT, a_cloud

pytestmark = pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud isn't installed")
Gcloud = Callable[..., str]
TIMEOUT_S = 240


@pytest.fixture(scope="module")
def gcloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcloud]:
    folder = tmp_path_factory.mktemp("gcloud")
    cloud = a_cloud(folder / "cloud")
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(cloud.operator_token)
    with running(cloud) as url:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CLOUDSDK_CONFIG": str(folder / "config"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            **endpoints.gcloud(url),
        }

        def run(*arguments: str) -> str:
            command = ["gcloud", *arguments]
            ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        yield run


def test_a_secret_is_made_and_read(gcloud: Gcloud, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text("hello")
    gcloud("secrets", "create", "by-gcloud", "--replication-policy=automatic")
    gcloud("secrets", "versions", "add", "by-gcloud", f"--data-file={file}")
    assert gcloud("secrets", "versions", "access", "latest", "--secret=by-gcloud") == "hello"


def test_an_account_gets_a_role_on_the_project(gcloud: Gcloud) -> None:
    gcloud("iam", "service-accounts", "create", "gaia-gcloud-sa", "--display-name=by gcloud")
    member = f"serviceAccount:gaia-gcloud-sa@{PROJECT}.iam.gserviceaccount.com"
    options = (f"--member={member}", "--role=roles/cloudsql.client", "--condition=None")
    assert member in gcloud("projects", "add-iam-policy-binding", PROJECT, *options)


def test_an_object_goes_into_a_bucket_and_comes_back(gcloud: Gcloud, tmp_path: Path) -> None:
    file = tmp_path / "dump.sql"
    file.write_text("select 1;")
    gcloud("storage", "buckets", "create", "gs://by-gcloud-dumps", "--location=europe-west1")
    gcloud("storage", "cp", str(file), "gs://by-gcloud-dumps/dump.sql")
    assert gcloud("storage", "cat", "gs://by-gcloud-dumps/dump.sql") == "select 1;"
