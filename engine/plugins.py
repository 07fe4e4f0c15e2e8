"""The resource plugins that the engine needs beyond what comes with it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from engine.stack import Stack

INSTALL_TIMEOUT_S = 90


def has_plugin(name: str, environ: Mapping[str, str]) -> bool:
    """Whether it is at hand: attached by PULUMI_DEBUG_PROVIDERS, on PATH, or installed in the SDK's version."""
    if any(part.startswith(f"{name}:") for part in environ.get("PULUMI_DEBUG_PROVIDERS", "").split(",")):
        return True
    if shutil.which(f"pulumi-resource-{name}", path=environ.get("PATH")):
        return True
    home = Path(environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    folder = home / "plugins" / f"resource-{name}-v{version(f'pulumi-{name}')}"
    return (folder / f"pulumi-resource-{name}").exists()


def docker_plugin(stack: Stack, *, say: Callable[[str], None]) -> str | None:
    """Have the ``docker`` plugin at hand, downloaded if it must be; says why where that can't be."""
    if has_plugin("docker", stack.environ):
        return None
    wanted = version("pulumi-docker")
    say(f"downloading the engine's Docker plugin {wanted}")
    try:
        done = subprocess.run(
            [stack.engine, "plugin", "install", "resource", "docker", wanted],
            env=stack.environment(),
            cwd=stack.checkout.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its download took more than {INSTALL_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1].removeprefix("error: ")[:200]
