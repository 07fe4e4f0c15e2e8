"""The end of a standby's volume as a Pulumi resource: it goes with its standby, where the primary has all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult


@dataclass(frozen=True, kw_only=True)
class StandbyVolumeArgs:
    """Which volume it is about."""

    home: Path
    """The primary's, as ``StandbyArgs`` has it."""
    volume: str


class StandbyVolumeProvider(ResourceProvider):
    """Stands between volume and container, so it is deleted between the two. Its module path is in every state."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(props["volume"], props)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in ("home", "volume")))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(news)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        from infra.local import contained, postgres

        contained.forget_volume(postgres.standby_home(Path(props["home"])), props["volume"])


class StandbyVolume(Resource, module="gaia", name="StandbyVolume"):
    """Docker's volume itself is retained as the primary's is: Pulumi alone can't tell what may go."""

    def __init__(self, name: str, args: StandbyVolumeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(StandbyVolumeProvider(), name, {"home": str(args.home), "volume": args.volume}, opts)
