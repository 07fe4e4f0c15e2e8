"""Where the Pulumi engine of this machine comes from, in order: PATH, the cache, the official release, a build."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine import pin, wheels
from engine.errors import EngineError, EngineUnavailable, UnknownWay

WAYS = ("path", "cache", "release", "build")
"""What ``GAIA_ENGINE`` may force; without it they are tried in this order."""

_LANGUAGE_HOST = "pulumi-language-python"
_LOCK = Path(__file__).resolve().parent.parent / "uv.lock"


@dataclass(frozen=True)
class Engine:
    """A Pulumi CLI with its Python language host."""

    pulumi: Path
    """The executable; its folder belongs first on PATH."""

    source: str
    """Where it came from, for people: ``on PATH``, ``cached build``, ``official release``, ..."""

    version: str


def acquire(*, say: Callable[[str], None] = lambda text: None, environ: Mapping[str, str] = os.environ) -> Engine:
    """The engine to use, downloaded or built if it must be.

    ``say`` gets what is done, each second while something takes long. ``GAIA_ENGINE`` forces one way.
    Raises EngineUnavailable, which lists each way and why it failed.
    """
    forced = environ.get("GAIA_ENGINE")
    if forced and forced not in WAYS:
        raise UnknownWay(f"GAIA_ENGINE is {forced!r}; it can be {', '.join(WAYS)}.")
    store = _Store(environ, say)
    ways = {
        "path": store.on_path,
        "cache": store.cached,
        "release": store.released,
        "build": store.built,
    }
    tried: list[tuple[str, str]] = []
    for way in [forced] if forced else WAYS:
        try:
            return ways[way]()
        except _PassedOver as reason:
            tried.append((way, str(reason)))
        except EngineError as error:
            say(f"{way}: {str(error).splitlines()[0]}")
            tried.append((way, str(error)))
        except OSError as error:
            tried.append((way, f"{error}"))
    raise EngineUnavailable(pin.VERSION, tried)


def present(
    *, say: Callable[[str], None] = lambda text: None, environ: Mapping[str, str] = os.environ
) -> Engine | None:
    """The engine that is at hand, without a download or a build; None where there is none.

    ``say`` gets why the one on PATH is passed over.
    """
    store = _Store(environ, say)
    for way in [store.cached] if environ.get("GAIA_ENGINE") in WAYS[1:] else [store.on_path, store.cached]:
        with contextlib.suppress(_PassedOver, EngineError, OSError):
            return way()
    return None


class _PassedOver(Exception):
    """A way that has no engine, without anything having gone wrong."""


class _Store:
    """The ways, for one environment."""

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._environ = environ
        self._say = say
        self._cache = wheels.cache_folder(environ)
        self._engines = self._cache / "engine" / pin.VERSION
        self._machine = wheels.Machine.this()

    def on_path(self) -> Engine:
        """The first ``pulumi`` on PATH that isn't our own wrapper, if it is new enough and can run Python."""
        folders = [Path(part) for part in self._environ.get("PATH", "").split(os.pathsep) if part]
        found = next(
            (folder / "pulumi" for folder in folders if not _is_ours(folder) and _executable(folder / "pulumi")), None
        )
        if found is None:
            raise _PassedOver("there is no pulumi")
        if not any(_executable(folder / _LANGUAGE_HOST) for folder in (found.resolve().parent, *folders)):
            return self._pass_over(f"{found} has no {_LANGUAGE_HOST} beside it or on PATH")
        version = self._version(found)
        if not pin.at_least(version):
            return self._pass_over(f"{found} is {version or 'of no known version'}, and {pin.VERSION} is needed")
        return Engine(found, "on PATH", version.removeprefix("v"))

    def cached(self) -> Engine:
        """What an earlier run left in the user's cache."""
        for folder, source in ((self._release, "cached release"), (self._build, "cached build")):
            if _executable(folder / "pulumi"):
                return Engine(folder / "pulumi", source, pin.VERSION)
        raise _PassedOver(f"there is none in {self._engines}")

    def released(self) -> Engine:
        """The official release, downloaded if the cache lacks it."""
        from engine import release

        self._install(self._release, lambda: release.install(self._release, machine=self._machine, say=self._say))
        return Engine(self._release / "pulumi", "official release", pin.VERSION)

    def built(self) -> Engine:
        """A build from Go modules, made if the cache lacks it."""
        from engine import build

        self._install(
            self._build,
            lambda: build.install(self._build, lock=_LOCK, cache=self._cache, environ=self._environ, say=self._say),
        )
        return Engine(self._build / "pulumi", "built from Go modules", pin.VERSION)

    @property
    def _release(self) -> Path:
        return self._engines / f"release-{self._machine.libc}-{self._machine.architecture}"

    @property
    def _build(self) -> Path:
        binary, executables = pin.recipe()
        return self._engines / f"build-{self._machine.libc}-{self._machine.architecture}-{binary}-{executables}"

    def _install(self, folder: Path, make: Callable[[], None]) -> None:
        """Make ``folder`` unless it is there; two at once make it once."""
        if _executable(folder / "pulumi"):
            return
        with wheels.locked(self._engines / f"{folder.name}.lock"):
            if not _executable(folder / "pulumi"):
                _clear_away(folder)
                make()

    def _pass_over(self, reason: str) -> Engine:
        self._say(f"{reason}: passed over")
        raise _PassedOver(reason)

    def _version(self, pulumi: Path) -> str:
        """What ``pulumi version`` says; asked once for each file."""
        import json
        import subprocess

        stat = pulumi.stat()
        key = [str(pulumi.resolve()), stat.st_mtime_ns, stat.st_size]
        memory = self._cache / "engine" / "on-path.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(memory.read_text())
            if known["file"] == key:
                return str(known["version"])
        try:
            answer = subprocess.run(
                [pulumi, "version"],
                env={**self._environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=20,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        version = answer.stdout.strip() if answer.returncode == 0 else ""
        if version:
            _remember(memory, {"file": key, "version": version})
        return version


def _is_ours(folder: Path) -> bool:
    """Whether a folder of PATH is, or lies in, the ``.gaia/bin`` of a checkout: our wrapper, which comes here."""
    parts = folder.parts
    return any(pair == (".gaia", "bin") for pair in itertools.pairwise(parts))


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _clear_away(folder: Path) -> None:
    """Remove what killed runs left beside ``folder``, and a ``folder`` that lost its executable."""
    import shutil

    for left in (folder, *folder.parent.glob(".build-*"), *folder.parent.glob(".release-*")):
        old = left == folder or time.time() - left.stat().st_mtime > 86400
        if left.exists() and old:
            shutil.rmtree(left, ignore_errors=True)


def _remember(path: Path, value: object) -> None:
    """Write a small JSON file whole, or leave it: it only saves time."""
    import json

    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        aside.write_text(json.dumps(value))
        aside.replace(path)
