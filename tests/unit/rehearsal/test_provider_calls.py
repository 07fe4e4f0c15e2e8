"""What the provider does when the cloud answers badly: the recorded faults, and what many ask for at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import pytest

from rehearsal.provider.batches import Batch
from rehearsal.provider.policies import changed
from rehearsal.provider.resource import HalfMadeError, ProviderError
from rehearsal.provider.rest import RestError
from rehearsal.provider.table import Properties
from rehearsal.provider.types import TYPES
from tests.unit.rehearsal import recorded
from tests.unit.rehearsal.player import Player

SECRET = TYPES["gcp:secretmanager/secret:Secret"]
S1: Properties = {"project": recorded.PROJECT, "secretId": "s1", "labels": {"a": "b"}, "replication": {"auto": {}}}
PROJECT_MEMBER = TYPES["gcp:projects/iAMMember:IAMMember"]
SECRET_MEMBER = TYPES["gcp:secretmanager/secretIamMember:SecretIamMember"]


def on(player: Player, token: str) -> Any:
    return recorded.resource(TYPES[token], recorded.account_of(player))


def viewer(name: str) -> Properties:
    return {"project": recorded.PROJECT, "role": "roles/viewer", "member": f"user:{name}@example.com"}


def test_an_overloaded_service_is_asked_again() -> None:
    player = Player("fault-retry503")
    on(player, SECRET.token).create(S1)
    assert [each.method for each in player.asked][:3] == ["POST", "POST", "POST"]


def test_what_is_gone_already_is_deleted() -> None:
    on(Player("fault-delete404"), SECRET.token).delete(S1)


@pytest.mark.parametrize(("phase", "code"), [("fault-create409", 409), ("fault-disabled403", 403)])
def test_a_refusal_has_the_clouds_words(phase: str, code: int) -> None:
    player = Player(phase)
    theirs = next(each for each in recorded.exchanges() if each.phase == phase and each.method == "POST")
    with pytest.raises(RestError, match=f"googleapi: Error {code}: ") as refused:
        on(player, SECRET.token).create(S1)
    assert theirs.answer["error"]["message"] in str(refused.value)


def test_an_instance_whose_creation_fails_in_its_operation_is_no_instance() -> None:
    inputs = {
        "project": recorded.PROJECT,
        "name": "fdb",
        "region": recorded.REGION,
        "databaseVersion": "POSTGRES_16",
        "settings": {"tier": "db-g1-small"},
    }
    with pytest.raises(ProviderError, match="Error waiting for Create Instance: "):
        on(Player("fault-sqloperror"), "gcp:sql/databaseInstance:DatabaseInstance").create(inputs)


def test_an_instance_that_is_busy_is_asked_again() -> None:
    inputs = {"project": recorded.PROJECT, "instance": "fdb", "name": "u", "password": "FAKE-PASSWORD-X"}
    first = next(each.seq for each in recorded.exchanges() if each.phase == "fault-sql409" and each.status == 409)
    player = Player("fault-sql409", after=first)
    on(player, "gcp:sql/user:User").create(inputs)
    assert [each.method for each in player.asked].count("POST") == 3


def test_a_job_whose_execution_fails_is_half_made() -> None:
    task = {"containers": [{"image": "gcr.io/x/y:1"}]}
    inputs = {
        "project": recorded.PROJECT,
        "location": recorded.REGION,
        "name": "fjob",
        "template": {"template": task},
        "deletionProtection": False,
    }
    with pytest.raises(HalfMadeError, match="Error waiting to create Job: ") as half:
        on(Player("fault-lroerror"), "gcp:cloudrunv2/job:Job").create(inputs)
    assert half.value.resource_id.endswith("/jobs/fjob")
    assert half.value.state["name"] == "fjob"
    player = Player("fault-jobfix")
    on(player, "gcp:cloudrunv2/job:Job").update(half.value.state, inputs, [])
    assert [each.method for each in player.asked] == ["GET"]


def test_an_error_of_compute_is_told() -> None:
    inputs = {
        "project": recorded.PROJECT,
        "name": "fa",
        "addressType": "INTERNAL",
        "purpose": "VPC_PEERING",
        "prefixLength": 20,
        "network": f"projects/{recorded.PROJECT}/global/networks/default",
    }
    theirs = [each for each in recorded.exchanges() if each.phase == "fault-computeoperror"]
    message = next(each.answer["error"]["errors"][0]["message"] for each in theirs if "error" in (each.answer or {}))
    with pytest.raises(ProviderError) as told:
        on(Player("fault-computeoperror"), "gcp:compute/globalAddress:GlobalAddress").create(inputs)
    assert message in str(told.value)


def together(player: Player, kind: Any, members: Sequence[Properties]) -> list[Any]:
    """All of them made at once, as the engine does it."""
    account = recorded.account_of(player)

    def make(inputs: Properties) -> Any:
        try:
            return recorded.resource(kind, account).create(inputs)
        except (RestError, ProviderError) as error:
            return error

    with ThreadPoolExecutor(len(members)) as threads:
        return list(threads.map(make, members))


def writes(player: Player) -> list[Any]:
    return [each.body for each in player.asked if each.path.endswith(":setIamPolicy")]


def recorded_writes(phase: str) -> list[Any]:
    return [each.body for each in recorded.exchanges() if each.phase == phase and each.path.endswith(":setIamPolicy")]


def without_etag(found: list[Any]) -> list[Any]:
    """The recordings leave out readings that were alike, and so the etag that each of ours would have seen."""
    return [{name: value for name, value in each["policy"].items() if name != "etag"} for each in found]


def test_members_of_a_project_are_one_write_that_the_plugin_made_too() -> None:
    player = Player("fault-iambatch")
    assert not [each for each in together(player, PROJECT_MEMBER, [viewer(f"u{n}") for n in range(3)]) if each is None]
    assert writes(player) == recorded_writes("fault-iambatch")


def test_another_writer_is_kept_when_the_policy_changed_meanwhile() -> None:
    player = Player("fault-iamrace-project")
    together(player, PROJECT_MEMBER, [viewer(f"u{n}") for n in range(3)])
    assert writes(player) == recorded_writes("fault-iamrace-project")


def test_where_a_batch_is_refused_each_member_finds_out_alone() -> None:
    player = Player("fault-iam400")
    found = together(player, PROJECT_MEMBER, [viewer(f"u{n}") for n in range(3)])
    assert all(isinstance(each, RestError) and each.status == 400 for each in found)
    theirs = recorded_writes("fault-iam400")
    assert writes(player)[0] == theirs[0]
    assert all(each in theirs for each in writes(player))


def test_a_secrets_members_are_written_one_at_a_time() -> None:
    player = Player("fault-iamrace")
    member = {"project": recorded.PROJECT, "secretId": "s1", "role": "roles/secretmanager.secretAccessor"}
    account = recorded.account_of(player)
    for name in ("u0", "u1", "u2"):
        recorded.resource(SECRET_MEMBER, account).create({**member, "member": f"user:{name}@example.com"})
    assert without_etag(writes(player)) == without_etag(recorded_writes("fault-iamrace"))


def test_a_policy_without_a_binding_has_none() -> None:
    one = {"role": "roles/viewer", "members": ["user:u0@example.com"]}
    policy = changed({"etag": "e", "bindings": [one]}, [(viewer("u0"), False)])
    assert policy == {"etag": "e", "version": 3}


def test_a_condition_makes_another_binding() -> None:
    condition = {"title": "t", "expression": "true"}
    known = {**viewer("u0"), "condition": condition}
    policy = changed({"bindings": [{"role": "roles/viewer", "members": ["user:a@b.c"]}]}, [(known, True)])
    assert [each.get("condition") for each in policy["bindings"]] == [None, condition]


def test_services_are_enabled_together_and_pages_followed() -> None:
    player = Player("up")
    kind = TYPES["gcp:projects/service:Service"]
    names = next(each.body["serviceIds"] for each in recorded.exchanges() if each.path.endswith("services:batchEnable"))
    found = together(player, kind, [{"service": name, "project": recorded.PROJECT} for name in names])
    assert all(isinstance(each, tuple) for each in found)
    enabled = [each.body for each in player.asked if each.method == "POST"]
    assert [sorted(each["serviceIds"]) for each in enabled] == [sorted(names)]


def test_a_batch_does_the_work_of_all_that_wait_once() -> None:
    done: list[list[int]] = []

    def work(items: Sequence[int]) -> list[int]:
        done.append(list(items))
        return [item * 2 for item in items]

    batch, ready = Batch(work, 0.2), threading.Barrier(8)

    def submit(number: int) -> int:
        ready.wait()
        return batch.submit(number)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(submit, range(8))) == [number * 2 for number in range(8)]
    assert sorted(chain(*done)) == list(range(8))
    assert len(done) < 8


def test_abandoned_and_protected_resources_stay() -> None:
    player = Player("destroy")
    on(player, SECRET.token).delete({**S1, "deletionPolicy": "ABANDON"})
    with pytest.raises(ProviderError, match="PREVENT"):
        on(player, SECRET.token).delete({**S1, "deletionPolicy": "PREVENT"})
    with pytest.raises(ProviderError, match="deletion_protection"):
        on(player, "gcp:sql/databaseInstance:DatabaseInstance").delete({"name": "x"})
    assert [each for each in player.asked if each.method == "DELETE"] == []
