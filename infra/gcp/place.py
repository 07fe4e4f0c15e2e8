"""Where the stack's resources lie, and what they are labelled with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Place:
    """Every resource names project and region itself: the provider needs no configuration, and looks nothing up."""

    project: str
    region: str
    prefix: str
    """What the stack calls its own things in the project, whichever instance it has: a restore leads to another one."""
    labels: Mapping[str, str]
    protect: bool = True
    """Whether Pulumi refuses to delete what holds data: the instance, the database, the bucket, the key."""

    def service_account(self, account: str) -> str:
        """The address of a service account of this project."""
        return f"{account}@{self.project}.iam.gserviceaccount.com"
