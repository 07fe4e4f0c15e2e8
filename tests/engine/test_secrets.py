"""A canary password is found nowhere but where it belongs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.clone import Clone

pytestmark = pytest.mark.engine

CANARY = "canary" + "7b3d90e1f24c5a68"  # in two, so that this file doesn't hold it


class Watch(threading.Thread):
    """Looks at every process's arguments, again and again, while something runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.seen: list[str] = []
        self.looks = 0

    def run(self) -> None:
        while not self.ended.is_set():
            self.looks += 1
            for process in psutil.process_iter():
                try:
                    line = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if CANARY in line:
                    self.seen.append(line)


def files_with(text: str, folder: Path) -> list[Path]:
    found = []
    for base, _, names in os.walk(folder):
        for name in names:
            file = Path(base) / name
            try:
                if file.is_file() and text.encode() in file.read_bytes():
                    found.append(file)
            except OSError:
                continue
    return found


def test_no_password_in_arguments_output_logs_or_plain_state(clone: Clone, port: int) -> None:
    watch = Watch()
    watch.start()
    env = {"POSTGRES_PASSWORD": CANARY}
    said = clone.gaia("up", "--stack", "local", "--set", f"database.port={port}", env=env)
    said2 = clone.gaia("up", "--json", env={"POSTGRES_PASSWORD": f"{CANARY}-changed"})
    printed = [said, said2]
    for command in (
        ["status"],
        ["verify"],
        ["outputs"],
        ["outputs", "--format", "env"],
        ["env"],
        ["preview", "--refresh"],
        ["logs"],
    ):
        printed.append(clone.gaia(*command))
    clone.gaia("psql", "-c", "select 1")
    clone.gaia("migrate", "downgrade", "-1")
    clone.gaia("migrate", "upgrade")
    watch.ended.set()
    watch.join()

    assert watch.looks > 5
    assert watch.seen == []
    for done in printed:
        assert CANARY not in done.stdout + done.stderr
    app = clone.gaia("url", "--as", "app").stdout.split(":")[2].split("@")[0]
    for secret in (CANARY, app):
        assert files_with(secret, clone.root) == []
        assert files_with(secret, clone.home()) == []
    assert CANARY in clone.gaia("url").stdout, "but the canary is the password"


def test_the_servers_environment_and_log_hold_no_password(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}", env={"POSTGRES_PASSWORD": CANARY})
    with psycopg.connect(clone.gaia("url").stdout.strip(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("SELECT pg_reload_conf()")
    clone.gaia("up", env={"POSTGRES_PASSWORD": f"{CANARY}-changed"})
    assert CANARY not in (clone.home() / "server.log").read_text(errors="replace")
    pid = int((clone.home() / "data" / "postmaster.pid").read_text().split()[0])
    environment = psutil.Process(pid).environ()
    assert CANARY not in str(environment)
    assert not {name for name in environment if name.startswith(("POSTGRES_", "PULUMI_", "GAIA_"))}


def test_own_files_are_for_their_owner_alone(clone: Clone, port: int) -> None:
    clone.gaia("up", "--stack", "local", "--set", f"database.port={port}")
    own = clone.checkout
    assert own.passphrase.stat().st_mode & 0o777 == 0o600
    assert own.working_copy("local").stat().st_mode & 0o777 == 0o600
    assert own.state.stat().st_mode & 0o777 == 0o700
    assert (clone.home() / "data").stat().st_mode & 0o077 == 0
