"""The version of the Pulumi engine that this repository runs with, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

MODULE = Path(__file__).with_name("go")
"""The Go module that the build builds from."""

SHIMS = Path(__file__).with_name("shims")
"""The executables that go beside the binary, as the official release has them."""

VERSION = "3.259.0"
"""The newest CLI that the Go module proxy serves; the SDK of uv.lock works with it."""

RELEASES = (
    "https://get.pulumi.com/releases/sdk",
    f"https://github.com/pulumi/pulumi/releases/download/v{VERSION}",
)
"""Folders of the official release, the first choice first."""

PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"

LINKER_FLAGS = f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
"""Without the version in the binary the SDK refuses it."""

PACKAGES = 1680
"""About how many Go packages a build compiles; only for its progress."""


def recipe() -> tuple[str, str]:
    """Two short digests: of what decides the binary of a build, and of the executables that go beside it."""
    binary = [f"{PACKAGE} {LINKER_FLAGS}".encode(), *(_content(MODULE / name) for name in ("go.mod", "go.sum"))]
    return _digest(binary), _digest(_content(shim) for shim in sorted(SHIMS.iterdir()))


def at_least(version: str, least: str = VERSION) -> bool:
    """Whether ``version`` (``3.260.1``, ``v3.260.0-dev``) is of the same major version and not older than ``least``."""
    ours, theirs = _numbers(least), _numbers(version)
    return theirs is not None and ours is not None and theirs[0] == ours[0] and theirs >= ours


def _numbers(version: str) -> tuple[int, ...] | None:
    parts = version.strip().removeprefix("v").split("-")[0].split("+")[0].split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        return None
    return tuple(int(part) for part in parts)


def _content(path: Path) -> bytes:
    return path.name.encode() + b"\0" + path.read_bytes()


def _digest(parts: Iterable[bytes]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:8]
