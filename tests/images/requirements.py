"""What the migrations' image installs: the packages of ``uv.lock`` that the job needs, with their wheels' hashes.

``python -m tests.images.requirements`` writes ``migrations/requirements.txt`` anew.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "migrations" / "requirements.txt"
NEEDED = ("alembic", "psycopg", "psycopg-binary", "sqlalchemy")
"""What the job imports; what these need comes along."""
LEFT_OUT = {"tzdata"}
"""Needed on Windows alone."""
WHEELS = re.compile(
    r"-(py3|py2\.py3)-none-any\.whl$|-cp311-cp311-(manylinux|[\w.]*\.manylinux)[\w.]*_(x86_64|aarch64)\.whl$"
)
"""Those that fit the image's Python, on both of Cloud Run's and a laptop's architectures."""
HEAD = """\
# What migrations/Dockerfile installs, from uv.lock: python -m tests.images.requirements writes it anew.
"""


def text() -> str:
    """The file's content."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    packages = {package["name"]: package for package in lock["package"]}
    return HEAD + "".join(_entry(packages[name]) for name in _closure(packages))


def _closure(packages: dict[str, dict[str, Any]]) -> list[str]:
    found: set[str] = set()
    waiting = list(NEEDED)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in LEFT_OUT:
            found.add(name)
            waiting += [needed["name"] for needed in packages[name].get("dependencies", [])]
    return sorted(found)


def _entry(package: dict[str, Any]) -> str:
    hashes = sorted(wheel["hash"] for wheel in package["wheels"] if WHEELS.search(wheel["url"]))
    lines = [f"{package['name']}=={package['version']}", *(f"    --hash={value}" for value in hashes)]
    return " \\\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    sys.exit(0)
