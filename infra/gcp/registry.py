"""Where the migrations' image lies."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.gcp.apis import Apis
from infra.gcp.place import Place
from infra.gcp.sdk import artifactregistry

NAME = "gaia-db"
IMAGES_KEPT = 10


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    place: Place
    apis: Apis


class Registry(pulumi.ComponentResource):
    """The Artifact Registry repository ``gaia-db``. Tags can't be moved: a digest is what it was."""

    def __init__(self, name: str, args: RegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Registry", name, {}, opts)
        self.repository = artifactregistry.Repository(
            "images",
            project=args.place.project,
            location=args.place.region,
            repository_id=NAME,
            format="DOCKER",
            description="Images of the database's migrations",
            docker_config=artifactregistry.RepositoryDockerConfigArgs(immutable_tags=True),
            labels=dict(args.place.labels),
            cleanup_policies=[
                artifactregistry.RepositoryCleanupPolicyArgs(
                    id="keep-recent",
                    action="KEEP",
                    most_recent_versions=artifactregistry.RepositoryCleanupPolicyMostRecentVersionsArgs(
                        keep_count=IMAGES_KEPT
                    ),
                ),
                artifactregistry.RepositoryCleanupPolicyArgs(
                    id="drop-old",
                    action="DELETE",
                    condition=artifactregistry.RepositoryCleanupPolicyConditionArgs(older_than="7776000s"),
                ),
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.apis.of("artifactregistry")),
        )
        self.register_outputs({})
