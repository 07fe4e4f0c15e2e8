"""A clone of this checkout for a test to work in: its own environment, state, ports and stacks.

One for each test process, made with the launcher as a stranger would. Every stack that a test brings up is
destroyed with its data afterwards; what a killed test run left is cleared by the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import locks
from engine.checkout import Checkout
from infra.local import postgres

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "gaia-clone-"
OWNER = "owner.json"
COMMAND_TIMEOUT_S = 240
# What belongs to the shell that runs the tests, not to the clone.
_FOREIGN = ("GAIA_STACK", "GAIA_RUN", "PULUMI_", "POSTGRES_", "DATABASE_", "PYTEST_", "VIRTUAL_ENV", "PYTHONPATH", "CI")


@dataclass(frozen=True)
class Clone:
    """A checkout in a folder of its own."""

    root: Path
    extra: dict[str, str] = field(default_factory=dict)
    """Variables that every command in this clone gets."""

    @property
    def checkout(self) -> Checkout:
        return Checkout(root=self.root)

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for commands in this clone."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        return {**kept, "TERM": "dumb", **self.extra, **(extra or {})}

    def gaia(
        self, *arguments: str, env: Mapping[str, str] | None = None, code: int | None = 0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``./gaia``; fails the test unless it ends with ``code`` (None: whatever)."""
        return self.run([str(self.root / "gaia"), *arguments], env=env, code=code, cwd=cwd)

    def json(self, *arguments: str, env: Mapping[str, str] | None = None, code: int | None = 0) -> dict[str, Any]:
        """Run ``./gaia … --json`` and return its document, which must be all that stdout holds."""
        return json.loads(self.gaia(*arguments, "--json", env=env, code=code).stdout)

    def run(
        self,
        command: list[str],
        *,
        env: Mapping[str, str] | None = None,
        code: int | None = 0,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone."""
        done = subprocess.run(
            command,
            cwd=cwd or self.root,
            env=self.environ(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if code is not None and done.returncode != code:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start ``./gaia`` without waiting for it."""
        return subprocess.Popen(
            [str(self.root / "gaia"), *arguments],
            cwd=self.root,
            env=self.environ(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def dirty(self) -> str:
        """What ``git status`` has to say; empty in a clean clone."""
        return self.run(["git", "status", "--porcelain"]).stdout

    def home(self, stack: str = "local") -> Path:
        """Where the embedded server of a stack has its data."""
        return postgres.home_for(self.root, stack)

    def processes(self) -> list[psutil.Process]:
        """Processes that work in this clone or on its data, whoever started them."""
        found = []
        roots = (str(self.root), str(self.home().parent))
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.cwd().startswith(roots) or process.environ().get("PULUMI_BACKEND_URL", "").startswith(
                    self.checkout.own.as_uri()
                ):
                    found.append(process)
        return found


def make(folder: Path) -> Clone:
    """Copy this checkout, as it stands, into ``folder`` and make its environment with the launcher."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    clone = Clone(root=folder.resolve())
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "clone"],
    ):
        clone.run(["git", *command])
    clone.gaia("--help")
    return clone


def temporary() -> Path:
    """A new folder that every user may enter, which pytest's are not: root's server runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o755)
    me = psutil.Process()
    (folder / OWNER).write_text(json.dumps({"pid": me.pid, "started": me.create_time()}), encoding="utf-8")
    return folder


def clear_leftovers() -> None:
    """Remove the clones of test runs that are dead, with all that still runs in them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
            run = locks.Run(run_id="", pid=owner["pid"], started=owner["started"], command="", user="")
        except (OSError, ValueError, KeyError):
            continue
        if not run.alive():
            remove(Clone(root=folder / "gaia"))


def remove(clone: Clone) -> None:
    """End all that runs in a clone and remove it with its data."""
    if clone.root.exists():
        processes = clone.processes()
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=10)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(clone.home().parent, ignore_errors=True)
    shutil.rmtree(clone.root.parent, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on now, and that the system gives to nobody who asks for any.

    The engine and its plugins ask for any port: one from that range could be theirs a moment later.
    """
    while True:
        port = random.randint(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture(scope="session")
def session_clone() -> Iterator[Clone]:
    """The clone of this test process."""
    clear_leftovers()
    folder = temporary()
    (folder / "gaia").mkdir()
    clone = make(folder / "gaia")
    yield clone
    remove(clone)


@pytest.fixture
def clone(session_clone: Clone) -> Iterator[Clone]:
    """A clone without any stack; what the test brings up is destroyed afterwards."""
    yield session_clone
    for stack in ("local", "dev"):
        if session_clone.checkout.working_copy(stack).exists():
            session_clone.gaia("destroy", "--stack", stack, "--purge", "--yes", code=None)
    shutil.rmtree(session_clone.checkout.own, ignore_errors=True)
    shutil.rmtree(session_clone.root / "backups", ignore_errors=True)
    (session_clone.root / ".env").unlink(missing_ok=True)
    session_clone.run(["git", "checkout", "-q", "--", "."])
    session_clone.run(["git", "clean", "-qfd"])


@pytest.fixture
def port() -> int:
    return free_port()
