"""The version of the Pulumi engine that this repository runs with, and where it comes from."""

from __future__ import annotations

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


def at_least(version: str, least: str = VERSION) -> bool:
    """Whether ``version`` (``3.260.1``, ``v3.260.0-dev``) is of the same major version and not older than ``least``."""
    ours, theirs = _numbers(least), _numbers(version)
    return theirs is not None and ours is not None and theirs[0] == ours[0] and theirs >= ours


def _numbers(version: str) -> tuple[int, ...] | None:
    parts = version.strip().removeprefix("v").split("-")[0].split("+")[0].split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        return None
    return tuple(int(part) for part in parts)
