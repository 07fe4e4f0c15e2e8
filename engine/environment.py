"""Make ``.venv`` from uv.lock: what ``gaia`` runs, by path and with any Python ≥ 3.11, where that isn't done yet.

Interrupted at any moment, the next run makes it again: ``.venv`` counts as made when it holds a copy of
uv.lock and the checkout's own path, which are written last. Two at once are one after the other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

if __package__:
    from engine import wheels
else:  # run by path: there is no environment yet, so `engine` can't be imported
    import wheels  # pyright: ignore[reportImplicitRelativeImport]

MISSING = 3
"""The exit code of everything that lacks something it needs."""


def main() -> int:
    """Make the environment of the checkout that this file lies in; 0 or 3."""
    root = Path(__file__).resolve().parent.parent
    cache = wheels.cache_folder()
    try:
        with wheels.locked(cache / "environments" / f"{hashlib.sha256(bytes(root)).hexdigest()[:16]}.lock"):
            if not is_made(root):
                make(root, cache)
    except KeyboardInterrupt:
        _say("interrupted; the next command makes the environment again.")
        return 130
    except (wheels.DownloadError, EnvironmentFailed) as error:
        _say(str(error))
        return MISSING
    except OSError as error:
        _say(f"the environment can't be made: {error}.")
        return MISSING
    return 0


class EnvironmentFailed(Exception):
    """uv couldn't make the environment; the message is a sentence, after what uv itself said."""


def is_made(root: Path) -> bool:
    """Whether ``.venv`` was made for this uv.lock and this folder."""
    venv = root / ".venv"
    try:
        return (
            os.access(venv / "bin" / "python", os.X_OK)
            and (venv / ".gaia-lock").read_bytes() == (root / "uv.lock").read_bytes()
            and (venv / ".gaia-root").read_text() == f"{root}\n"
        )
    except OSError:
        return False


def make(root: Path, cache: Path) -> None:
    """Run ``uv sync`` and stamp the environment."""
    started = time.monotonic()
    venv = root / ".venv"
    (venv / ".gaia-lock").unlink(missing_ok=True)
    _say("making the environment in .venv from uv.lock (once for each checkout) ...")
    lock = (root / "uv.lock").read_bytes()
    _remove_half_made(venv)
    _sync_with_any_uv(root, cache, "--no-dev")
    _write(venv / ".gaia-root", f"{root}\n".encode())
    _write(venv / ".gaia-lock", lock)
    _say(f"the environment is ready after {time.monotonic() - started:.0f} s.")


def add_development_tools(root: Path) -> None:
    """Install the development group of uv.lock too, unless it is there.

    Raises EnvironmentFailed, wheels.DownloadError.
    """
    if not _has(root, "dev"):
        _say("installing the development tools of uv.lock (once for each checkout) ...")
        _add(root, "dev")


def add_rehearsal(root: Path) -> None:
    """Install what the rehearsal runs with, unless it is there; the development tools have it too.

    Raises EnvironmentFailed, wheels.DownloadError.
    """
    if not _has(root, "rehearsal") and not _has(root, "dev"):
        _say("installing the packages of the rehearsal of uv.lock (once for each checkout) ...")
        _add(root, "rehearsal")


def _has(root: Path, group: str) -> bool:
    stamp = root / ".venv" / f".gaia-lock-{group}"
    return stamp.exists() and stamp.read_bytes() == (root / "uv.lock").read_bytes()


def _add(root: Path, group: str) -> None:
    lock = (root / "uv.lock").read_bytes()
    # --no-dev: without it uv adds the development tools to whatever group is named.
    _sync_with_any_uv(root, wheels.cache_folder(), f"--group={group}", *([] if group == "dev" else ["--no-dev"]))
    _write(root / ".venv" / f".gaia-lock-{group}", lock)


def _sync_with_any_uv(root: Path, cache: Path, *groups: str) -> None:
    """With the uv on PATH, and where that fails with the one of uv.lock."""
    on_path = shutil.which("uv")
    if on_path and _works(on_path) and _sync(on_path, root, groups):
        return
    uv = wheels.fetch("uv", lock=root / "uv.lock", cache=cache, say=_say) / "bin" / "uv"
    if not _sync(str(uv), root, groups):
        raise EnvironmentFailed(
            "uv couldn't make the environment (its reason is above); mend that, then run the command again."
        )


def _sync(uv: str, root: Path, groups: tuple[str, ...]) -> bool:
    """Whether ``uv sync`` succeeded. Packages that someone added stay (``--inexact``)."""
    command = [uv, "sync", "--frozen", *groups, "--inexact", "--project", str(root), "--no-python-downloads"]
    if not sys.stderr.isatty():
        command.append("--quiet")  # its errors still show; on a terminal it draws its progress
    ours = {"UV_PROJECT_ENVIRONMENT": str(root / ".venv"), "UV_PYTHON": sys.executable}
    foreign = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "UV_NO_SYNC", "UV_NO_INSTALL_PROJECT")
    environ = {name: value for name, value in os.environ.items() if name not in foreign} | ours
    return subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode == 0


def _works(uv: str) -> bool:
    """Whether it is uv, and not a version switcher's stand-in for one that isn't installed."""
    try:
        return subprocess.run([uv, "--version"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _remove_half_made(venv: Path) -> None:
    """Remove an environment without a Python that runs, which uv won't touch; one that works stays."""
    python = venv / "bin" / "python"
    try:
        if subprocess.run([python, "-c", ""], capture_output=True, timeout=20).returncode == 0:
            return
    except (OSError, subprocess.TimeoutExpired):
        pass
    if venv.is_symlink():
        venv.unlink()
    elif venv.exists():
        shutil.rmtree(venv)


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there wholly or not at all."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)


def _say(text: str) -> None:
    print(f"gaia: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
