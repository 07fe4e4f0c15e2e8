"""The docker stand-in's tables against the official provider's schema, and its checks and diffs on plain data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rehearsal.provider.protocol import SECRET_MARK, SECRET_SIGNATURE, UNKNOWN, Properties, to_plain, to_struct
from tests.docker.conftest import unavailable
from tests.standins import docker_schema
from tests.standins.attached import REPOSITORY
from tests.standins.docker_schema import CONTAINER, RESOURCES, VOLUME, check, diff

SCHEMA = REPOSITORY.parent / "shared" / "schemas" / "docker.json"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    if not SCHEMA.is_file():
        unavailable("the official provider's schema isn't beside the checkout, in ../shared/schemas")
    return json.loads(SCHEMA.read_text())


@pytest.mark.parametrize("token", RESOURCES)
def test_every_input_of_the_official_resource_is_modelled_or_refused_by_name(
    schema: dict[str, Any], token: str
) -> None:
    official, ours = schema["resources"][token], RESOURCES[token]
    assert set(ours.inputs) | ours.refused == set(official["inputProperties"])
    assert not set(ours.inputs) & ours.refused
    required = {name for name, known in ours.inputs.items() if known.required}
    assert required == set(official.get("requiredInputs", []))
    assert set(ours.outputs) == set(official["properties"]) - set(official["inputProperties"])


@pytest.mark.parametrize("token", RESOURCES)
def test_the_same_changes_replace_as_with_the_official_provider(schema: dict[str, Any], token: str) -> None:
    official = schema["resources"][token]["inputProperties"]
    for name, known in RESOURCES[token].inputs.items():
        assert known.replaces == official[name].get("willReplaceOnChanges", False), name
        _assert_same_type(schema, known, official[name], name)


def _assert_same_type(
    schema: dict[str, Any], known: docker_schema.Property, official: dict[str, Any], name: str
) -> None:
    reference = official.get("$ref") or official.get("items", {}).get("$ref")
    if reference:
        assert known.kind == ("objects" if official.get("type") == "array" else "object"), name
        fields = schema["types"][reference.removeprefix("#/types/")]["properties"]
        assert set(known.fields) | known.refused == set(fields), name
        for inner, field in known.fields.items():
            assert field.replaces == fields[inner].get("willReplaceOnChanges", False), f"{name}.{inner}"
            _assert_same_type(schema, field, fields[inner], f"{name}.{inner}")
        return
    kinds = {"array": "strings", "object": "map"}
    assert known.kind == kinds.get(official["type"], official["type"]), name


@pytest.mark.parametrize(
    ("inputs", "place"),
    [
        ({"privileged": True}, "privileged"),
        ({"imagee": "x"}, "imagee"),
        ({"restart": "sometimes"}, "restart"),
        ({"memory": "512"}, "memory"),
        ({"healthcheck": {"interval": "often"}}, "healthcheck.interval"),
        ({"ports": [{"internal": 1}, {"external": 2}]}, "ports[1].internal"),
        ({"networksAdvanced": [{"name": "a", "macAddress": "x"}]}, "networksAdvanced[0].macAddress"),
    ],
)
def test_a_bad_input_is_refused_with_its_place(inputs: Properties, place: str) -> None:
    _, failures = check(CONTAINER, {}, {"image": "postgres", **inputs}, name="db")
    assert [failure.property for failure in failures] == [place]
    assert place in failures[0].reason


def test_every_fault_comes_at_once() -> None:
    _, failures = check(CONTAINER, {}, {"privileged": True, "memory": True}, name="db")
    assert {failure.property for failure in failures} == {"privileged", "memory", "image"}


def test_an_unknown_value_passes_the_check() -> None:
    inputs = {"image": UNKNOWN, "envs": UNKNOWN, "networksAdvanced": [{"name": UNKNOWN}]}
    assert check(CONTAINER, {}, inputs, name="db")[1] == []


def test_a_name_that_the_program_left_out_is_made_once_and_kept() -> None:
    first, _ = check(VOLUME, {}, {}, name="data")
    again, _ = check(VOLUME, first, {}, name="data")
    assert first["name"].startswith("data-")
    assert again["name"] == first["name"]


@pytest.mark.parametrize(
    ("state", "news"),
    [
        ({"mustRun": True}, {}),
        ({"envs": ["A=1", "B=2"]}, {"envs": ["B=2", "A=1"]}),
        ({"hostname": "4f2", "command": ["postgres"], "shmSize": 64}, {}),
        ({"healthcheck": {"tests": ["x"], "interval": "60s"}}, {"healthcheck": {"tests": ["x"], "interval": "1m"}}),
        ({"ports": [{"internal": 1, "external": 2, "ip": "0.0.0.0", "protocol": "tcp"}]}, {"ports": [{"internal": 1}]}),
    ],
)
def test_what_means_the_same_is_no_difference(state: Properties, news: Properties) -> None:
    assert diff(CONTAINER, {**_defaults(), **state}, news) == []


def test_memory_without_swap_differs_for_ever_as_with_the_official_provider() -> None:
    found = diff(CONTAINER, {**_defaults(), "memory": 512, "memorySwap": 1024}, {"memory": 512})
    assert [(item.property, item.change, item.replaces) for item in found] == [("memorySwap", "delete", False)]


def test_a_stopped_container_is_replaced_for_its_ports() -> None:
    ports = [{"internal": 5432, "external": 15432, "ip": "127.0.0.1"}]
    found = diff(CONTAINER, {**_defaults(), "mustRun": False, "ports": []}, {"ports": ports})
    assert {(item.property, item.change, item.replaces) for item in found} == {
        ("ports", "add", True),
        ("mustRun", "update", False),
    }


def _defaults() -> Properties:
    return {name: known.default for name, known in RESOURCES[CONTAINER].inputs.items() if known.default is not None}


def test_a_secret_is_read_as_its_value() -> None:
    secret = {SECRET_MARK: SECRET_SIGNATURE, "value": "POSTGRES_PASSWORD=x"}
    assert to_plain(to_struct({"envs": [secret]})) == {"envs": ["POSTGRES_PASSWORD=x"]}
