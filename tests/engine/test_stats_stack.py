"""``stats`` and ``secrets render`` on a stack that is up, and the secrets of its state with and without the engine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.clone import Clone
from tests.unit.ops.test_secrets_file import decrypted, recipient, sops

pytestmark = pytest.mark.engine
__all__ = ["recipient", "sops"]


def test_statistics_are_told_as_text_and_as_one_document(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    clone.gaia("seed", "--users", "20", "--messages", "200")
    text = clone.gaia("stats").stdout
    assert "Table sizes" in text and "chat_history" in text
    told = clone.json("stats", "--only", "tables,connections")
    assert told["ok"] and told["stack"] == "local" and list(told["sections"]) == ["tables", "connections"]
    assert "chat_history" in {row["tablename"] for row in told["sections"]["tables"]["rows"]}
    refused = clone.gaia("stats", "--only", "tabels", code=2)
    assert "known: " in refused.stderr


def test_secrets_are_the_same_with_and_without_the_engine_which_is_asked_where_the_checkout_cannot(
    clone: Clone, port: int
) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    by_engine = clone.gaia("env", env={"PULUMI_CONFIG_PASSPHRASE_FILE": str(clone.checkout.passphrase)})
    url_by_engine = clone.gaia("url", env={"PULUMI_CONFIG_PASSPHRASE_FILE": str(clone.checkout.passphrase)})
    key = clone.checkout.run_file("local", "key")
    assert not key.exists(), "the engine was asked"
    assert clone.gaia("url").stdout == url_by_engine.stdout
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert clone.gaia("env").stdout.splitlines()[-1:] == by_engine.stdout.splitlines()[-1:]
    clone.gaia("url", env={"PULUMI_CONFIG_PASSPHRASE": "wrong"}, code=2)
    clone.gaia("destroy", "--purge", "--yes")
    assert not key.exists()


def test_the_file_of_secrets_logs_in(clone: Clone, port: int, sops: Path, recipient: str) -> None:
    names = ("PATH", "SOPS_AGE_KEY", "SOPS_AGE_RECIPIENTS")
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    done = clone.json("secrets", "render", env={name: os.environ[name] for name in names})
    file = clone.root / "secrets" / ".secrets.env"
    assert done["changed"] and Path(done["file"]) == file
    values = decrypted(sops, file)
    assert values["DATABASE_URL"] == clone.gaia("url", "--as", "app").stdout.strip()
    assert values["DB_PASSWORD"] not in file.read_text() and recipient in file.read_text()
    assert clone.dirty() == ""
    again = clone.json("secrets", "render", env={name: os.environ[name] for name in names})
    assert not again["changed"]
