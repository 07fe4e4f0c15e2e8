"""The working copy follows the committed stack file, and keeps what this checkout alone has set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine import checkout as places
from engine import working_copy
from engine.checkout import Checkout
from engine.working_copy import merged

SOME = examples(max_examples=8, deadline=None, database=None)
COMMITTED = """\
# A comment that belongs to people.
config:
  gaia-db:target: docker
  gaia-db:database:
    port: 5432 # on loopback
    name: gaia
"""
SALT = "v1:salt=:v1:nonce:text"

KEYS = st.sampled_from([f"gaia-db:{name}" for name in ("target", "database", "docker", "password")])
VALUES = st.integers(0, 3) | st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2)
CONFIGS = st.dictionaries(KEYS, VALUES, max_size=4)


def text(config: dict[str, Any], **more: Any) -> str:
    return yaml.safe_dump({"config": config, **more}, sort_keys=False)


def config(document: str) -> dict[str, Any]:
    return yaml.safe_load(document)["config"]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(root=tmp_path)
    places.prepare(made)
    made.stack_file("dev").write_text(COMMITTED)
    return made


def copy_of(checkout: Checkout) -> str:
    return checkout.working_copy("dev").read_text()


@SOME
@given(CONFIGS, CONFIGS, CONFIGS)
def test_what_was_committed_since_then_wins(
    committed: dict[str, Any], base: dict[str, Any], own: dict[str, Any]
) -> None:
    result = config(merged(text(committed), text(base), text(own)))
    for key in {*committed, *base}:
        now, before = committed.get(key), base.get(key)
        if isinstance(now, dict):
            # Within a section each value counts by itself.
            before = before if isinstance(before, dict) else {}
            for inner, value in now.items():
                if value != before.get(inner) and not isinstance(value, dict):
                    assert result[key][inner] == value
        elif now != before:
            assert result.get(key) == now


@SOME
@given(CONFIGS, CONFIGS, CONFIGS)
def test_what_was_set_by_hand_is_kept(committed: dict[str, Any], base: dict[str, Any], own: dict[str, Any]) -> None:
    result = config(merged(text(committed), text(base), text(own)))
    for key, value in own.items():
        if committed.get(key) == base.get(key):
            assert result[key] == value
    assert set(result) <= {*committed, *own}


@SOME
@given(CONFIGS, CONFIGS, CONFIGS)
def test_merging_again_changes_nothing(committed: dict[str, Any], base: dict[str, Any], own: dict[str, Any]) -> None:
    once = merged(text(committed), text(base), text(own, encryptionsalt=SALT))
    assert merged(text(committed), text(committed), once) == once


@SOME
@given(CONFIGS, CONFIGS)
def test_without_settings_of_its_own_the_copy_is_the_committed_text(
    committed: dict[str, Any], base: dict[str, Any]
) -> None:
    document = f"# for people\n{text(committed)}"
    assert merged(document, text(base), text(base)) == document


@SOME
@given(CONFIGS, CONFIGS, CONFIGS)
def test_the_salt_of_the_checkout_is_kept(committed: dict[str, Any], base: dict[str, Any], own: dict[str, Any]) -> None:
    document = yaml.safe_load(merged(text(committed), text(base), text(own, encryptionsalt=SALT)))
    assert document["encryptionsalt"] == SALT


def test_a_value_set_by_hand_survives_a_committed_change_of_its_neighbour() -> None:
    base = {"gaia-db:database": {"port": 5432, "name": "gaia"}}
    own = {"gaia-db:database": {"port": 5433, "name": "gaia"}}
    committed = {"gaia-db:database": {"port": 5432, "name": "gaia", "tuning": {"max_connections": 100}}}
    result = config(merged(text(committed), text(base), text(own)))
    assert result["gaia-db:database"] == {"port": 5433, "name": "gaia", "tuning": {"max_connections": 100}}


def test_other_parts_of_the_committed_file_are_kept() -> None:
    document = yaml.safe_load(
        merged("secretsprovider: gcpkms://k\nconfig: {a: 1}\n", "config: {a: 1}", "config: {a: 2}")
    )
    assert document == {"secretsprovider": "gcpkms://k", "config": {"a": 2}}


@pytest.mark.parametrize("damaged", ["", "[", "- a", "config: text", "config:", "\x01"])
def test_a_file_that_is_none_never_stops_the_merge(damaged: str) -> None:
    assert merged(damaged, COMMITTED, COMMITTED) == damaged
    assert config(merged(COMMITTED, damaged, COMMITTED)) == config(COMMITTED)
    assert merged(COMMITTED, COMMITTED, damaged) == COMMITTED


def test_the_first_copy_is_the_committed_text_and_private(checkout: Checkout) -> None:
    working_copy.refresh(checkout, "dev")
    assert copy_of(checkout) == COMMITTED
    assert {path.stat().st_mode & 0o777 for path in checkout.working_copy("dev").parent.iterdir()} == {0o600}


def test_a_copy_follows_the_committed_file_and_keeps_its_salt(checkout: Checkout) -> None:
    working_copy.refresh(checkout, "dev")
    checkout.working_copy("dev").write_text(f"{COMMITTED}encryptionsalt: {SALT}\n")
    checkout.stack_file("dev").write_text(COMMITTED.replace("name: gaia", "name: other"))
    working_copy.refresh(checkout, "dev")
    document = yaml.safe_load(copy_of(checkout))
    assert document["config"]["gaia-db:database"] == {"port": 5432, "name": "other"}
    assert document["encryptionsalt"] == SALT


def test_a_copy_whose_committed_file_did_not_change_is_left_as_it_is(checkout: Checkout) -> None:
    working_copy.refresh(checkout, "dev")
    checkout.working_copy("dev").write_text("what the engine wrote")
    working_copy.refresh(checkout, "dev")
    assert copy_of(checkout) == "what the engine wrote"


def test_a_copy_that_was_removed_is_made_anew(checkout: Checkout) -> None:
    working_copy.set_values(checkout, "dev", [("database.port", "5433")])
    checkout.working_copy("dev").unlink()
    working_copy.refresh(checkout, "dev")
    assert copy_of(checkout) == COMMITTED


def test_what_was_set_survives_the_loss_of_the_base(checkout: Checkout) -> None:
    working_copy.set_values(checkout, "dev", [("database.port", "5433")])
    checkout.working_copy("dev").with_suffix(".base").unlink()
    working_copy.refresh(checkout, "dev")
    assert config(copy_of(checkout))["gaia-db:database"]["port"] == 5433


def test_a_stack_without_a_committed_file_is_an_error(checkout: Checkout) -> None:
    with pytest.raises(OSError, match=r"Pulumi\.nope\.yaml"):
        working_copy.refresh(checkout, "nope")


@pytest.mark.parametrize(
    ("path", "value", "section"),
    [
        ("database.port", "5433", {"port": 5433, "name": "gaia"}),
        ("database.name", "other", {"port": 5432, "name": "other"}),
        ("database.tuning.max_connections", "50", {"port": 5432, "name": "gaia", "tuning": {"max_connections": 50}}),
        ("database.name.deep.er", "x", {"port": 5432, "name": {"deep": {"er": "x"}}}),
    ],
)
def test_one_value_is_set_and_its_neighbours_stay(checkout: Checkout, path: str, value: str, section: Any) -> None:
    working_copy.set_values(checkout, "dev", [(path, value)])
    assert config(copy_of(checkout)) == {"gaia-db:target": "docker", "gaia-db:database": section}
    assert checkout.stack_file("dev").read_text() == COMMITTED


def test_a_section_that_is_missing_is_made(checkout: Checkout) -> None:
    working_copy.set_values(checkout, "dev", [("docker.profiles", "[gpu]")])
    working_copy.set_values(checkout, "dev", [("target", "embedded")])
    found = config(copy_of(checkout))
    assert (found["gaia-db:docker"], found["gaia-db:target"]) == ({"profiles": ["gpu"]}, "embedded")


def test_the_value_set_last_counts(checkout: Checkout) -> None:
    for port in ("5433", "5434"):
        working_copy.set_values(checkout, "dev", [("database.port", port)])
    assert config(copy_of(checkout))["gaia-db:database"]["port"] == 5434


def test_a_value_that_is_no_yaml_is_refused_in_a_sentence(checkout: Checkout) -> None:
    from ops.exits import code_of

    try:
        working_copy.set_values(checkout, "dev", [("docker.image", "[postgres:16")])
    except Exception as error:
        if code_of(error) is None:
            raise


def test_forgetting_a_copy_forgets_what_was_set(checkout: Checkout) -> None:
    working_copy.set_values(checkout, "dev", [("database.port", "5433")])
    working_copy.remove(checkout, "dev")
    assert list(checkout.working_copy("dev").parent.iterdir()) == []
    working_copy.remove(checkout, "dev")
    working_copy.refresh(checkout, "dev")
    assert copy_of(checkout) == COMMITTED
