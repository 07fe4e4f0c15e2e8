"""A stack file is read whole: it becomes typed settings, or one error that names every fault."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pulumi
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from infra import settings
from infra.settings import Settings, SettingsError

ROOT = Path(__file__).resolve().parents[3]
STACK_FILES = sorted(ROOT.glob("Pulumi.*.yaml"))
TARGETS = ("docker", "embedded", "gcp")
FEW = examples(max_examples=6, deadline=None, database=None)

BAD: dict[str, tuple[Any, ...]] = {
    "target": ("podman", 3, None, True),
    "database.name": ("Gaia", "1gaia", "", "ga-ia", "g" * 64, "gaia\n", 3, None),
    "database.user": ("gaia app", 'gaia"', None, ["gaia"]),
    "database.port": (80, 65536, "5432", 5432.5, True, None),
    "database.replicas": (-1, 2, "1", 0.5, None),
    "database.replica_port": (80, 65536, "5433"),
    "database.synchronous": ("yes", 1, None),
    "database.tuning.shared_buffers": ("256", "256mb", "0MB", "-1MB", "1 GB", 256, "1TB"),
    "database.tuning.effective_cache_size": ("1G", "", "one GB", 1),
    "database.tuning.max_connections": (9, 10_001, "200", 200.5, None),
    "database.tuning.idle_in_transaction_session_timeout": ("10", "10 min", "10m", "-1s", 10),
    "database.tuning.random_page_cost": (0, -1, 1001, "1.1", math.nan, math.inf, None),
    "database.tuning.effective_io_concurrency": (-1, 1001, "200", 1.5),
    "database.pool.size": (0, -1, "20", 1.5),
    "database.pool.overflow": (-1, "0", None),
    "database.pool.max_instances": (0, "1", [1]),
    "database.retention.chat_months": (0, -1, "12", 1.5),
    "database.retention.audit_months": (0, "12", [12]),
    "docker.container": ("-gaia", "g", "gaia postgres", "", 3),
    "docker.image": ("", 16, None),
    "docker.network": ("gaia/default", "", None),
    "docker.network_alias": ("post gres", "", 3),
    "docker.volume": ("/var/lib/data", "", None),
    "docker.address": ("0.0.0.0", "localhost", "192.168.0.1", "127.0.0", "::1", 127),
    "docker.compose_project": ("", "gaia!", None),
    "docker.profiles": (["prod"], "dev", [1], {"dev": True}, None),
    "docker.healthcheck.interval_s": (0, "10", "10s", 0.5),
    "docker.healthcheck.timeout_s": (0, -5, "5s"),
    "docker.healthcheck.retries": (0, "5", None),
    "docker.restart": ("never", True, None),
    "docker.stop_timeout_s": (0, "60s", None),
    "docker.shm_size_mb": (63, "256MB", None),
    "docker.start_timeout_s": (0, "60", None),
    "docker.failovers": (-1, "1", 0.5, None),
    "docker.rotation.turn": (0, "2", None),
    "docker.rotation.retire_previous": ("yes", 1),
    "docker.rotation.identity_turn": (0, "2"),
    "docker.rotation.retire_previous_identity": (True, "yes"),
    "embedded.start_timeout_s": (0, -1, "60", None),
    "embedded.rotation.turn": (0, "2", None),
    "embedded.rotation.retire_previous": ("yes", 1),
    "embedded.rotation.identity_turn": (0, "2"),
    "embedded.rotation.retire_previous_identity": (True, "yes"),
}
"""Values that each key must refuse. A key without an entry fails the first test below; tests/production has gcp's."""


def inner_section(hint: Any) -> Any:
    """The settings class that a hint names; a mapping of them is no section but a single value."""
    if get_origin(hint) is dict:
        return None
    return next((part for part in (hint, *get_args(hint)) if dataclasses.is_dataclass(part)), None)


def keys_of(cls: type, prefix: str = "") -> Iterator[str]:
    """The dotted paths of all single values below a settings class."""
    for name, hint in get_type_hints(cls).items():
        section = inner_section(hint)
        if isinstance(section, type):
            yield from keys_of(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def sections_of(cls: type, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Every section below a settings class, by its dotted path."""
    for name, hint in get_type_hints(cls).items():
        section = inner_section(hint)
        if isinstance(section, type):
            yield f"{prefix}{name}", section
            yield from sections_of(section, f"{prefix}{name}.")


SECTIONS = dict(sections_of(Settings))


def target_for(path: str) -> str:
    section = path.split(".", maxsplit=1)[0]
    return section if section in TARGETS else "docker"


def with_value(path: str, value: Any) -> dict[str, Any]:
    """A stack's data that is fine but for one value."""
    data: dict[str, Any] = {"target": target_for(path)}
    *sections, key = path.split(".")
    at = data
    for section in sections:
        at = at.setdefault(section, {})
    at[key] = value
    return data


def faults(data: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings.parse("x", data)
    assert str(caught.value) == "\n".join(f"Pulumi.x.yaml: {fault}" for fault in caught.value.faults)
    return caught.value.faults


def stack_file(folder: Path, text: str) -> Path:
    file = folder / "Pulumi.x.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_key_has_a_value_that_it_must_refuse() -> None:
    assert set(BAD) == {key for key in keys_of(Settings) if key != "stack" and not key.startswith("gcp.")}


@pytest.mark.parametrize("path", BAD)
def test_a_bad_value_is_refused_with_its_key_alone(path: str) -> None:
    for value in BAD[path]:
        (fault,) = faults(with_value(path, value))
        assert fault.startswith((f"{path}: ", f"{path}.0: "))
        assert len(fault.partition(": ")[2]) > 10


def test_the_fault_names_the_value_and_what_is_allowed() -> None:
    assert faults(with_value("database.port", 80)) == [
        "database.port: 80 is not allowed: must be greater than or equal to 1024"
    ]
    assert faults(with_value("docker.address", "0.0.0.0")) == [
        "docker.address: '0.0.0.0' must be a loopback address such as 127.0.0.1"
    ]
    (restart,) = faults(with_value("docker.restart", "never"))
    assert all(repr(policy) in restart for policy in ("no", "on-failure", "always", "unless-stopped"))
    assert faults({}) == ["target: is missing"]


@pytest.mark.parametrize("target", TARGETS)
def test_all_faults_come_in_one_error(target: str) -> None:
    paths = [path for path in BAD if path != "target" and path.split(".")[0] in ("database", target)]
    data: dict[str, Any] = {"target": target, "colour": "red"}
    for path in paths:
        *sections, key = path.split(".")
        at = data
        for section in sections:
            at = at.setdefault(section, {})
        at[key] = BAD[path][0]
    found = faults(data)
    assert len(found) == len(paths) + 1
    for path in paths:
        assert sum(fault.startswith((f"{path}: ", f"{path}.0: ")) for fault in found) == 1


@pytest.mark.parametrize("section", ["", *SECTIONS])
def test_an_unknown_key_names_the_known_ones_of_its_section(section: str) -> None:
    path = f"{section}.reigon" if section else "reigon"
    if section:
        known = sorted(get_type_hints(SECTIONS[section]))
    else:
        known = sorted({*get_type_hints(Settings), "password"} - {"stack"})
    assert faults(with_value(path, "x")) == [f"{path}: unknown key; known: {', '.join(known)}"]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_no_mapping_names_its_keys(section: str) -> None:
    for value in ("text", 3, [1]):
        (fault,) = faults(with_value(section, value))
        assert fault == f"{section}: must be a mapping with keys {', '.join(sorted(get_type_hints(SECTIONS[section])))}"


@pytest.mark.parametrize("target", TARGETS)
def test_an_empty_section_means_its_defaults_or_is_a_fault(target: str) -> None:
    try:
        parsed = settings.parse("x", {"target": target, target: None})
    except SettingsError:
        return
    assert getattr(parsed, target) is not None


def test_a_stack_file_cannot_rename_its_stack() -> None:
    assert faults({"target": "docker", "stack": "prod"})[0].startswith("stack: unknown key; known: ")


@pytest.mark.parametrize("target", [["docker"], {"docker": {}}])
def test_a_target_that_is_no_text_is_a_fault(target: Any) -> None:
    assert faults({"target": target})[0].startswith("target: ")


@pytest.mark.parametrize(
    ("path", "value"),
    [("database.tuning.shared_buffers", f"{'9' * 4301}GB"), ("database.pool.size", 10**4301)],
    ids=["memory", "integer"],
)
def test_a_number_of_absurd_length_is_a_fault(path: str, value: Any) -> None:
    assert faults(with_value(path, value))


def test_an_address_that_is_none_is_a_fault() -> None:
    faults(with_value("docker.address", "127.300.0.1"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_section_of_another_target_is_a_fault(target: str) -> None:
    others = sorted(set(TARGETS) - {target})
    assert faults({"target": target, **{other: {} for other in others}}) == [
        f"{other}: belongs to target {other}, but the target is {target}" for other in others
    ]


def test_a_wrong_value_does_not_hide_a_section_of_another_target() -> None:
    assert len(faults({"target": "embedded", "docker": {}, "database": {"port": 80}})) == 2


def test_a_pool_that_two_revisions_could_not_share_is_a_fault() -> None:
    pool = {"size": 20, "overflow": 5, "max_instances": 4}
    (fault,) = faults({"target": "docker", "database": {"pool": pool}})
    assert fault.startswith("database.pool: two revisions of 4 instances with 20 + 5 connections need 210, but 180 ")
    assert "make the pool smaller or max_connections larger" in fault


@pytest.mark.parametrize(("connections", "fits"), [(100, True), (99, False)])
def test_the_pool_may_take_nine_tenths_of_the_connections(connections: int, fits: bool) -> None:
    # 2 revisions of 2 instances with 20 connections each, and ten for everybody else: 90 of 100.
    database = {"pool": {"size": 18, "overflow": 2, "max_instances": 2}, "tuning": {"max_connections": connections}}
    data = {"target": "embedded", "database": database}
    if fits:
        assert settings.parse("x", data).database.tuning.max_connections == connections
    else:
        assert faults(data)[0].startswith("database.pool: ")


@pytest.mark.parametrize(
    ("buffers", "cache", "fits"),
    [("1GB", "1GB", True), ("1024MB", "1GB", True), ("1025MB", "1GB", False), ("2097152kB", "2GB", True)],
)
def test_the_cache_is_at_least_as_large_as_the_buffers_in_any_unit(buffers: str, cache: str, fits: bool) -> None:
    data = {"target": "docker", "database": {"tuning": {"shared_buffers": buffers, "effective_cache_size": cache}}}
    if fits:
        assert settings.parse("x", data).database.tuning.shared_buffers == buffers
    else:
        (fault,) = faults(data)
        assert fault.startswith(f"database.tuning.effective_cache_size: {cache} is less than shared_buffers {buffers}")


def test_every_rule_that_is_broken_is_told() -> None:
    tuning = {"shared_buffers": "2GB", "max_connections": 10}
    database = {"tuning": tuning, "name": "postgres", "user": "gaia_app", "synchronous": True}
    docker = {"rotation": {"retire_previous_identity": True}}
    # One is of Google Cloud's stacks alone: tests/production/test_bad_settings.py.
    assert len(faults({"target": "docker", "database": database, "docker": docker})) == len(settings.RULES) - 1


@pytest.mark.parametrize(
    ("target", "database", "said"),
    [
        ("docker", {"synchronous": True}, "database.replicas to 1"),
        ("docker", {"replicas": 1, "replica_port": 5432}, "5432 can't be the standby's"),
        ("gcp", {"replicas": 1}, "gcp.replicas"),
        ("embedded", {"synchronous": True}, "database.replicas to 1"),
        ("embedded", {"replicas": 1, "replica_port": 5432}, "5432 can't be the standby's"),
        ("embedded", {"replicas": 1, "port": 65535}, "65536 can't be the standby's"),
    ],
)
def test_a_standby_that_is_not_possible_is_refused_with_the_way_out(
    target: str, database: dict[str, Any], said: str
) -> None:
    assert any(said in fault for fault in faults({"target": target, "database": database}))


def test_a_standby_listens_on_the_next_port_unless_another_is_named() -> None:
    assert settings.Database(replicas=1).standby_port == 5433
    assert settings.Database(replicas=1, replica_port=7000).standby_port == 7000


@pytest.mark.parametrize("target", ["docker", "embedded"])
def test_the_place_of_a_standby_is_no_stacks(target: str) -> None:
    with pytest.raises(SettingsError, match="-standby"):
        settings.parse("local-standby", {"target": target})


def test_each_failover_swaps_the_volumes_and_nothing_else() -> None:
    docker = settings.Docker(volume="data")
    assert docker.volumes == ("data", "data-standby")
    assert [dataclasses.replace(docker, failovers=count).volumes[0] for count in (0, 1, 2)] == [
        "data",
        "data-standby",
        "data",
    ]
    swapped = dataclasses.replace(docker, failovers=1)
    assert (swapped.container, swapped.standby_container) == (docker.container, docker.standby_container)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_alone_gets_every_default_and_no_other_section(target: str) -> None:
    parsed = settings.parse("x", {"target": target})
    assert (parsed.stack, parsed.target) == ("x", target)
    assert [name for name in TARGETS if getattr(parsed, name) is not None] == [target]


def test_the_defaults_are_the_source_documents() -> None:
    parsed = settings.parse("dev", {"target": "docker"})
    assert parsed.database == settings.Database()
    assert dataclasses.asdict(parsed.database.tuning) == {
        "shared_buffers": "256MB",
        "effective_cache_size": "1GB",
        "max_connections": 200,
        "idle_in_transaction_session_timeout": "10min",
        "random_page_cost": 1.1,
        "effective_io_concurrency": 200,
    }
    assert parsed.docker is not None
    assert dataclasses.asdict(parsed.docker.healthcheck) == {"interval_s": 10, "timeout_s": 5, "retries": 5}
    docker = parsed.docker
    assert (docker.container, docker.image, docker.network) == ("gaia-postgres", "postgres:16-alpine", "gaia_default")
    assert (docker.network_alias, docker.volume, docker.address) == ("postgres", "gaia-postgres-data", "127.0.0.1")


@pytest.mark.parametrize("cls", [Settings, *SECTIONS.values()])
def test_settings_cannot_be_changed(cls: type) -> None:
    assert getattr(cls, "__dataclass_params__").frozen  # noqa: B009
    assert all(field.kw_only for field in dataclasses.fields(cls))


# --- stack files ---


@pytest.mark.parametrize("file", STACK_FILES, ids=lambda file: file.name)
def test_each_stack_file_of_the_repository_is_read(file: Path) -> None:
    stack = file.name.split(".")[1]
    parsed = settings.read(stack, file, {})
    assert parsed.stack == stack
    assert parsed.target == {"dev": "docker", "local": "embedded", "prod": "gcp"}.get(stack, parsed.target)


def test_the_repository_has_the_stacks_that_others_rely_on() -> None:
    assert {"Pulumi.dev.yaml", "Pulumi.local.yaml", "Pulumi.prod.yaml"} <= {file.name for file in STACK_FILES}


def test_no_committed_file_of_a_local_stack_has_a_salt() -> None:
    local = [file for file in STACK_FILES if settings.read(file.name.split(".")[1], file, {}).target != "gcp"]
    assert [file.name for file in local if "encryptionsalt" in file.read_text(encoding="utf-8")] == []


def test_a_missing_stack_file_names_the_known_stacks() -> None:
    with pytest.raises(
        SettingsError, match=r"^Pulumi\.nope\.yaml: no such stack file; known stacks: .*dev, local, prod"
    ):
        settings.read("nope", ROOT / "Pulumi.nope.yaml", {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("config:\n  gaia-db:target: [", "is not valid YAML in line 2: "),
        ("config:\n\tgaia-db:target: docker\n", "is not valid YAML in line 2: "),
        ("\x01", "is not valid YAML: "),
        ("", "needs a mapping 'config' with keys such as gaia-db:target"),
        ("[]", "needs a mapping 'config' with keys such as gaia-db:target"),
        ("config: text", "needs a mapping 'config' with keys such as gaia-db:target"),
        ("config: {}", "target: is missing"),
        ("config:\n  gaia-db:target: docker\n  database: {}\n", "database: unknown key; keys start with gaia-db:"),
    ],
)
def test_a_file_that_cannot_be_read_says_so_in_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.read("x", stack_file(tmp_path, text), {})
    assert str(caught.value).startswith(f"Pulumi.x.yaml: {told}")
    assert len(caught.value.faults) == 1


def test_a_file_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_bytes(b"config:\n  gaia-db:target: \xff\n")
    with pytest.raises(SettingsError, match=r"is not valid YAML: .*utf-8"):
        settings.read("x", file, {})


@pytest.mark.parametrize(
    "value", ["{name: 2024-13-45}", "{2024-01-01: x}", "&itself {name: *itself}"], ids=["date", "key", "recursion"]
)
def test_odd_yaml_is_a_fault_of_the_file(tmp_path: Path, value: str) -> None:
    file = stack_file(tmp_path, f"config:\n  gaia-db:target: docker\n  gaia-db:database: {value}\n")
    with pytest.raises(SettingsError):
        settings.read("x", file, {})


def test_the_configuration_of_other_namespaces_is_left_alone(tmp_path: Path) -> None:
    file = stack_file(tmp_path, "config:\n  gaia-db:target: docker\n  docker:host: unix:///run/docker.sock\n")
    assert settings.read("x", file, {}).target == "docker"


def test_faults_of_keys_passwords_and_values_come_together(tmp_path: Path) -> None:
    text = "config:\n  target: docker\n  gaia-db:password: hunter2hunter2hunter2\n  gaia-db:database: {port: 1}\n"
    with pytest.raises(SettingsError) as caught:
        settings.read("x", stack_file(tmp_path, text), {"POSTGRES_PASSWORD": "short"})
    keys = [fault.partition(":")[0] for fault in caught.value.faults]
    assert keys == ["target", "password", "POSTGRES_PASSWORD", "target", "database.port"]


# --- passwords ---

CANARY = "canary-7b1d-canary-7b1d"


def test_a_password_in_plain_text_is_refused_without_repeating_it(tmp_path: Path) -> None:
    file = stack_file(tmp_path, f"config:\n  gaia-db:target: docker\n  gaia-db:password: {CANARY}\n")
    with pytest.raises(SettingsError) as caught:
        settings.read("x", file, {})
    assert caught.value.faults == ["password: stands in plain text; store it with: pulumi config set --secret password"]


@pytest.mark.parametrize("value", ["1234567890123456", "[a, b]", "{value: x}"])
def test_a_password_in_plain_text_is_refused_whatever_yaml_makes_of_it(tmp_path: Path, value: str) -> None:
    file = stack_file(tmp_path, f"config:\n  gaia-db:target: docker\n  gaia-db:password: {value}\n")
    with pytest.raises(SettingsError, match="plain text"):
        settings.read("x", file, {})


def test_an_encrypted_password_is_accepted_and_not_looked_into(tmp_path: Path) -> None:
    file = stack_file(tmp_path, "config:\n  gaia-db:target: docker\n  gaia-db:password:\n    secure: v1:abc\n")
    assert settings.read("x", file, {}).target == "docker"


@pytest.mark.parametrize("length", [1, 8, 15])
def test_a_short_password_is_refused_without_repeating_it(tmp_path: Path, length: int) -> None:
    given_ = "q7Zx" * 4
    file = stack_file(tmp_path, "config:\n  gaia-db:target: docker\n")
    with pytest.raises(SettingsError) as caught:
        settings.read("x", file, {"POSTGRES_PASSWORD": given_[:length]})
    assert caught.value.faults == [f"POSTGRES_PASSWORD: has {length} characters; a password needs at least 16"]


def test_a_password_of_sixteen_characters_is_long_enough(tmp_path: Path) -> None:
    file = stack_file(tmp_path, "config:\n  gaia-db:target: docker\n")
    assert settings.read("x", file, {"POSTGRES_PASSWORD": "x" * 16}).target == "docker"


# --- the Pulumi program's configuration ---


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The configuration as the engine hands it to a program: every value is text."""
    values: dict[str, str] = {"gaia-db:target": "docker"}
    monkeypatch.setattr("pulumi.runtime.config.CONFIG", types.SimpleNamespace(get=lambda: values))
    monkeypatch.setattr(pulumi, "get_stack", lambda: "x")
    monkeypatch.setattr(pulumi.Config, "get", lambda self, key: values.get(f"gaia-db:{key}"))
    monkeypatch.delenv("POSTGRES_PASSWORD", raising=False)
    return values


def test_the_program_reads_what_the_command_line_reads(configured: dict[str, str], tmp_path: Path) -> None:
    database = {"port": 5433, "tuning": {"random_page_cost": 2}}
    configured["gaia-db:database"] = json.dumps(database)
    configured["other:database"] = "{}"
    loaded = settings.load()
    file = stack_file(tmp_path, json.dumps({"config": {"gaia-db:target": "docker", "gaia-db:database": database}}))
    assert loaded.settings == settings.read("x", file, {})
    assert loaded.password is None


def test_the_program_reports_a_short_password_with_all_other_faults(configured: dict[str, str]) -> None:
    configured |= {"gaia-db:password": "canary", "gaia-db:database": '{"port": 80}'}
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["password", "database.port"]
    assert "canary" not in str(caught.value)


def test_the_environments_password_wins_over_the_stacks(
    configured: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(pulumi.Output, "secret", made.append)
    configured["gaia-db:password"] = "s" * 16
    settings.load()
    monkeypatch.setenv("POSTGRES_PASSWORD", "e" * 16)
    settings.load()
    assert made == ["s" * 16, "e" * 16]


# --- properties ---

KNOWN = sorted({key for path in BAD for key in path.split(".")})
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
ANY_TARGET = st.sampled_from([*TARGETS, "podman", None, 3])


@FEW
@given(ANY_TARGET, st.dictionaries(st.sampled_from(KNOWN), ANYTHING, max_size=5))
def test_data_of_any_shape_gives_settings_or_a_settings_error(target: Any, data: dict[str, Any]) -> None:
    found: list[str] = []
    try:
        settings.parse("x", {**data, "target": target})
    except SettingsError as error:
        found = error.faults or [""]
    assert all(fault.partition(": ")[2] for fault in found)


NAMES = st.sampled_from(["g", "_gaia_2", "g" * 63])
DOCKER_NAMES = st.sampled_from(["g1", "Gaia-postgres.2_x"])
SECONDS = st.integers(1, 3600)
TUNING = {
    "shared_buffers": st.integers(1, 1024).map("{}MB".format),
    "effective_cache_size": st.integers(1, 64).map("{}GB".format),
    "max_connections": st.integers(100, 10_000),
    "idle_in_transaction_session_timeout": st.sampled_from(["0", "500ms", "30s", "10min", "2h", "1d"]),
    "random_page_cost": st.floats(0.1, 1000),
    "effective_io_concurrency": st.integers(0, 1000),
}
POOL = {"size": st.integers(1, 8), "overflow": st.integers(0, 2), "max_instances": st.integers(1, 4)}
DATABASE = st.fixed_dictionaries(
    {"pool": st.fixed_dictionaries(POOL), "tuning": st.fixed_dictionaries(TUNING)},
    optional={"name": NAMES, "user": NAMES, "port": st.integers(1024, 65535)},
)
HEALTHCHECK = {"interval_s": SECONDS, "timeout_s": SECONDS, "retries": st.integers(1, 100)}
DOCKER = {
    **dict.fromkeys(("container", "network", "network_alias", "volume", "compose_project"), DOCKER_NAMES),
    "image": st.sampled_from(["postgres:16", "registry.example/pg@sha256:0"]),
    "address": st.sampled_from(["127.0.0.1", "127.1.2.3"]),
    "profiles": st.lists(st.sampled_from(["dev", "gpu"]), unique=True),
    "healthcheck": st.fixed_dictionaries({}, optional=HEALTHCHECK),
    "restart": st.sampled_from(["no", "on-failure", "always", "unless-stopped"]),
    "stop_timeout_s": SECONDS,
    "shm_size_mb": st.integers(64, 4096),
    "start_timeout_s": SECONDS,
}
OWN = {
    "docker": st.fixed_dictionaries({}, optional=DOCKER),
    "embedded": st.fixed_dictionaries({}, optional={"start_timeout_s": SECONDS}),
}
VALID = st.sampled_from(sorted(OWN)).flatmap(
    lambda target: st.fixed_dictionaries(
        {"target": st.just(target), target: OWN[target]}, optional={"database": DATABASE}
    )
)


def given_values_hold(given_: Any, parsed: Any) -> bool:
    if isinstance(given_, dict):
        return all(given_values_hold(value, getattr(parsed, key)) for key, value in given_.items())
    return parsed == (tuple(given_) if isinstance(given_, list) else given_)


@FEW
@given(VALID)
def test_valid_values_are_kept_and_survive_a_round_trip(data: dict[str, Any]) -> None:
    parsed = settings.parse("x", types.MappingProxyType(data))
    assert given_values_hold(data, parsed)
    again = {name: value for name, value in dataclasses.asdict(parsed).items() if name != "stack" and value is not None}
    assert settings.parse("x", again) == parsed
