"""What a checkout keeps for itself: private, made once, and never a secret value in a variable."""

from __future__ import annotations

import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine import checkout as places
from engine.checkout import Checkout

ENGINE = Path("/opt/engine/pulumi")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(root=tmp_path)


def variables(checkout: Checkout, environ: dict[str, str]) -> dict[str, str]:
    return places.pulumi_environment(checkout, environ, stack="local", engine=ENGINE)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def test_all_that_a_checkout_writes_lies_in_its_own_folder(checkout: Checkout) -> None:
    places.prepare(checkout)
    assert [path.name for path in checkout.root.iterdir()] == [".gaia"]
    for path in (checkout.state, checkout.passphrase, checkout.working_copy("dev"), checkout.run_file("dev", "lock")):
        assert path.is_relative_to(checkout.own)


def test_secrets_are_readable_by_their_owner_alone(checkout: Checkout) -> None:
    places.prepare(checkout)
    assert modes(checkout.own) == {
        "state": 0o700,
        "config": 0o700,
        "run": 0o700,
        "passphrase": 0o600,
        "bin": checkout.wrapper_folder.stat().st_mode & 0o777,
        "bin/pulumi": 0o755,
    }


def test_the_passphrase_is_random_and_made_only_once(tmp_path: Path) -> None:
    one, other = Checkout(root=tmp_path / "one"), Checkout(root=tmp_path / "other")
    for made in (one, other):
        made.root.mkdir()
        places.prepare(made)
    first = one.passphrase.read_text()
    assert len(first) >= 32
    assert first != other.passphrase.read_text()
    places.prepare(one)
    assert one.passphrase.read_text() == first


def test_two_that_write_at_once_agree_on_the_first_passphrase(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.own.mkdir()
    checkout.passphrase.write_text("the first")
    places._write_once(checkout.passphrase, "the second", mode=0o600)
    assert checkout.passphrase.read_text() == "the first"
    assert [path.name for path in checkout.own.iterdir()] == ["passphrase"]


def test_threads_of_one_process_prepare_a_checkout_together(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def overtaken(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        with ThreadPoolExecutor(1) as other:
            other.submit(places.write, target, "the other's", mode=0o600).result()
        return replace(self, target)

    checkout.own.mkdir()
    monkeypatch.setattr(Path, "replace", overtaken)
    places.write(checkout.own / "file", "ours", mode=0o600)


def test_the_wrapper_starts_this_checkouts_launcher_and_follows_a_move(checkout: Checkout) -> None:
    places.prepare(checkout)
    wrapper = checkout.wrapper_folder / "pulumi"
    assert f'exec {shlex.quote(f"{checkout.root}/gaia")} pulumi "$@"' in wrapper.read_text()
    wrapper.write_text("#!/bin/sh\nexec /old/place/gaia\n")
    places.prepare(checkout)
    assert "/old/place" not in wrapper.read_text()


def test_the_wrapper_hands_every_argument_on_unchanged(checkout: Checkout) -> None:
    places.prepare(checkout)
    launcher = checkout.root / "gaia"
    launcher.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    launcher.chmod(0o755)
    command = [checkout.wrapper_folder / "pulumi", "up", "a b", "$HOME", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["pulumi", "up", "a b", "$HOME", "", ""]


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    places.write(file, "before", mode=0o644)

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        places.write(file, "after", mode=0o600)
    assert file.read_text() == "before"


def test_a_written_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        places.write(tmp_path / "open", "x", mode=0o755)
    finally:
        os.umask(before)
    places.write(tmp_path / "private", "x", mode=0o600)
    assert modes(tmp_path) == {"open": 0o755, "private": 0o600}


def test_the_stacks_are_those_with_a_file(checkout: Checkout) -> None:
    for name in ("Pulumi.yaml", "Pulumi.prod.yaml", "Pulumi.dev.yaml", "Pulumi.dev.yml", "Pulumi.eu.west.yaml"):
        (checkout.root / name).write_text("")
    assert checkout.stacks() == ("dev", "eu.west", "prod")
    assert checkout.stack_file("dev") == checkout.root / "Pulumi.dev.yaml"


def test_this_code_knows_its_own_checkout() -> None:
    assert (places.here().root / "engine" / "checkout.py").samefile(places.__file__)


@pytest.mark.parametrize("path", ["/usr/bin:/bin", "/usr/bin::/bin:", ""])
def test_the_environments_python_comes_first_on_path_and_the_engine_next(checkout: Checkout, path: str) -> None:
    parts = variables(checkout, {"PATH": path})["PATH"].split(os.pathsep)
    assert parts[:2] == [str(checkout.python_folder), "/opt/engine"]
    assert parts[2:] == [part for part in path.split(os.pathsep) if part]


def test_path_does_not_grow_when_a_prepared_run_prepares_another(checkout: Checkout) -> None:
    once = variables(checkout, {"PATH": "/bin"})
    assert variables(checkout, once)["PATH"] == once["PATH"]


def test_no_variable_holds_a_secret(checkout: Checkout) -> None:
    places.prepare(checkout)
    secret = checkout.passphrase.read_text()
    found = variables(checkout, {"PATH": "/bin", "POSTGRES_PASSWORD": "canary", "AWS_SECRET_ACCESS_KEY": "canary"})
    assert all(secret not in value and "canary" not in value for value in found.values())
    assert found["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(checkout.passphrase)


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
@pytest.mark.parametrize("value", ["theirs", ""])
def test_a_passphrase_of_ones_own_wins_even_an_empty_one(checkout: Checkout, name: str, value: str) -> None:
    found = variables(checkout, {name: value})
    assert not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & set(found)


@pytest.mark.parametrize("backend", ["gs://gaia-state", "file:///elsewhere", "https://api.pulumi.com"])
def test_a_backend_of_ones_own_wins(checkout: Checkout, backend: str) -> None:
    environ = {"PULUMI_BACKEND_URL": backend}
    assert not places.has_own_backend(checkout, environ)
    assert "PULUMI_BACKEND_URL" not in variables(checkout, environ)


def test_the_checkouts_backend_is_its_own_when_named_by_its_url(checkout: Checkout) -> None:
    url = checkout.state.as_uri()
    assert url.startswith("file:///")
    for named in ({}, {"PULUMI_BACKEND_URL": ""}, {"PULUMI_BACKEND_URL": url}):
        assert places.has_own_backend(checkout, named)
        found = variables(checkout, named)
        assert found["PULUMI_BACKEND_URL"] == f"{url}?metadata=skip"
        assert places.has_own_backend(checkout, found)


def test_a_sidecar_that_a_kill_left_empty_is_taken_away(checkout: Checkout) -> None:
    places.prepare(checkout)
    stacks = checkout.state / ".pulumi" / "stacks" / places.PROJECT
    stacks.mkdir(parents=True)
    for name in ("local.json", "local.json.attrs", "local.json.bak.attrs"):
        (stacks / name).touch()
    places.prepare(checkout)
    assert [file.name for file in stacks.iterdir()] == ["local.json"]


def test_the_engine_reads_the_working_copy_of_the_stack(checkout: Checkout) -> None:
    found = variables(checkout, {})
    assert found["PULUMI_STACK"] == "local"
    assert found["PULUMI_OPTION_CONFIG_FILE"] == str(checkout.own / "config" / "Pulumi.local.yaml")
