"""The engine by hand: what `eval "$(./gaia env)"` gives a shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clone import Clone, make, remove, temporary

pytestmark = pytest.mark.engine

SHELL = 'eval "$({root}/gaia env --stack local)" && {command}'


def shell(clone: Clone, command: str, *, cwd: Path | None = None, code: int | None = 0) -> str:
    done = clone.run(["sh", "-c", SHELL.format(root=clone.root, command=command)], cwd=cwd, code=code)
    return done.stdout + done.stderr


def test_preview_up_output_and_destroy_work_by_hand_and_from_a_subfolder(clone: Clone, port: int) -> None:
    clone.gaia("env", "--stack", "local")
    shell(clone, f"pulumi config set --path database.port {port} && pulumi preview -s local")
    shell(clone, "pulumi up -s local --yes --skip-preview")
    assert clone.json("verify", "--stack", "local")["ok"]
    outputs = json.loads(
        clone.run(["sh", "-c", SHELL.format(root=clone.root, command="pulumi stack output --json")]).stdout
    )
    assert outputs["port"] == port
    assert outputs["database_url"] == "[secret]"

    below = clone.root / "infra" / "local"
    assert "unchanged" in shell(clone, "pulumi up -s local --yes --skip-preview --refresh", cwd=below)
    assert "nothing to change" in shell(clone, f"{clone.root}/gaia up", cwd=below)
    who = "import os, psycopg; print(psycopg.connect(os.environ['DATABASE_URL']).info.user)"
    assert shell(clone, f'python -c "{who}"').strip().endswith("gaia_app")
    shell(clone, "pulumi destroy -s local --yes --skip-preview")
    assert clone.dirty() == ""


def test_two_clones_with_their_own_passphrases_stay_clean(clone: Clone, port: int) -> None:
    folder = temporary()
    (folder / "gaia").mkdir()
    other = make(folder / "gaia")
    try:
        clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
        other_port = port + 1 if port < 65535 else port - 1
        other.gaia("up", "--stack", "local", "--set", f"database.port={other_port}")
        assert clone.checkout.passphrase.read_text() != other.checkout.passphrase.read_text()
        assert clone.dirty() == other.dirty() == ""
        assert "encryptionsalt" in clone.checkout.working_copy("local").read_text()
        other.gaia("destroy", "--purge", "--yes")
    finally:
        remove(other)


def test_removing_and_making_a_stack_by_hand_keeps_the_committed_file_as_it_is(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    clone.gaia("destroy")
    shell(clone, "pulumi stack rm local --yes")
    assert clone.dirty() == ""
    shell(clone, "pulumi stack init local")
    assert clone.dirty() == ""
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")


def test_an_edited_stack_file_counts_at_once_by_hand_too(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    file = clone.root / "Pulumi.local.yaml"
    file.write_text(file.read_text().replace("random_page_cost: 1.1", "random_page_cost: 2.5"))
    shell(clone, "pulumi up -s local --yes --skip-preview")
    assert "2.5" in clone.gaia("psql", "-At", "-c", "show random_page_cost").stdout
