"""The image of the migrations for the stack of GAIA_STACK: .venv/bin/python .ci/image.py [--build]

Its tag is a digest of what it is built from, so one that is in the registry already isn't built again. Its digest is
written into the stack file of this checkout, for the `preview` or `up` that follows; nothing is committed. A stack file
that names an image keeps it. Without --build, an image that isn't there yet gets a digest that stands for it: the
preview then shows that the job gets another image.

Exit codes: 0 fine, 1 it can't be built or pushed, 2 usage.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = "migrations/Dockerfile"
BUILT_FROM = (".dockerignore", "db/__init__.py", "db/identity.py", "db/models.py", "migrations")
SECTION, REGION = "gaia-db:gcp", "us-west1"


class Failed(Exception):
    """It can't be built; the message says why."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build", action="store_true", help="build and push it where it isn't there")
    build = parser.parse_args().build
    stack = os.environ.get("GAIA_STACK")
    file = ROOT / f"Pulumi.{stack}.yaml"
    if not stack or not file.exists():
        print(f".ci/image.py: GAIA_STACK is {stack!r}; it must be a stack of this checkout", file=sys.stderr)
        return 2
    try:
        print(settle(file, build=build))
    except Failed as error:
        print(f".ci/image.py: {error}", file=sys.stderr)
        return 1
    return 0


def settle(file: Path, *, build: bool) -> str:
    """Write the image into the stack file; says which it is."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    section = document["config"].setdefault(SECTION, {})
    job = section.setdefault("migration_job", {})
    if job.get("image"):
        return f"the stack file names the image: {job['image']}"
    name, tag = repository(document["config"]), inputs()
    digest = published(f"{name}:{tag}")
    if digest is None and build:
        publish(f"{name}:{tag}")
        digest = published(f"{name}:{tag}")
        if digest is None:
            raise Failed(f"{name}:{tag} was pushed, and the registry doesn't show it; run the workflow again")
    told = f"{name}:{tag}" if digest else f"{name}:{tag}, which isn't built yet"
    job["image"] = f"{name}@{digest or f'sha256:{hashlib.sha256(tag.encode()).hexdigest()}'}"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return f"{told}: {job['image']}"


def repository(config: dict) -> str:
    """Where the program makes the registry: gaia-db, in the stack's project and region."""
    section = config[SECTION]
    project = section.get("project") or config.get("gcp:project")
    if not project:
        raise Failed(f"the stack file has no project: set gcp:project, or project in {SECTION}")
    return f"{section.get('region', REGION)}-docker.pkg.dev/{project}/gaia-db/migrations"


def inputs() -> str:
    """A digest of the committed files that the image is built from."""
    listed = subprocess.run(["git", "ls-tree", "HEAD", *BUILT_FROM], cwd=ROOT, capture_output=True, check=True).stdout
    return hashlib.sha256(listed).hexdigest()[:32]


def published(image: str) -> str | None:
    """The digest of an image in the registry, or None."""
    command = ["gcloud", "artifacts", "docker", "images", "describe", image, "--format=value(image_summary.digest)"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


def publish(image: str) -> None:
    run("gcloud", "auth", "configure-docker", image.split("/")[0], "--quiet")
    run("docker", "build", "--file", DOCKERFILE, "--tag", image, ".")
    run("docker", "push", image)


def run(*command: str) -> None:
    if (code := subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode) != 0:
        raise Failed(f"`{' '.join(command)}` ended with {code}; its reason is above")


if __name__ == "__main__":
    sys.exit(main())
