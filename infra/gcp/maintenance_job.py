"""The scheduled job that makes the partitions of the months ahead, and detaches those past their retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from infra.gcp import bindings, settings
from infra.gcp.access import Access
from infra.gcp.apis import Apis
from infra.gcp.database_job import Reach, Work, template
from infra.gcp.sdk import cloudrunv2, cloudscheduler

NAME = "gaia-db-maintain"


@dataclass(frozen=True, kw_only=True)
class MaintenanceJobArgs:
    reach: Reach
    image: str
    job: settings.MaintenanceJob
    chat_months: int | None
    audit_months: int | None
    access: Access
    apis: Apis
    after: Sequence[pulumi.Resource]


class MaintenanceJob(pulumi.ComponentResource):
    """``python -m migrations maintain``, started by the scheduler as an account that may do nothing else."""

    def __init__(self, name: str, args: MaintenanceJobArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:MaintenanceJob", name, {}, opts)
        place, access = args.reach.place, args.access
        work = Work(
            image=args.image,
            arguments=["-m", "migrations", "maintain", "--json", *_retention(args)],
            account=access.email("migrate"),
            timeout_s=args.job.timeout_s,
            cpu="1",
            memory="512Mi",
            variables={},
            secrets={"db-migrator-url": "GAIA_MIGRATIONS_URL"},
        )
        job = cloudrunv2.Job(
            "maintain",
            project=place.project,
            location=place.region,
            name=NAME,
            labels=dict(place.labels),
            template=template(args.reach, work),
            deletion_protection=False,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[*args.apis.of("run"), *args.after], delete_before_replace=True
            ),
        )
        invoker = cloudrunv2.JobIamMember(
            bindings.SCHEDULER_MAINTAINS.name,
            project=place.project,
            location=place.region,
            name=job.name,
            role=bindings.SCHEDULER_MAINTAINS.role,
            member=access.member("maintain"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        cloudscheduler.Job(
            "maintain-schedule",
            project=place.project,
            region=place.region,
            name=NAME,
            description="Makes the database's partitions of the months ahead",
            schedule=args.job.schedule,
            time_zone=args.job.time_zone,
            attempt_deadline="60s",
            retry_config=cloudscheduler.JobRetryConfigArgs(retry_count=3, min_backoff_duration="60s"),
            http_target=cloudscheduler.JobHttpTargetArgs(
                http_method="POST",
                uri=job.name.apply(
                    lambda job_name: (
                        f"https://run.googleapis.com/v2/projects/{place.project}/locations/{place.region}/jobs/{job_name}:run"
                    )
                ),
                # Google's own APIs take an OAuth token; an OIDC token is for services.
                oauth_token=cloudscheduler.JobHttpTargetOauthTokenArgs(service_account_email=access.email("maintain")),
            ),
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[*args.apis.of("cloudscheduler"), invoker, access.accounts["maintain"]]
            ),
        )
        self.register_outputs({})


def _retention(args: MaintenanceJobArgs) -> list[str]:
    months = {"chat": args.chat_months, "audit": args.audit_months}
    return [part for what, kept in months.items() if kept for part in (f"--{what}-retention-months", str(kept))]
