"""What a fault meets, what the provider tries again, and how a lost primary's place in the state is taken."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ops.exits import UsageFault
from ops.rehearse import _faults
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.state import Fault
from rehearsal.provider.rest import TRIES, Rest, RestError, busy, passes
from rehearsal.run import inventory, phases
from rehearsal.run.faults import FAULTS
from rehearsal.run.operator import taken_over
from rehearsal.run.play import chosen
from tests.asking import PROJECT, a_cloud, ask, refused

ROOT = Path(__file__).resolve().parents[3]
SECRETS, SECRET = f"POST secretmanager/v1/projects/{PROJECT}/secrets?secretId=", {"replication": {"automatic": {}}}
LIST = f"GET secretmanager/v1/projects/{PROJECT}/secrets"
QUOTA = "Quota exceeded for quota metric 'Writes' and limit 'Writes per minute' of service 'x' for consumer 'y'."


def test_what_only_reads_goes_through(tmp_path: Path) -> None:
    cloud = a_cloud(tmp_path)
    with cloud.faulty(Fault(method="*", error=GoogleError(503, "no"), writes_alone=True, times=9)):
        assert ask(cloud, LIST)[0] == 200
        assert ask(cloud, f"POST cloudresourcemanager/v1/projects/{PROJECT}:getIamPolicy", {})[0] == 200
        assert refused(cloud, f"{SECRETS}a", SECRET) == (503, "no")
    assert ask(cloud, f"{SECRETS}a", SECRET)[0] == 200


def test_each_method_meets_it_once(tmp_path: Path) -> None:
    cloud = a_cloud(tmp_path)
    with cloud.faulty(Fault(method="*", error=GoogleError(429, "slowly"), once_each=True, times=9)) as fault:
        answers = [ask(cloud, *each)[0] for each in 2 * [(LIST,), (f"{SECRETS}a", SECRET)]]
    assert answers == [429, 429, 200, 200]
    assert fault.met == {"secretmanager.projects.secrets.list", "secretmanager.projects.secrets.create"}


def test_an_answer_is_lost_with_its_work_done(tmp_path: Path) -> None:
    cloud = a_cloud(tmp_path)
    lost = Fault(method="secretmanager.projects.secrets.create", error=GoogleError(500, "lost"), after_work=True)
    with cloud.faulty(lost):
        assert refused(cloud, f"{SECRETS}a", SECRET) == (500, "lost")
    assert refused(cloud, f"{SECRETS}a", SECRET)[0] == 409
    assert f"projects/{PROJECT}/secrets/a" in inventory.there(cloud)


def test_something_else_happens_first(tmp_path: Path) -> None:
    cloud = a_cloud(tmp_path)

    def other() -> None:
        assert ask(cloud, f"{SECRETS}a", SECRET)[0] == 200

    with cloud.faulty(Fault(method="secretmanager.projects.secrets.create", meanwhile=other)):
        assert refused(cloud, f"{SECRETS}a", SECRET)[0] == 409


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RestError(429, "m"), True),
        (RestError(500, "m"), True),
        (RestError(502, "m"), True),
        (RestError(503, "m"), True),
        (RestError(504, "m"), False),
        (RestError(409, "m", "operationInProgress"), True),
        (RestError(409, "m", "instanceAlreadyExists"), False),
        (RestError(412, "Condition does not match.", "staleData"), False),
        (RestError(403, QUOTA, "rateLimitExceeded"), True),
        (RestError(403, "Permission denied."), False),
        (RestError(400, "The subnetworks 'a' is not ready", "resourceNotReady"), True),
        (RestError(400, "m", "invalid"), False),
    ],
    ids=str,
)
def test_what_is_sent_again_is_what_the_official_provider_sends_again(error: RestError, again: bool) -> None:
    assert passes(error) == again
    assert busy(error) == (error.reason == "operationInProgress")


class _Impatient(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class _Answering(Rest):
    """Answers in this order, the last of them for ever."""

    def __init__(self, *answers: tuple[int, dict[str, Any]]) -> None:
        super().__init__("", _Impatient())
        self.left: Sequence[tuple[int, dict[str, Any]]] = answers
        self.asked = 0

    def _once(self, verb: str, url: str, body: Any) -> tuple[int, dict[str, Any]]:
        self.asked += 1
        answer, self.left = self.left[0], self.left[1:] or self.left
        return answer


BUSY = (409, {"error": {"message": "busy", "errors": [{"reason": "operationInProgress"}]}})
UNAVAILABLE = (503, {"error": {"message": "no"}})


def test_what_stays_ends_the_request_however_long_another_operation_took_before() -> None:
    rest = _Answering(*[BUSY] * (TRIES + 1), UNAVAILABLE)
    with pytest.raises(RestError, match="503"):
        rest.call("PATCH", "http://cloud/x")
    assert rest.asked == TRIES + 1 + TRIES


def test_faults_come_after_what_they_need_and_before_the_end() -> None:
    assert chosen(["slow-api"]) == ["up", "migrate", "backend", "slow-api"]
    assert chosen(["teardown", "primary-lost", "job-killed"])[-3:] == ["job-killed", "primary-lost", "teardown"]
    assert chosen([]) == list(phases.PHASES), "without a word no fault"


def test_a_fault_is_asked_for_by_the_name_that_the_page_has() -> None:
    assert _faults(["slow-api"]) == ["slow-api"]
    assert _faults(["all"]) == list(FAULTS)
    with pytest.raises(UsageFault, match=r"--fault nope: must be slow-api, .* or all"):
        _faults(["nope"])
    page = (ROOT / "docs" / "commands" / "rehearse.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", page.partition("## Faults")[2], re.M) == list(FAULTS)


URN = "urn:pulumi:prod::gaia-db::"
INSTANCE = "gcp:sql/databaseInstance:DatabaseInstance"
REPLICA = f"{URN}{INSTANCE}::replica-reports"
STATE: dict[str, Any] = {
    "version": 3,
    "deployment": {
        "resources": [
            {
                "urn": f"{URN}{INSTANCE}::primary",
                "type": INSTANCE,
                "id": "projects/p/instances/db",
                "outputs": {"name": "db", "other": "my-db", "more": "db-2", "flags": []},
            },
            {"urn": REPLICA, "type": INSTANCE, "id": "projects/p/instances/db-reports"},
            {"urn": f"{URN}gcp:sql/user:User::user", "type": "gcp:sql/user:User", "id": "u//db"},
            {
                "urn": f"{URN}gcp:monitoring/alertPolicy:AlertPolicy::lag",
                "type": "gcp:monitoring/alertPolicy:AlertPolicy",
                "outputs": {"filter": "db"},
                "dependencies": [REPLICA, f"{URN}a"],
                "propertyDependencies": {"a": [REPLICA]},
            },
        ]
    },
}


def test_the_promoted_replica_takes_the_primarys_place_in_the_state() -> None:
    primary, user, lag = taken_over(STATE, old="db", new="db-reports", replica="reports")["deployment"]["resources"]
    assert primary["id"] == "projects/p/instances/db-reports"
    assert primary["outputs"] == {"name": "db-reports", "other": "my-db", "more": "db-2", "flags": []}
    assert user["id"] == "u//db-reports"
    assert lag["outputs"] == {"filter": "db"}, "what isn't Cloud SQL's follows by itself"
    assert lag["dependencies"] == [f"{URN}a"]
    assert lag["propertyDependencies"] == {"a": []}


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, as the runbook does")
def test_the_runbook_does_the_same() -> None:
    page = (ROOT / "docs" / "restore.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^jq --arg old .*? --arg replica .*? '(.*?)' before.json", page, re.S | re.M)
    command = ["jq", "--arg", "old", "db", "--arg", "new", "db-reports", "--arg", "replica", "reports", program]
    done = subprocess.run(command, input=json.dumps(STATE), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == taken_over(STATE, old="db", new="db-reports", replica="reports")
