"""Logical dumps to Cloud Storage, for what outlives the instance and its backups."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from infra.gcp import bindings, settings
from infra.gcp.access import Access
from infra.gcp.apis import Apis
from infra.gcp.instance import Instance
from infra.gcp.place import Place
from infra.gcp.sdk import cloudscheduler, storage

LIVE_DAYS = 4
"""An export of a weekday is moved aside after so many days: the API fails where its file exists, a week later."""


@dataclass(frozen=True, kw_only=True)
class ExportsArgs:
    place: Place
    instance_name: str
    database: str
    exports: settings.Exports
    instance: Instance
    access: Access
    apis: Apis
    after: Sequence[pulumi.Resource]
    """The database."""


class Exports(pulumi.ComponentResource):
    """A bucket, and one scheduler job a weekday that calls Cloud SQL's export API as an account of its own.

    The scheduler's body is fixed text, so a date can't be in the file's name. Each weekday has a file of its own; the
    bucket moves it aside as an old version before its day comes round, and keeps that for ``kept_days``.
    """

    bucket: storage.Bucket

    def __init__(self, name: str, args: ExportsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Exports", name, {}, opts)
        self.bucket = self._bucket(args)
        writer = storage.BucketIAMMember(
            bindings.INSTANCE_WRITES_EXPORTS.name,
            bucket=self.bucket.name,
            role=bindings.INSTANCE_WRITES_EXPORTS.role,
            member=args.instance.primary.service_account_email_address.apply(lambda email: f"serviceAccount:{email}"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        if "drill" in args.access.accounts:
            storage.BucketIAMMember(
                bindings.DRILL_READS_EXPORTS.name,
                bucket=self.bucket.name,
                role=bindings.DRILL_READS_EXPORTS.role,
                member=args.access.member("drill"),
                opts=pulumi.ResourceOptions(parent=self),
            )
        for day in args.exports.days:
            self._schedule(day, args, [writer, *args.after])
        self.register_outputs({"bucket": self.bucket.name})

    def _bucket(self, args: ExportsArgs) -> storage.Bucket:
        exports = args.exports
        return storage.Bucket(
            "exports",
            project=args.place.project,
            # The document's own name, gaia-db-backups, is one of the whole world's and surely taken.
            name=exports.bucket or f"{args.place.project}-gaia-db-backups",
            location=exports.location or args.place.region.upper(),
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            force_destroy=False,
            versioning=storage.BucketVersioningArgs(enabled=True),
            soft_delete_policy=storage.BucketSoftDeletePolicyArgs(retention_duration_seconds=7 * 24 * 3600),
            labels=dict(args.place.labels),
            lifecycle_rules=[
                _delete(storage.BucketLifecycleRuleConditionArgs(age=LIVE_DAYS, with_state="LIVE")),
                _delete(
                    storage.BucketLifecycleRuleConditionArgs(
                        days_since_noncurrent_time=exports.kept_days, with_state="ARCHIVED"
                    )
                ),
            ],
            opts=pulumi.ResourceOptions(parent=self, protect=args.place.protect, depends_on=args.apis.of("storage")),
        )

    def _schedule(self, day: str, args: ExportsArgs, after: Sequence[pulumi.Resource]) -> None:
        place = args.place
        path = f"projects/{place.project}/instances/{args.instance_name}/export"
        cloudscheduler.Job(
            f"export-{day.lower()}",
            project=place.project,
            region=place.region,
            name=f"gaia-db-export-{day.lower()}",
            description=f"Exports the database {args.database}",
            schedule=f"0 {args.exports.hour} * * {day}",
            time_zone="Etc/UTC",
            attempt_deadline="60s",
            # 409 while a backup runs: the export waits for it.
            retry_config=cloudscheduler.JobRetryConfigArgs(
                retry_count=5, min_backoff_duration="300s", max_backoff_duration="1800s"
            ),
            http_target=cloudscheduler.JobHttpTargetArgs(
                http_method="POST",
                uri=f"https://sqladmin.googleapis.com/v1/{path}",
                headers={"Content-Type": "application/json"},
                body=self.bucket.name.apply(lambda bucket: _body(bucket, day, args)),
                oauth_token=cloudscheduler.JobHttpTargetOauthTokenArgs(
                    service_account_email=args.access.email("export")
                ),
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[
                    *args.apis.of("cloudscheduler", "sqladmin"),
                    *args.access.granted["export"],
                    args.access.accounts["export"],
                    *after,
                ],
            ),
        )


def _delete(condition: storage.BucketLifecycleRuleConditionArgs) -> storage.BucketLifecycleRuleArgs:
    return storage.BucketLifecycleRuleArgs(
        action=storage.BucketLifecycleRuleActionArgs(type="Delete"), condition=condition
    )


def _body(bucket: str, day: str, args: ExportsArgs) -> str:
    context = {
        "fileType": "SQL",
        "uri": f"gs://{bucket}/{args.instance_name}-{day.lower()}.sql.gz",
        "databases": [args.database],
        # On a machine of its own, so that a small server goes on serving.
        "offload": True,
    }
    return base64.b64encode(json.dumps({"exportContext": context}, sort_keys=True).encode()).decode()
