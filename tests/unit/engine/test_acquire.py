"""The engine is taken from PATH, the cache, the release or a build, in this order, and each refusal has a reason."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine import acquire as module
from engine import build, pin, release
from engine.acquire import acquire
from engine.errors import BuildFailed, EngineError, EngineUnavailable, ReleaseUnavailable


def executable(path: Path, says: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {says}\necho asked >> "$0.asked"\n')
    path.chmod(0o755)
    return path


def pulumi(folder: Path, version: str = f"v{pin.VERSION}", *, language_host: bool = True) -> Path:
    if language_host:
        executable(folder / "pulumi-language-python")
    return executable(folder / "pulumi", version)


def environ(home: Path, *folders: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": ":".join(map(str, (*folders, "/usr/bin", "/bin"))), **more}


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No release and no build."""

    def no_release(*arguments: object, **named: object) -> None:
        raise ReleaseUnavailable("no network")

    def no_build(*arguments: object, **named: object) -> None:
        raise BuildFailed("no go")

    monkeypatch.setattr(release, "install", no_release)
    monkeypatch.setattr(build, "install", no_build)


def test_a_new_enough_pulumi_on_path_is_taken(tmp_path: Path) -> None:
    ours = pulumi(tmp_path / "bin", "v3.300.1")
    engine = acquire(environ=environ(tmp_path, tmp_path / "bin"))
    assert (engine.pulumi, engine.source, engine.version) == (ours, "on PATH", "3.300.1")


def test_its_version_is_asked_once(tmp_path: Path) -> None:
    ours = pulumi(tmp_path / "bin")
    for _ in range(3):
        acquire(environ=environ(tmp_path, tmp_path / "bin"))
    assert ours.with_name("pulumi.asked").read_text() == "asked\n"
    pulumi(tmp_path / "bin", "v3.301.0-changed")
    assert acquire(environ=environ(tmp_path, tmp_path / "bin")).version == "3.301.0-changed"


@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize("version", ["v3.258.9", "v2.999.0", "v4.0.0", "what"])
def test_another_version_is_passed_over_with_the_reason(tmp_path: Path, version: str) -> None:
    pulumi(tmp_path / "bin", version)
    said: list[str] = []
    with pytest.raises(EngineUnavailable):
        acquire(environ=environ(tmp_path, tmp_path / "bin"), say=said.append)
    assert f"is {version}, and {pin.VERSION} is needed: passed over" in said[0]


@pytest.mark.usefixtures("nothing_else")
def test_a_pulumi_without_a_language_host_is_passed_over(tmp_path: Path) -> None:
    pulumi(tmp_path / "bin", language_host=False)
    with pytest.raises(EngineUnavailable, match="has no pulumi-language-python"):
        acquire(environ=environ(tmp_path, tmp_path / "bin"))


def test_our_own_wrapper_is_not_taken_for_an_engine(tmp_path: Path) -> None:
    pulumi(tmp_path / "checkout" / ".gaia" / "bin")
    real = pulumi(tmp_path / "bin")
    found = acquire(environ=environ(tmp_path, tmp_path / "checkout" / ".gaia" / "bin", tmp_path / "bin"))
    assert found.pulumi == real


def test_the_cache_comes_after_path_and_before_the_network(tmp_path: Path) -> None:
    given = environ(tmp_path)
    store = module._Store(given, print)
    executable(store._build / "pulumi")
    assert acquire(environ=given).source == "cached build"
    executable(store._release / "pulumi")
    assert acquire(environ=given).source == "cached release"
    pulumi(tmp_path / "bin")
    assert acquire(environ=environ(tmp_path, tmp_path / "bin")).source == "on PATH"
    assert acquire(environ=environ(tmp_path, tmp_path / "bin", GAIA_ENGINE="cache")).source == "cached release"


def test_the_cache_of_another_recipe_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = environ(tmp_path, GAIA_ENGINE="cache")
    executable(module._Store(given, print)._build / "pulumi")
    monkeypatch.setattr(pin, "recipe", lambda: ("00000000", "11111111"))
    with pytest.raises(EngineUnavailable, match="there is none in"):
        acquire(environ=given)


@pytest.mark.usefixtures("nothing_else")
def test_when_no_way_works_each_is_listed_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        acquire(environ=environ(tmp_path))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == list(module.WAYS)
    assert "no network" in lines[3]
    assert "no go" in lines[4]


def test_a_way_that_fails_is_followed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_release(*arguments: object, **named: object) -> None:
        raise ReleaseUnavailable("no network")

    def make(folder: Path, **named: object) -> None:
        executable(folder / "pulumi")

    monkeypatch.setattr(release, "install", no_release)
    monkeypatch.setattr(build, "install", make)
    said: list[str] = []
    assert acquire(environ=environ(tmp_path), say=said.append).source == "built from Go modules"
    assert said == ["release: no network"]


def test_two_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def make(folder: Path, **named: object) -> None:
        built.append(folder)
        executable(folder / "pulumi")

    monkeypatch.setattr(build, "install", make)
    given = environ(tmp_path, GAIA_ENGINE="build")
    threads = [threading.Thread(target=acquire, kwargs={"environ": given}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_an_unknown_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="path, cache, release, build"):
        acquire(environ=environ(tmp_path, GAIA_ENGINE="magic"))
