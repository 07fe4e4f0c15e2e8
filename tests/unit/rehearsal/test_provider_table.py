"""The table against what others know of the same types: the installed SDK, the schema of 9.35.0, the program."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi_gcp.provider import ProviderArgs

from rehearsal.provider import checking, endpoints, mapping, sdk_shapes
from rehearsal.provider.comparing import changes
from rehearsal.provider.random_values import KINDS
from rehearsal.provider.rules import snake
from rehearsal.provider.table import ResourceType, is_object, members
from rehearsal.provider.types import TYPES
from tests.production import planning
from tests.unit.rehearsal import recorded

GCP = sorted(TYPES)
RETYPED = {
    ("gcp:secretmanager/secretVersion:SecretVersion", "secretDataWoVersion"): "a text in the newer SDK",
}
"""Where the SDK differs from the schema, which is older."""


@functools.cache
def registered() -> list[planning.Registered]:
    """All that the program registers in any of its shapes."""
    return [each for variant in planning.variants().values() for each in planning.plan("prod", variant).custom()]


def test_every_type_that_the_program_registers_is_in_the_table() -> None:
    used = {each.type for each in registered()}
    assert used == {*TYPES, *(token for token in KINDS if token in used)}


def test_every_input_of_the_program_passes_and_shows_no_change_against_itself() -> None:
    for each in registered():
        if not each.type.startswith("gcp:"):
            continue
        kind, plain = TYPES[each.type], {key: _whole(value) for key, value in each.inputs.items()}
        inputs, failures = checking.check(kind, plain)
        assert failures == [], each.urn
        assert changes(kind, inputs, inputs, inputs) == [], each.urn


def _whole(value: Any) -> Any:
    """The planner's numbers as the engine's: 1.0 is 1."""
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def test_the_shapes_are_those_of_the_installed_sdk() -> None:
    for name, text in sdk_shapes.files(GCP).items():
        assert (sdk_shapes.FOLDER / name).read_text(encoding="utf-8") == text, f"python -m {sdk_shapes.__name__}"
    assert {file.name for file in sdk_shapes.FOLDER.iterdir()} == set(sdk_shapes.files(GCP))


def paths(shape: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every property with its path, lists walked through."""
    inner = shape[0] if isinstance(shape, list) else shape
    if is_object(inner):
        for name, one in members(inner).items():
            yield f"{prefix}{name}", one
            yield from paths(one, f"{prefix}{name}.")


@pytest.mark.parametrize("token", GCP)
def test_every_path_in_the_table_is_a_property(token: str) -> None:
    kind = TYPES[token]
    known = {path for path, _ in paths(kind.inputs)} | {path for path, _ in paths(kind.outputs)}
    named = {
        *kind.rename, *kind.local, *kind.write_only, *kind.unmodelled, *kind.sends_empty, *kind.fixed, *kind.kept,
        *kind.replaces, *kind.unordered, *kind.ignore_case, *kind.words, *kind.free, *kind.suppressed,
    }  # fmt: skip
    assert named - known - {"region"} == set()
    assert kind.source


def schema_paths(token: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The properties of the schema, with whether a change of them, or of what holds them, replaces the resource."""
    resource = recorded.schema()["resources"][token]
    yield from _schema(resource["inputProperties"], "", False)


def _schema(properties: dict[str, Any], prefix: str, replaced: bool) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name, one in properties.items():
        here = replaced or bool(one.get("willReplaceOnChanges"))
        yield f"{prefix}{name}", one, here
        reference = one.get("$ref") or one.get("items", {}).get("$ref", "")
        inner = recorded.schema()["types"].get(reference.removeprefix("#/types/"), {})
        yield from _schema(inner.get("properties", {}), f"{prefix}{name}.", here)


LEAVES_ALONE = {
    ("gcp:logging/metric:Metric", "metricDescriptor.labels.key"): "a rule: labels can be added, not taken away",
    ("gcp:logging/metric:Metric", "metricDescriptor.labels.valueType"): "the same rule",
    ("gcp:artifactregistry/repository:Repository", "remoteRepositoryConfig"): "by its parts: its rest can change",
}
"""What the schema marks as replacing, and the table has otherwise."""


@pytest.mark.parametrize("token", GCP)
def test_what_replaces_is_what_the_schema_says(token: str, record_property: Any) -> None:
    kind = TYPES[token]
    ours = dict(paths(kind.inputs))
    gone = []
    for path, _, replaced in schema_paths(token):
        if path not in ours:
            gone.append(path)
        elif (token, path) not in LEAVES_ALONE and not path.startswith("remoteRepositoryConfig."):
            assert kind.replacing(path) == replaced, path
    known = {path for path, _, _ in schema_paths(token)}
    newer = sorted(set(ours) - known)
    record_property("newer than the schema", newer)
    print(token, "newer:", newer, "gone:", gone)


@pytest.mark.parametrize("token", GCP)
def test_types_and_required_inputs_are_those_of_the_schema(token: str) -> None:
    kind = TYPES[token]
    ours = dict(paths(kind.inputs))
    words = {"string": "string", "integer": "integer", "boolean": "boolean", "number": "number"}
    for path, one, _ in schema_paths(token):
        if one.get("type") in words and path in ours and (token, path) not in RETYPED:
            shape = "string" if "|" in ours[path] else ours[path]
            assert shape == words[one["type"]], path
    required = {name.removesuffix("!") for name in kind.shape["in"] if name.endswith("!")}
    assert required == set(recorded.schema()["resources"][token].get("requiredInputs", []))


@pytest.mark.parametrize("token", GCP)
def test_outputs_are_those_of_the_schema(token: str) -> None:
    resource = recorded.schema()["resources"][token]
    theirs = {name for name in resource["properties"] if name not in resource["inputProperties"]}
    assert theirs - set(TYPES[token].outputs) - set(TYPES[token].inputs) == set()
    hidden = {name for name, one in resource["properties"].items() if one.get("secret")}
    assert hidden <= set(TYPES[token].shape["secret"])


def test_every_endpoint_is_a_key_of_the_providers_configuration() -> None:
    known = set(inspect.signature(ProviderArgs.__init__).parameters)
    for name in endpoints.SERVICES:
        assert f"{snake(name)}_custom_endpoint" in known, name
    made = endpoints.endpoints("http://127.0.0.1:1/")
    assert made["gcp:sqlCustomEndpoint"] == "http://127.0.0.1:1/sqladmin/sql/v1beta4/"
    assert {kind.service for kind in TYPES.values()} <= set(endpoints.SERVICES)


@pytest.mark.parametrize("token", GCP)
def test_what_is_sent_comes_back_as_it_was(token: str) -> None:
    """The mapping both ways: what the program gives, as the API's fields and back."""
    kind: ResourceType = TYPES[token]
    for each in registered():
        if each.type != token:
            continue
        given = {key: _whole(value) for key, value in each.inputs.items()}
        back = mapping.outputs_of(kind, mapping.body_of(kind, given))
        for name, value in given.items():
            if name not in kind.local | kind.write_only and name != "labels" and value not in ("", [], 0, False):
                assert _without_empty(back.get(name)) == _without_empty(value), (each.urn, name)


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        # What a bucket's rule says with a word, the API says with a boolean: the bucket's own code turns it.
        kept = {key: one for key, one in value.items() if key != "withState"}
        return {key: _without_empty(one) for key, one in kept.items() if one not in (0, "", [], False, None)}
    return [_without_empty(one) for one in value] if isinstance(value, list) else value
