"""Our side: a copy of this checkout in a temporary folder, with an environment and an engine in place."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from benchmarks.commands import plain_environment, run
from engine.acquire import acquire
from engine.checkout import Checkout
from engine.stack import Stack
from infra import settings
from infra.local import postgres

SOURCE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Copy:
    """The files that git knows or would know of, as they stand, at ``root``."""

    root: Path
    debug_providers: str = ""
    """PULUMI_DEBUG_PROVIDERS: providers that run already."""

    @classmethod
    def make(cls, root: Path) -> Copy:
        """Copy the files, make ``.venv`` as the launcher makes it, and have an engine."""
        listed = run("git", "ls-files", "-coz", "--exclude-standard", cwd=SOURCE)
        for name in filter(None, listed.split("\0")):
            if (SOURCE / name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(SOURCE / name, root / name, follow_symlinks=False)
        copy = cls(root)
        copy.gaia("--help")
        return copy

    @cached_property
    def engine(self) -> Path:
        """The ``pulumi`` that both sides run."""
        return acquire(environ=plain_environment()).pulumi

    @property
    def python(self) -> Path:
        """The Python of the environment that both sides run in."""
        return self.root / ".venv" / "bin" / "python"

    def gaia(self, *arguments: str) -> str:
        """Run ``./gaia`` as a person would."""
        return run(self.root / "gaia", *arguments, cwd=self.root, env=self._environment())

    def configure(self, stack: str, values: dict[str, Any]) -> None:
        """Set values such as ``database.port`` in the copy's own stack file, before anything is timed."""
        file = self.root / f"Pulumi.{stack}.yaml"
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        for path, value in values.items():
            section, key = path.split(".")
            document["config"].setdefault(f"gaia-db:{section}", {})[key] = value
        file.write_text(yaml.safe_dump(document), encoding="utf-8")

    def settings(self, stack: str) -> settings.Settings:
        """What the stack's file says, for the other side to do the same."""
        return settings.read(stack, self.root / f"Pulumi.{stack}.yaml", plain_environment())

    def resource_count(self, stack: str) -> int:
        """How many resources the stack has, now that it is up."""
        opened = Stack(name=stack, checkout=Checkout(root=self.root), engine=self.engine, environ=plain_environment())
        return opened.resource_count()

    def purge(self, stack: str) -> None:
        """Destroy the stack with its data, and what the checkout keeps beside it: as after a fresh clone."""
        if not (self.root / ".gaia").exists():
            return
        try:
            self.gaia("destroy", "--purge", "--yes", "--stack", stack)
        finally:
            # Nothing is left for it to do unless the command failed.
            postgres.remove(postgres.locate(postgres.home_for(self.root, stack)))
            shutil.rmtree(self.root / ".gaia")

    def _environment(self) -> dict[str, str]:
        attached = {"PULUMI_DEBUG_PROVIDERS": self.debug_providers} if self.debug_providers else {}
        return {**plain_environment(), **attached}
