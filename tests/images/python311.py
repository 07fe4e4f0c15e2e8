"""A base that behaves as ``python:3.11-slim-bookworm``, for machines that can pull no image.

It is made from this environment's own Python 3.11 and its pip, the shared libraries they need and Debian's static
busybox. Where it differs from the official image: the libraries are this machine's, and there is no apt.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import docker
from docker.errors import APIError, ImageNotFound

from tests.images import postgres16
from tests.images.postgres16 import Files, ImageError

REPOSITORY, TAG = "gaia-test/python", "3.11-slim-bookworm"
PYTHON = (3, 11)
STDLIB = "usr/local/lib/python3.11"
LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|tests?|idlelib|lib2to3|tkinter|turtledemo|ensurepip|site-packages|config-3[^/]*|_tkinter[^/]*)/"
    r"|_tkinter"
)
DEBIANS_WHEELS = Path("/usr/share/python-wheels")
"""Debian takes them out of ``ensurepip``: package python3-pip-whl."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
OF_GLIBC = ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libresolv.so.2", "libnss_dns.so.2")
"""What wheels ask for besides, and every image with glibc has."""
CHANGES = [
    'CMD ["python3"]',
    "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    f"ENV PIP_CERT={CERTIFICATES}",  # this machine may reach its package index through an authority of its own
]


def ensure(client: docker.DockerClient) -> str:
    """The name of the base, made if it isn't there or is out of date. Raises ImageError."""
    name = f"{REPOSITORY}:{TAG}"
    with postgres16._one_builder_at_a_time():
        files = _files()
        inputs = hashlib.sha256(f"{postgres16._digest(files)}{json.dumps(CHANGES)}".encode()).hexdigest()[:32]
        try:
            if client.images.get(name).labels.get(postgres16.INPUTS_LABEL) == inputs:
                return name
        except ImageNotFound:
            pass
        label = f"LABEL {postgres16.INPUTS_LABEL}={inputs}"
        try:
            client.api.import_image_from_data(_layer(files), repository=REPOSITORY, tag=TAG, changes=[*CHANGES, label])
        except APIError as error:
            raise ImageError(f"the Docker engine refused the image: {error.explanation}") from error
    return name


def _files() -> Files:
    if sys.version_info[:2] != PYTHON:
        raise ImageError(f"this environment's Python is {sys.version.split()[0]}, the image's is 3.11")
    stdlib = Path(sysconfig.get_path("stdlib"))
    files: Files = {"usr/local/bin/python3.11": Path(sys.executable).resolve()}
    for path in sorted(stdlib.rglob("*")):
        inside = path.relative_to(stdlib).as_posix()
        if path.is_file() and not LEFT_OUT.search(inside):
            files[f"{STDLIB}/{inside}"] = path
    binaries = [path for path in files.values() if isinstance(path, Path) and postgres16._is_elf(path)]
    libraries = postgres16._libraries(binaries)
    folder = next(Path("/", name).parent for name in libraries if name.endswith("/libc.so.6"))
    libraries |= {str(path).lstrip("/"): path.resolve() for name in OF_GLIBC if (path := folder / name).is_file()}
    files |= libraries | _pip()
    files["bin/busybox"] = postgres16._busybox()
    files["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\n"
    files["etc/group"] = b"root:x:0:\n"
    files["etc/nsswitch.conf"] = b"hosts: files dns\n"
    if CERTIFICATES.is_file():
        files[str(CERTIFICATES).lstrip("/")] = CERTIFICATES
    return files


def _pip() -> Files:
    """Beside the standard library, where Debian's Python looks too."""
    folders = (Path(sysconfig.get_path("stdlib")) / "ensurepip" / "_bundled", DEBIANS_WHEELS)
    wheels = [wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))]
    if not wheels:
        raise ImageError("no wheel of pip beside this Python: apt-get install python3-pip-whl")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return {f"{STDLIB}/{name}": wheel.read(name) for name in wheel.namelist() if name[-1] != "/"}


def _layer(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        for name in sorted(folders | {"root", "dev", "proc", "sys"}):
            archive.addfile(postgres16._entry(name, tarfile.DIRTYPE, mode=0o755))
        archive.addfile(postgres16._entry("tmp", tarfile.DIRTYPE, mode=0o1777))
        for name in sorted(files):
            source = files[name]
            content = source if isinstance(source, bytes) else source.read_bytes()
            executable = isinstance(source, Path) and source.stat().st_mode & stat.S_IXUSR
            entry = postgres16._entry(name, size=len(content), mode=0o755 if executable else 0o644)
            archive.addfile(entry, io.BytesIO(content))
        for link in ("python", "python3"):
            archive.addfile(postgres16._entry(f"usr/local/bin/{link}", tarfile.SYMTYPE, link="python3.11"))
        for applet in postgres16._applets(files):
            archive.addfile(postgres16._entry(f"bin/{applet}", tarfile.SYMTYPE, link="busybox"))
    return buffer.getvalue()
