"""The official release of the Pulumi CLI: downloaded, checked against the release's own checksums, unpacked."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine import pin, wheels
from engine.errors import ReleaseUnavailable


def install(
    folder: Path,
    *,
    machine: wheels.Machine,
    say: wheels.Say,
    bases: Sequence[str] = pin.RELEASES,
    limits: wheels.Limits = wheels.DEFAULT_LIMITS,
) -> None:
    """Make ``folder``, with ``pulumi`` and its plugins in it, from the first of ``bases`` that has them.

    ``folder`` appears whole or not at all. Raises ReleaseUnavailable with a reason for each base.
    """
    archive = archive_name(machine)
    reasons: list[str] = []
    with tempfile.TemporaryDirectory(prefix=".release-", dir=folder.parent) as aside:
        for base in bases:
            try:
                _install_from(base, archive, Path(aside), say=say, limits=limits)
            except wheels.DownloadError as error:
                reasons.append(f"{base}: {error}")
            else:
                (Path(aside) / "pulumi").rename(folder)
                return
    raise ReleaseUnavailable("; ".join(reasons))


def archive_name(machine: wheels.Machine) -> str:
    """The name of the release's archive for ``machine``."""
    system = "darwin" if machine.libc == "macos" else "linux"
    architecture = {"x86_64": "x64", "arm64": "arm64"}.get(machine.architecture)
    if architecture is None:
        raise ReleaseUnavailable(f"there is none for {system} on {machine.architecture}")
    return f"pulumi-v{pin.VERSION}-{system}-{architecture}.tar.gz"


def checksum_of(archive: str, checksums: str) -> str:
    """The SHA-256 of ``archive`` in a file of lines ``SHA256  NAME``. Raises DownloadError without one."""
    for line in checksums.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[1].lstrip("*") == archive and len(fields[0]) == 64:
            return fields[0]
    raise wheels.DownloadError(f"its checksums file doesn't name {archive}")


def _install_from(base: str, archive: str, aside: Path, *, say: wheels.Say, limits: wheels.Limits) -> None:
    """Leave the unpacked release in ``aside/pulumi``."""
    checksums = aside / "checksums.txt"
    # The checksums first: they are small, so a registry that can't be reached costs nothing more.
    name = f"pulumi-{pin.VERSION}-checksums.txt"
    wheels.download(f"{base}/{name}", checksums, what="the release's checksums", say=say, limits=limits)
    expected = checksum_of(archive, checksums.read_text(encoding="utf-8", errors="replace"))
    target = aside / archive
    wheels.download(f"{base}/{archive}", target, what=f"Pulumi {pin.VERSION}", say=say, limits=limits)
    wheels.check_sha256(target, expected)
    try:
        with tarfile.open(target) as tar:
            tar.extractall(aside, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise wheels.DownloadError(f"it can't be unpacked: {error}") from error
    if not (aside / "pulumi" / "pulumi").is_file():
        raise wheels.DownloadError("there is no pulumi/pulumi in it")
