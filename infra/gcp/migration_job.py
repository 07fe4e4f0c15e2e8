"""The Cloud Run job that brings the schema to head, as part of ``up``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra.gcp import settings
from infra.gcp.apis import Apis
from infra.gcp.database_job import Reach, Work, template
from infra.gcp.sdk import cloudrunv2
from infra.rotation import Rotation
from migrations.roles import APP_LOGINS

NAME = "gaia-db-migrate"
_PASSWORD_VARIABLES: dict[str, str] = dict(zip(APP_LOGINS, ("GAIA_APP_PASSWORD", "GAIA_APP_PASSWORD_B"), strict=True))


@dataclass(frozen=True, kw_only=True)
class MigrationJobArgs:
    reach: Reach
    image: str
    job: settings.MigrationJob
    rotation: Rotation
    account: str
    app_login: str
    """The login whose turn it is."""
    other_login: str
    iam_logins: Mapping[str, str]
    """The logins without a password, and the role that each gets the rights of."""
    revision: str
    """The revision that this checkout ends at."""
    apis: Apis
    after: Sequence[pulumi.Resource]
    """All that the job needs: database, users, secrets, bindings."""


class MigrationJob(pulumi.ComponentResource):
    """Where image, revision, a turn or the logins change, ``up`` runs the job, waits for it, and fails with it."""

    job: cloudrunv2.Job
    revision: pulumi.Output[str]
    """The revision the database is at; waits for the job."""

    def __init__(self, name: str, args: MigrationJobArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:MigrationJob", name, {}, opts)
        place = args.reach.place
        work = Work(
            image=args.image,
            arguments=["-m", "migrations", "upgrade"],
            account=args.account,
            timeout_s=args.job.timeout_s,
            cpu=args.job.cpu,
            memory=args.job.memory,
            variables={
                "GAIA_INSTANCE": args.reach.instance.connection_name,
                # The migration needs time of its own after the backup.
                "GAIA_BACKUP_TIMEOUT_S": str(args.job.timeout_s // 2),
                "GAIA_IAM_LOGINS": json.dumps(args.iam_logins, sort_keys=True),
            },
            secrets={
                "db-migrator-url": "GAIA_MIGRATIONS_URL",
                "db-identity-key": "GAIA_IDENTITY_KEY",
                "db-password": _PASSWORD_VARIABLES[args.app_login],
                "db-password-other": _PASSWORD_VARIABLES[args.other_login],
            },
        )
        self.job = cloudrunv2.Job(
            "migrate",
            project=place.project,
            location=place.region,
            name=NAME,
            labels=dict(place.labels),
            template=template(args.reach, work),
            # Runs the job at each change of this text, and waits for it. After a failure the provider would not run it
            # again by itself: raise migration_job.run.
            run_execution_token=run_token(args.image, args.revision, args.job, args.rotation, args.iam_logins),
            # Nothing is lost with a job; the provider's default would keep it for ever.
            deletion_protection=False,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[*args.apis.of("run", "sqladmin"), *args.after], delete_before_replace=True
            ),
        )
        self.revision = self.job.id.apply(lambda _: args.revision)
        self.register_outputs({"revision": self.revision})


def run_token(
    image: str,
    revision: str,
    job: settings.MigrationJob,
    rotation: Rotation,
    iam_logins: Mapping[str, str],
) -> str:
    """The same text as long as the job has nothing new to do. With the job's name it stays below 63 characters."""
    turns = (rotation.turn, rotation.retire_previous, rotation.identity_turn, rotation.retire_previous_identity)
    said = "\n".join(map(str, (image, revision, job.run, *turns, *sorted(iam_logins.items()))))
    return "r" + hashlib.sha256(said.encode()).hexdigest()[:12]
