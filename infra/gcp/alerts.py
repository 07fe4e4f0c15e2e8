"""Who is told when something goes wrong: channels, counters in the log, and one policy for each alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from infra.gcp import conditions, settings
from infra.gcp.apis import Apis
from infra.gcp.conditions import Alert, Condition, LogLine, Query, Silence, Threshold
from infra.gcp.place import Place
from infra.gcp.sdk import logging, monitoring

RUNBOOKS = "docs/runbooks"
_HOUR_S = 3600


@dataclass(frozen=True, kw_only=True)
class AlertsArgs:
    place: Place
    instances: Sequence[str]
    """The primary's name first, then its replicas'."""
    watched: Sequence[Alert]
    settings: settings.Alerts
    drills: bool
    """Whether somebody restores an export every night."""
    apis: Apis


class Alerts(pulumi.ComponentResource):
    """Every alert names its runbook. Nothing here is replaced when a threshold changes."""

    def __init__(self, name: str, args: AlertsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Alerts", name, {}, opts)
        self._args = args
        self._channels = [*args.settings.channels, *(channel.name for channel in self._emails())]
        metrics = self._log_metrics()
        for alert in args.watched:
            self._policy(alert, metrics)
        self.register_outputs({})

    def _emails(self) -> list[monitoring.NotificationChannel]:
        return [
            monitoring.NotificationChannel(
                f"channel-{key}",
                project=self._args.place.project,
                type="email",
                display_name=f"Gaia's database: {key}",
                labels={"email_address": email},
                opts=self._opts("monitoring"),
            )
            for key, email in sorted(self._args.settings.emails.items())
        ]

    def _log_metrics(self) -> list[pulumi.Resource]:
        counted = conditions.log_metrics(
            project=self._args.place.project, instance=self._args.instances[0], drills=self._args.drills
        )
        return [
            logging.Metric(
                f"metric-{name}",
                project=self._args.place.project,
                name=name,
                description=description,
                filter=filter_,
                metric_descriptor=logging.MetricMetricDescriptorArgs(metric_kind="DELTA", value_type="INT64", unit="1"),
                opts=self._opts("logging"),
            )
            for name, (description, filter_) in counted.items()
        ]

    def _policy(self, alert: Alert, metrics: Sequence[pulumi.Resource]) -> None:
        place = self._args.place
        from_log = any(isinstance(condition, LogLine) for condition in alert.conditions)
        monitoring.AlertPolicy(
            f"alert-{alert.key}",
            project=place.project,
            display_name=f"{self._args.instances[0]}: {alert.title}",
            severity=alert.severity,
            combiner="OR",
            conditions=[_condition(alert, condition) for condition in alert.conditions],
            notification_channels=self._channels,
            alert_strategy=monitoring.AlertPolicyAlertStrategyArgs(
                auto_close=f"{24 * _HOUR_S}s",
                # A condition on a log line is refused without a limit, and any other one with it.
                notification_rate_limit=monitoring.AlertPolicyAlertStrategyNotificationRateLimitArgs(
                    period=f"{_HOUR_S}s"
                )
                if from_log
                else None,
            ),
            documentation=self._documentation(alert),
            user_labels=dict(place.labels),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*self._args.apis.of("monitoring"), *metrics]),
        )

    def _documentation(self, alert: Alert) -> monitoring.AlertPolicyDocumentationArgs:
        file = f"{alert.key}.md"
        base = self._args.settings.runbooks_url
        runbook = f"[{RUNBOOKS}/{file}]({base}/{file})" if base else f"{RUNBOOKS}/{file}"
        links = [monitoring.AlertPolicyDocumentationLinkArgs(display_name="Runbook", url=f"{base}/{file}")]
        return monitoring.AlertPolicyDocumentationArgs(
            content=f"{alert.text}\n\nRunbook: {runbook}",
            mime_type="text/markdown",
            links=links if base else None,
        )

    def _opts(self, api: str) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=self._args.apis.of(api))


def _condition(alert: Alert, condition: Condition) -> monitoring.AlertPolicyConditionArgs:
    match condition:
        case Threshold():
            return monitoring.AlertPolicyConditionArgs(
                display_name=alert.title, condition_threshold=_threshold(condition)
            )
        case Silence():
            return monitoring.AlertPolicyConditionArgs(
                display_name=f"{alert.title}: nothing is reported",
                condition_absent=monitoring.AlertPolicyConditionConditionAbsentArgs(
                    filter=condition.filter,
                    duration=f"{condition.duration_s}s",
                    aggregations=[
                        monitoring.AlertPolicyConditionConditionAbsentAggregationArgs(
                            alignment_period="60s", per_series_aligner="ALIGN_MAX"
                        )
                    ],
                ),
            )
        case LogLine():
            return monitoring.AlertPolicyConditionArgs(
                display_name=alert.title,
                condition_matched_log=monitoring.AlertPolicyConditionConditionMatchedLogArgs(filter=condition.filter),
            )
        case Query():
            return monitoring.AlertPolicyConditionArgs(
                display_name=alert.title,
                condition_prometheus_query_language=(
                    monitoring.AlertPolicyConditionConditionPrometheusQueryLanguageArgs(
                        query=condition.promql,
                        duration="0s",
                        evaluation_interval="300s",
                        # A metric from the log is only known minutes after it was made.
                        disable_metric_validation=True,
                    )
                ),
            )


def _threshold(condition: Threshold) -> monitoring.AlertPolicyConditionConditionThresholdArgs:
    above = condition.above is not None
    return monitoring.AlertPolicyConditionConditionThresholdArgs(
        filter=condition.filter,
        comparison="COMPARISON_GT" if above else "COMPARISON_LT",
        threshold_value=condition.above if above else condition.below,
        duration=f"{condition.duration_s}s",
        aggregations=[
            monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
                alignment_period=f"{condition.period_s}s",
                per_series_aligner=condition.aligner,
                cross_series_reducer=condition.reducer,
                group_by_fields=list(condition.group_by) or None,
            )
        ],
        trigger=monitoring.AlertPolicyConditionConditionThresholdTriggerArgs(count=1),
    )
