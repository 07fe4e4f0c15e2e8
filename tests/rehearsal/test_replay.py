"""What the official provider sent is accepted in order, and our answers have each field of those that satisfied it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rehearsal.cloud import discovery, iam, run_executions, services
from rehearsal.cloud.errors import GoogleError
from rehearsal.cloud.services import serviceusage
from rehearsal.cloud.state import Cloud, Fault
from rehearsal.jobs.image import Image
from rehearsal.jobs.tasks import Ending
from rehearsal.sql import inside
from tests.rehearsal.replay import Exchange, Replay, exchanges

SERVICES = frozenset(
    {
        "artifactregistry",
        "cloudkms",
        "cloudresourcemanager",
        "cloudscheduler",
        "compute",
        "iam",
        "logging",
        "monitoring",
        "run",
        "secretmanager",
        "servicenetworking",
        "serviceusage",
        "sqladmin",
        "storage",
        "vpcaccess",
    }
)
"""The services whose exchanges are replayed."""

DIFFERENCES = {
    r"GET serviceusage/\S+services: services\[\]\.(config|state|parent) is missing": (
        "The request asks for fields=services/name,nextPageToken; by Google's documents nothing else is answered then. "
        "The recording's server didn't look at it."
    ),
    r"GET compute/\S+operations/\S+: status: '(PENDING|RUNNING)' was recorded, 'DONE' came": (
        "The recording's operations ended by a clock, ours when their work is done."
    ),
    r"(sqladmin|run)/\S+: status: '(PENDING|RUNNING)' was recorded, '(RUNNING|DONE)' came": "The same.",
    r"48[5-7] fault-sqloperror \S+ sqladmin/\S+: it fails: .*Failed to create instance": "The same: it fails at once.",
    r"52[56] fault-lroerror \S+ run/\S+: it fails: .*Image gcr.io/x/y:1 not found": "The same.",
    r"528 fault-jobfix GET run/\S+: (terminalCondition|conditions\[\])\.state: 'CONDITION_SUCCEEDED'": (
        "A job whose creation failed isn't ready; the recording's server said it is."
    ),
    r"49[56] fault-sql409 POST sqladmin/\S+: error\.errors\[\]\.message": "The recording's server cut its text there.",
    r"541 fault-computeoperror GET compute/\S+: it fails: .*QUOTA_EXCEEDED": "The same: it fails at once.",
    r"secrets/orders-db-host\S*: replicationStatus\.automatic is missing": (
        "The secret's replication is user managed: then Google's documents have userManaged here."
    ),
    r"PATCH iam/\S+: description is missing|reconcile-fixed GET iam/\S+: description is missing": (
        "A text that was cleared: Google's JSON leaves empty texts out; the provider takes both."
    ),
    r"destroy GET compute/\S+/operations/\S+: it fails: .*is already being used": (
        "The recording's server let a network go while it was peered; Google refuses that."
    ),
    r"357 reconcile-fixed GET secretmanager/\S+:getIamPolicy: (version|bindings) is missing": (
        "A secret that is made again begins without a policy; the recording's server kept the old one's."
    ),
    r"fault-iamrace\S* POST \S+:setIamPolicy: error\.message": "It names the other writer's etag, which is ours.",
}
"""Every difference, by a pattern that finds it, and why it is right that ours differs."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """Phases that belong together: they begin with a new project."""

    phases: str
    before: Callable[[Cloud], None] = lambda cloud: None
    outside: Mapping[int, Callable[[Cloud], None]] = field(default_factory=dict)
    queries: Mapping[str, str] = field(default_factory=dict)

    def of(self, exchange: Exchange) -> bool:
        return re.fullmatch(self.phases, exchange.phase) is not None and exchange.service in SERVICES


def _label_by_hand(cloud: Cloud) -> None:
    cloud.collection("storage.buckets")["demo-proj-orders-dumps"]["labels"] = {"env": "dev"}


def _lose_secret(cloud: Cloud) -> None:
    name = "projects/demo-proj/secrets/orders-db-host"
    del cloud.collection("secretmanager.secrets")[name]
    del cloud.collection("secretmanager.versions")[f"{name}/versions/1"]
    iam.forget_policies(cloud, "secretmanager", name)


def _describe_by_hand(cloud: Cloud) -> None:
    name = "projects/demo-proj/serviceAccounts/orders-app@demo-proj.iam.gserviceaccount.com"
    cloud.collection("iam.serviceAccounts")[name]["description"] = "changed by hand"


def _pause_by_hand(cloud: Cloud) -> None:
    name = "projects/demo-proj/locations/europe-west1/jobs/orders-nightly"
    cloud.collection("cloudscheduler.jobs")[name]["state"] = "PAUSED"


def _another_writes(service: str, resource: str) -> Callable[[Cloud], None]:
    def act(cloud: Cloud) -> None:
        policy = iam.policy_of(cloud, service, resource)
        binding = {"role": "roles/viewer", "members": ["user:other-writer@example.com"]}
        iam.set_policy(cloud, service, resource, policy | {"bindings": [*policy.get("bindings", []), binding]})

    return act


def _with_secret(cloud: Cloud) -> None:
    name = "projects/demo-proj/secrets/s1"
    cloud.enabled.add("secretmanager")
    cloud.collection("secretmanager.secrets")[name] = {"name": cloud.numbered(name), "replication": {"automatic": {}}}


def _with_compute(cloud: Cloud) -> None:
    serviceusage.turn_on(cloud, ["compute"])


def _fail_the_address(cloud: Cloud) -> None:
    error = GoogleError(403, "Quota EXAMPLE exceeded. Limit: 1.0 globally.", status="QUOTA_EXCEEDED")
    cloud.faults.append(Fault(method="compute.globalAddresses.insert", error=error, in_operation=True))


def _resize_by_hand(cloud: Cloud) -> None:
    settings = cloud.collection("sqladmin.instances")["orders-db"]["settings"]
    settings |= {"tier": "db-custom-4-15360", "settingsVersion": "9"}


def _drop_user_by_hand(cloud: Cloud) -> None:
    inside.drop_user(cloud.servers["orders-db"], "migrator")


def _fail_the_instance(cloud: Cloud) -> None:
    error = GoogleError(500, "Failed to create instance", reason="INTERNAL_ERROR")
    cloud.faults.append(Fault(method="sql.instances.insert", error=error, in_operation=True))


def _lose_the_image(cloud: Cloud) -> None:
    words = "Revision is not ready: Image gcr.io/x/y:1 not found."
    error = GoogleError(400, words, status="FAILED_PRECONDITION")
    cloud.faults.append(Fault(method="run.projects.locations.jobs.create", error=error, in_operation=True))


def _without_containers(cloud: Cloud) -> None:
    """The recorded jobs' images are nobody's: their tasks succeed at once."""
    machine = run_executions.machine(cloud)
    machine.images = dict.fromkeys(("migrate", "y"), Image)
    machine.run = lambda task, **_: Ending(exit_code=0, why=None)


def _with_sql(cloud: Cloud) -> None:
    cloud.enabled |= {"sqladmin", "run"}
    _without_containers(cloud)


STORIES = (
    Story(
        phases="up|noop|update|refresh.*|up-after-bug|update-fixed|reconcile-fixed|destroy",
        before=_without_containers,
        outside={
            311: _label_by_hand,
            313: _lose_secret,
            315: _describe_by_hand,
            347: _pause_by_hand,
            338: _resize_by_hand,
            340: _drop_user_by_hand,
        },
    ),
    Story(phases="fault-sqloperror", before=_with_sql, outside={485: _fail_the_instance}),
    Story(phases="fault-sql(409|412|400|403|destroy)|fault-dpup|fault-dpdestroy|fault-fixdp", before=_with_sql),
    Story(phases="fault-lroerror|fault-job.*", before=_with_sql, outside={525: _lose_the_image}),
    Story(
        phases="fault-(retry503|iam409|get403|delete404|create409|disabled403)",
        before=lambda cloud: cloud.enabled.add("secretmanager"),
    ),
    Story(phases="fault-computeoperror", before=_with_compute, outside={540: _fail_the_address}),
    Story(phases="fault-iam400", before=_with_compute),
    Story(phases="fault-iambatch|fault-iambatchdel", before=_with_compute),
    Story(
        phases="fault-iamrace",
        before=_with_secret,
        outside={568: _another_writes("secretmanager", "projects/demo-proj/secrets/s1")},
    ),
    Story(
        phases="fault-iamrace-project",
        before=_with_compute,
        outside={577: _another_writes("cloudresourcemanager", "projects/demo-proj")},
    ),
    Story(
        phases="fault-paging",
        # The recording's server made pages of three, whatever was asked.
        queries={"pageSize=200": "pageSize=3"},
        before=lambda cloud: cloud.enabled.difference_update({"iam", "cloudresourcemanager"}),
        outside={596: lambda cloud: cloud.enabled.add("cloudresourcemanager")},
    ),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every difference of every story."""
    return [each for story in STORIES for each in _played(story, tmp_path_factory.mktemp("cloud"))]


def _played(story: Story, folder: Path) -> list[str]:
    cloud = Cloud(
        folder=folder,
        project="demo-proj",
        number="123456789012",
        region="europe-west1",
        operator="user:owner@example.com",
    )
    # The recording's server looked at no API of these two.
    cloud.enabled |= {"iam", "cloudresourcemanager"}
    story.before(cloud)
    replay = Replay(cloud=cloud, outside=story.outside, queries=story.queries)
    try:
        replay.send([exchange for exchange in exchanges() if story.of(exchange)])
    finally:
        cloud.close()
    return replay.differences


def test_no_difference_but_those_that_are_listed(found: list[str]) -> None:
    unlisted = [each for each in found if not any(re.search(pattern, each) for pattern in DIFFERENCES)]
    assert not unlisted, "\n".join(unlisted)


@pytest.mark.parametrize("pattern", sorted(DIFFERENCES))
def test_a_listed_difference_is_there(found: list[str], pattern: str) -> None:
    assert any(re.search(pattern, each) for each in found), "it isn't any more: take it out of the list"


def test_every_recorded_phase_is_in_one_story() -> None:
    for exchange in exchanges():
        if exchange.service in SERVICES:
            assert sum(story.of(exchange) for story in STORIES) == 1, str(exchange)


def test_every_method_that_was_recorded_is_answered() -> None:
    assert {*_recorded_methods()} <= services.registered().keys()


def _recorded_methods() -> Iterator[str]:
    for exchange in exchanges():
        if exchange.service in SERVICES:
            yield discovery.find(exchange.service, exchange.method, exchange.path).method.id
