"""What the language host answers, without an engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import language_pb2

from engine import language_runtime, pin
from engine.language_runtime import interpreter, outcome, plugin_arguments


def info(root: Path, **options: Any) -> language_pb2.ProgramInfo:
    made = language_pb2.ProgramInfo(root_directory=str(root), program_directory=str(root), entry_point=".")
    made.options.update(options)
    return made


def test_without_a_virtualenv_the_hosts_own_python_runs_the_program(tmp_path: Path) -> None:
    assert interpreter(info(tmp_path)) == sys.executable


def test_a_virtualenv_that_is_the_hosts_own_is_recognized_through_a_link(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    assert interpreter(info(tmp_path, virtualenv=".venv")) == sys.executable


def test_another_virtualenv_is_taken_relative_to_the_project(tmp_path: Path) -> None:
    python = tmp_path / "other" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert interpreter(info(tmp_path, virtualenv="other")) == str(python)


def test_a_missing_virtualenv_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"virtualenv \.venv.*run \./gaia setup"):
        interpreter(info(tmp_path, virtualenv=".venv"))


@pytest.mark.parametrize(
    ("code", "error", "bail"),
    [(0, "", False), (32, "", True), (7, "exited with non-zero exit code: 7", False), (-9, "signal 9", False)],
)
def test_an_exit_code_becomes_the_engines_answer(code: int, error: str, bail: bool) -> None:
    answer = outcome(code)
    assert error in answer.error
    assert bool(answer.error) == bool(error)
    assert answer.bail == bail


def test_a_policy_pack_runs_with_the_sdks_module_and_its_folder_last() -> None:
    request = language_pb2.RunPluginRequest(kind="analyzer", args=["127.0.0.1:1"], info=info(Path("/pack")))
    assert plugin_arguments(request) == ["pulumi.policy", "127.0.0.1:1", "/pack"]
    assert plugin_arguments(request, plain=True) == ["-m", "pulumi.policy", "127.0.0.1:1", "/pack"]


def test_a_plugin_of_another_kind_is_its_folder() -> None:
    request = language_pb2.RunPluginRequest(kind="resource", args=["127.0.0.1:1"], info=info(Path("/plugin")))
    assert plugin_arguments(request) == ["/plugin", "127.0.0.1:1"]


def test_the_messages_are_loaded_without_the_sdk() -> None:
    code = (
        "import sys; from engine.language_host import import_messages_alone; import_messages_alone();"
        "import engine.language_runtime;"
        "assert not {'pulumi.output', 'pulumi.automation'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_program_and_the_host_agree_on_the_exit_code_of_what_is_explained() -> None:
    from engine import program

    assert program.ALREADY_EXPLAINED == language_runtime.ALREADY_EXPLAINED


def test_every_executable_beside_the_cli_is_a_sound_shell_script() -> None:
    for shim in pin.SHIMS.iterdir():
        assert shim.stat().st_mode & 0o111, shim
        subprocess.run(["sh", "-n", shim], check=True)


@pytest.mark.parametrize("below", [".", "some/folder"])
def test_an_executable_finds_the_python_of_the_nearest_project(tmp_path: Path, below: str) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho ours "$@"\n')
    python.chmod(0o755)
    (tmp_path / "Pulumi.yaml").touch()
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    shim = pin.SHIMS / "pulumi-language-python"
    done = subprocess.run([shim, "engine:1"], cwd=folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.stdout == "ours -u -m engine.language_host engine:1\n"


def test_an_executable_takes_the_python_it_is_told(tmp_path: Path) -> None:
    shim = pin.SHIMS / "pulumi-resource-pulumi-python"
    done = subprocess.run([shim, "engine:1"], cwd="/", env={"GAIA_PYTHON": "/bin/echo"}, capture_output=True, text=True)
    assert done.stdout == "-u -m engine.attached pulumi.dynamic engine:1\n"
