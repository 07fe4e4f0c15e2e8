"""The other two ways to migrate production, from a laptop and Cloud Build: their scripts, with stand-ins for Google."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from migrations import job, runner
from tests.postgres import Database
from tests.standins.sqladmin import CONNECTION_NAME, SqlAdmin, serving

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "examples" / "auth-proxy"

FAKE_PROXY = """#!{python}
import os, socket, sys, threading
arguments = sys.argv[1:]
with open(os.environ["TOLD"], "a") as told:
    print("proxy", os.getpid(), *arguments, file=told)
if os.environ.get("PROXY_FAILS"):
    sys.exit("no route to the instance")
folder, instance = arguments[arguments.index("--unix-socket") + 1], arguments[-1]
os.mkdir(os.path.join(folder, instance))
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.path.join(folder, instance, ".s.PGSQL.5432"))
listener.listen()
def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", int(os.environ["PG_PORT"])))
    for pair in ((client, server), (server, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""

FAKE_GCLOUD = """#!{python}
import os, sys
with open(os.environ["TOLD"], "a") as told:
    print("gcloud", *sys.argv[1:], file=told)
print(os.environ["URL_SECRET"] if "secrets" in sys.argv else os.environ["TOKEN"])
"""


@pytest.fixture
def admin() -> Iterator[SqlAdmin]:
    with serving() as state:
        state.polls = 0
        yield state


@pytest.fixture
def environment(tmp_path: Path, empty_database: Database, admin: SqlAdmin) -> dict[str, str]:
    for name, text in {"cloud-sql-proxy": FAKE_PROXY, "gcloud": FAKE_GCLOUD}.items():
        (tmp_path / name).write_text(text.replace("{python}", sys.executable))
        (tmp_path / name).chmod(0o755)
    server = empty_database.server
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "TOLD": str(tmp_path / "told"),
        "TMPDIR": "/tmp",
        "PG_PORT": str(server.port),
        "URL_SECRET": f"postgresql://gaia:{server.password}@/{empty_database.name}?host=/cloudsql/{CONNECTION_NAME}",
        "TOKEN": admin.tokens[0],
        "GAIA_INSTANCE": CONNECTION_NAME,
        "GAIA_SQLADMIN_URL": admin.url,
        "GAIA_PYTHON": sys.executable,
        "GAIA_PSQL": str(server.binaries / "psql"),
    }


def run(script: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPTS / script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def told(environment: dict[str, str]) -> str:
    return Path(environment["TOLD"]).read_text()


def assert_nothing_is_left(environment: dict[str, str], admin: SqlAdmin) -> None:
    text = told(environment)
    assert environment["URL_SECRET"] not in text and admin.tokens[0] not in text
    assert re.search(r"gaia:[^@\s]+@", text) is None
    for pid in re.findall(r"^proxy (\d+)", text, re.MULTILINE):
        assert not Path(f"/proc/{pid}").exists()
    for folder in re.findall(r"--unix-socket (\S+)", text):
        assert not Path(folder).exists()


def test_from_a_laptop_it_does_what_the_job_does_backup_included(
    environment: dict[str, str], empty_database: Database, admin: SqlAdmin
) -> None:
    environment["GAIA_IDENTITY_KEY"] = "a local stack's"
    done = run("migrate.sh", environment)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ok"] and result["after"] == runner.current(empty_database.url) == runner.head()
    assert result["backup"]["id"] == admin.runs[0]["id"]
    assert "--private-ip" in told(environment) and admin.token_requests == 0
    assert "secrets versions access latest --secret=db-migrator-url --project=demo-proj" in told(environment)
    assert_nothing_is_left(environment, admin)


def test_the_commands_exit_code_is_handed_on(environment: dict[str, str], admin: SqlAdmin) -> None:
    assert run("with-proxy.sh", environment, "sh", "-c", "exit 7").returncode == 7
    assert_nothing_is_left(environment, admin)


def test_a_proxy_that_doesnt_start_is_told_with_its_log(environment: dict[str, str], admin: SqlAdmin) -> None:
    done = run("with-proxy.sh", {**environment, "PROXY_FAILS": "1"}, "true")
    assert done.returncode == 3 and "no route to the instance" in done.stderr
    assert_nothing_is_left(environment, admin)


@pytest.mark.parametrize("missing", ["GAIA_INSTANCE", "proxy"])
def test_what_is_missing_is_told(environment: dict[str, str], missing: str) -> None:
    if missing == "GAIA_INSTANCE":
        del environment["GAIA_INSTANCE"]
    else:
        environment["GAIA_PROXY"] = "no-such-proxy"
    done = run("with-proxy.sh", environment, "true")
    assert done.returncode in {2, 3} and missing in done.stderr


def test_psql_gets_the_password_by_its_environment(environment: dict[str, str], admin: SqlAdmin) -> None:
    done = run("psql.sh", environment, "-Atc", "SELECT current_user, inet_client_addr()")
    assert done.stdout.strip() == "gaia|127.0.0.1", done.stderr
    assert_nothing_is_left(environment, admin)


def test_an_interrupted_command_takes_the_proxy_along(environment: dict[str, str], admin: SqlAdmin) -> None:
    process = subprocess.Popen(
        [str(SCRIPTS / "with-proxy.sh"), "sleep", "30"], env=environment, start_new_session=True, text=True
    )
    deadline = time.monotonic() + 20
    while not (Path(environment["TOLD"]).exists() and "proxy" in told(environment)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) != 0
    assert_nothing_is_left(environment, admin)


CLOUD_BUILD = yaml.safe_load((ROOT / "examples" / "cloud-build" / "cloudbuild.yaml").read_text(encoding="utf-8"))


def test_cloud_build_runs_the_same_script_and_job_with_pinned_secrets() -> None:
    migrate = CLOUD_BUILD["steps"][-1]
    assert migrate["args"] == ["examples/auth-proxy/with-proxy.sh", "python", "-m", "migrations.job"]
    given = {entry.partition("=")[0] for entry in migrate["env"]} | set(migrate["secretEnv"])
    assert given - {"GAIA_PROXY"} <= set(job.VARIABLES)
    secrets = CLOUD_BUILD["availableSecrets"]["secretManager"]
    assert [secret["env"] for secret in secrets] == migrate["secretEnv"]
    assert all(re.search(r"/versions/\$\{_\w+\}$", secret["versionName"]) for secret in secrets)
    assert "gaia-migrate-sa@" in CLOUD_BUILD["serviceAccount"]


def test_cloud_builds_substitutions_are_all_explained() -> None:
    text = (ROOT / "examples" / "cloud-build" / "cloudbuild.yaml").read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert all(name in head for name in re.findall(r"\$\{(_\w+)\}", text))


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_executable_and_strict(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
