"""Files of the backend's variables: remembered, written anew on another turn, left alone once they are another's."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from engine import checkout as places
from engine.checkout import Checkout
from ops import env_files, stacks


class _Stack:
    """A stack on a turn."""

    def __init__(self, checkout: Checkout, turn: int = 1, name: str = "local") -> None:
        self.name, self.checkout, self.turn = name, checkout, turn

    def deployment(self) -> dict[str, Any]:
        return {"resources": [{"type": stacks.SCHEMA_TYPE, "outputs": {"rotation": {"turn": self.turn}}}]}


def lines(stack: Any, reader: str) -> list[str]:
    """What the file of a turn holds."""
    login = ("gaia_app_b", "gaia_app")[stack.turn % 2]
    host = "postgres" if reader == "docker" else "127.0.0.1"
    return [f"DATABASE_URL=postgresql://{login}:secret{stack.turn}@{host}:5432/gaia", "DATABASE_ECHO=false"]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(root=tmp_path)
    places.prepare(made)
    return made


@pytest.fixture
def stack(checkout: Checkout) -> Any:
    return _Stack(checkout)


@pytest.fixture
def file(stack: Any, tmp_path: Path) -> Path:
    made = tmp_path / ".env"
    made.write_text("MINE=1\nDATABASE_ECHO=true\n")
    env_files.write(stack, made, "host", lines(stack, "host"))
    return made


def test_a_file_keeps_its_other_lines_and_is_for_its_owner_alone(stack: Any, file: Path) -> None:
    assert file.read_text().splitlines() == ["MINE=1", *lines(stack, "host")]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    record = stack.checkout.own / "env-files.json"
    assert "secret" not in record.read_text()
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


def test_on_another_turn_it_is_written_anew_for_the_reader_it_was_written_for(stack: Any, file: Path) -> None:
    other = file.with_name("docker.env")
    env_files.write(stack, other, "docker", lines(stack, "docker"))
    stack.turn = 2
    assert env_files.renew(stack, lines).written == [str(file), str(other)]
    assert file.read_text().splitlines() == ["MINE=1", *lines(stack, "host")]
    assert other.read_text().splitlines() == lines(stack, "docker")
    assert env_files.renew(stack, lines).written == []


def test_when_nothing_was_changed_only_a_file_of_another_turn_is_looked_at(stack: Any, file: Path) -> None:
    def never(_stack: Any, _reader: str) -> list[str]:
        raise AssertionError("it would run the engine")

    assert env_files.renew(stack, never, changed=False).written == []
    stack.turn = 2
    assert env_files.renew(stack, lines, changed=False).written == [str(file)]


def test_a_file_that_is_gone_is_not_made_again(stack: Any, file: Path) -> None:
    file.unlink()
    assert env_files.renew(stack, lines).written == []
    assert not file.exists()


@pytest.mark.parametrize(
    "line",
    [
        "DATABASE_URL=postgresql://gaia_app:x@db.example.com:5432/gaia",
        "DATABASE_URL=postgresql://somebody:x@127.0.0.1:5432/gaia",
        "DATABASE_URL='",
        "",
    ],
)
def test_a_file_that_names_another_login_or_machine_by_now_is_left_alone(stack: Any, file: Path, line: str) -> None:
    file.write_text(f"{line}\n")
    stack.turn = 2
    assert env_files.renew(stack, lines).written == []
    assert file.read_text() == f"{line}\n"


def test_a_file_belongs_to_the_stack_that_wrote_it_last(stack: Any, file: Path) -> None:
    dev: Any = _Stack(stack.checkout, turn=1, name="dev")
    env_files.write(dev, file, "host", lines(dev, "host"))
    stack.turn = dev.turn = 2
    assert env_files.renew(stack, lines).written == []
    assert env_files.renew(dev, lines).written == [str(file)]


def test_a_file_that_can_not_be_written_is_named(stack: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    stack.turn = 2
    monkeypatch.setattr(places, "write", full)
    renewed = env_files.renew(stack, lines)
    assert (renewed.written, renewed.failed) == ([], [f"{file}: No space left on device"])


@pytest.mark.parametrize("record", ["", "{}", '[{"path": 1}]', '[{"file": "x"}]', "not JSON"])
def test_a_record_that_can_not_be_read_remembers_nothing(stack: Any, file: Path, record: str) -> None:
    (stack.checkout.own / "env-files.json").write_text(record)
    assert env_files.renew(stack, lines).written == []
