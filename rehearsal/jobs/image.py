"""The image of the migrations as folders: what ``migrations/Dockerfile`` copies and sets, without a Docker engine.

The packages are those of its requirements file and no others, out of this environment: a package that the file lacks
is missing here as it would be there. The base (Python itself, its libraries) is this machine's.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DOCKERFILE = CHECKOUT / "migrations" / "Dockerfile"


@dataclass(kw_only=True)
class Image:
    """What a container of it sees, and how it starts by itself."""

    files: dict[str, Path] = field(default_factory=dict)
    """Path in the container → where that lies here."""
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    ids: tuple[int, int] = (0, 0)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def read(checkout: Path = CHECKOUT, dockerfile: Path = DOCKERFILE) -> Image:
    """The image that this checkout's Dockerfile describes."""
    stages: dict[str, dict[str, Path]] = {}
    image = Image()
    for word, rest in _instructions(dockerfile.read_text(encoding="utf-8")):
        if word == "FROM":
            image = Image()
            name = re.search(r"\bAS\s+(\S+)", rest, re.IGNORECASE)
            stages[name[1] if name else ""] = image.files
        elif word == "COPY":
            _copy(image, rest, stages, checkout)
        elif word == "RUN" and "install" in rest:
            _install(image, json.loads(rest))
        elif word == "ENV":
            image.environment |= dict(part.split("=", 1) for part in shlex.split(rest))
        elif word == "WORKDIR":
            image.folder = rest
        elif word == "USER":
            uid, _, gid = rest.partition(":")
            image.ids = int(uid), int(gid or uid)
        elif word == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif word == "CMD":
            image.command = json.loads(rest)
    return image


def unpack(image: Image, folder: Path) -> Image:
    """Have the checkout's own files as they are now, readable by whoever the container runs as."""
    folder.mkdir(mode=0o755, exist_ok=True)
    kept: dict[str, Path] = {}
    for number, (inside, source) in enumerate(image.files.items()):
        if not source.is_relative_to(CHECKOUT) or ".venv" in source.parts:
            kept[inside] = source
            continue
        target = folder / f"{number}-{source.name}"
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
        for path in (target, *(target.rglob("*") if target.is_dir() else ())):
            path.chmod(0o755 if path.is_dir() else 0o644)
        kept[inside] = target
    return Image(**{**vars(image), "files": kept})


def system() -> dict[str, str]:
    """The base: this machine's programs and libraries, and Python where it isn't among them."""
    folders = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/dev", sys.base_prefix]
    files = ["ssl", "passwd", "group", "hosts", "nsswitch.conf", "localtime", "ld.so.cache", "ld.so.conf"]
    wanted = [*folders, *(f"/etc/{name}" for name in files)]
    return {path: path for path in wanted if Path(path).exists()}


def python() -> str:
    """The interpreter without this environment's packages."""
    return getattr(sys, "_base_executable", sys.executable)


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word.upper(), " ".join(rest.split())


def _copy(image: Image, rest: str, stages: dict[str, dict[str, Path]], checkout: Path) -> None:
    *sources, target = [part for part in rest.split() if not part.startswith("--")]
    stage = re.search(r"--from=(\S+)", rest)
    for source in sources:
        if stage is not None:
            moved = {
                f"{target}{path[len(source) :]}": where
                for path, where in stages[stage[1]].items()
                if path.startswith(f"{source}/")
            }
            image.files |= moved
        else:
            inside = f"{target}{Path(source).name}" if target.endswith("/") else target
            image.files[inside] = checkout / source


def _install(image: Image, command: list[str]) -> None:
    given = dict(part.split("=", 1) for part in command if part.startswith("--") and "=" in part)
    requirements = image.files[given["--requirement"]]
    for name in re.findall(r"^([\w.-]+)==", requirements.read_text(encoding="utf-8"), re.MULTILINE):
        for path in _entries(name):
            image.files[f"{given['--target']}/{path.name}"] = path


def _entries(name: str) -> set[Path]:
    """What a distribution puts beside the others: packages, modules, libraries and what says its version."""
    distribution = importlib.metadata.distribution(name)
    tops = {file.parts[0] for file in distribution.files or () if not file.parts[0].startswith("..")}
    found = {Path(str(distribution.locate_file(top))) for top in tops if top != "__pycache__"}
    return {path for path in found if path.exists()}
