"""What Monitoring refuses."""

from __future__ import annotations

from typing import Any

from rehearsal.cloud import metrics
from rehearsal.cloud.call import Call
from rehearsal.cloud.fields import paths
from rehearsal.cloud.rules import Details, Rule, add

_REST = "https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects"
_ALERTS = f"{_REST}.alertPolicies"
_CREATE, _PATCH = "monitoring.projects.alertPolicies.create", "monitoring.projects.alertPolicies.patch"
_CHANNEL = ("monitoring.projects.notificationChannels.create", "monitoring.projects.notificationChannels.patch")
CHANNEL_LABELS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "email": (frozenset({"email_address"}), frozenset({"email_address"})),
    "pubsub": (frozenset({"topic"}), frozenset({"topic"})),
    "slack": (frozenset({"channel_name"}), frozenset({"channel_name", "auth_token", "team"})),
    "pagerduty": (frozenset({"service_key"}), frozenset({"service_key"})),
    "webhook_tokenauth": (frozenset({"url"}), frozenset({"url"})),
    "webhook_basicauth": (frozenset({"url", "username"}), frozenset({"url", "username", "password"})),
    "sms": (frozenset({"number"}), frozenset({"number"})),
}
"""By type, the labels it needs and those that it may have."""
_KINDS = (
    "conditionThreshold",
    "conditionAbsent",
    "conditionMatchedLog",
    "conditionPrometheusQueryLanguage",
    "conditionMonitoringQueryLanguage",
    "conditionSql",
)


def _changes(call: Call, field: str) -> bool:
    """Whether the call sets the field."""
    mask = paths(call.query.get("updateMask", ""))
    return not mask or any(path.partition(".")[0] == field for path in mask)


def _conditions(call: Call) -> list[dict[str, Any]]:
    return call.body.get("conditions", []) if _changes(call, "conditions") else []


def _policy(call: Call) -> dict[str, Any]:
    """The policy as it would be after this call."""
    if call.method.id == _CREATE:
        return call.body
    kept = call.cloud.collection("monitoring.alertPolicies").get(call.name, {})
    return kept | {field: value for field, value in call.body.items() if _changes(call, field)}


def _unknown_filter(code: int) -> Any:
    def check(call: Call) -> Details | None:
        for index, condition in enumerate(_conditions(call)):
            for kind, name in (("conditionThreshold", "condition_threshold"), ("conditionAbsent", "condition_absent")):
                if kind in condition:
                    filter_ = condition[kind].get("filter", "")
                    refused = metrics.refused(call.cloud, filter_)
                    if refused and refused[0] == code:
                        return {"where": f"conditions[{index}].{name}", "filter": filter_, "what": refused[1]}
        return None

    return check


def _unknown_promql(call: Call) -> Details | None:
    for index, condition in enumerate(_conditions(call)):
        asked = condition.get("conditionPrometheusQueryLanguage", {})
        unknown = metrics.unknown_in_promql(call.cloud, asked.get("query", ""))
        if unknown and not asked.get("disableMetricValidation"):
            return {"index": index, "metric": unknown}
    return None


def _one_kind(call: Call) -> Details | None:
    for index, condition in enumerate(_conditions(call)):
        if len(set(_KINDS) & condition.keys()) != 1:
            return {"index": index}
    return None


def _no_conditions(call: Call) -> Details | None:
    return {} if _changes(call, "conditions") and not 1 <= len(call.body.get("conditions", [])) <= 6 else None


def _no_combiner(call: Call) -> Details | None:
    return None if _policy(call).get("combiner") not in (None, "COMBINE_UNSPECIFIED") else {}


def _rate_limit(call: Call) -> Details | None:
    policy = _policy(call)
    from_log = any("conditionMatchedLog" in condition for condition in policy.get("conditions", []))
    limited = bool(policy.get("alertStrategy", {}).get("notificationRateLimit"))
    if from_log and not limited:
        return {"what": "Alert policies with a log match condition must have a notification rate limit"}
    if limited and not from_log:
        return {"what": "A notification rate limit is only allowed with a log match condition"}
    return None


def _log_alone(call: Call) -> Details | None:
    conditions = _policy(call).get("conditions", [])
    return {} if len(conditions) > 1 and any("conditionMatchedLog" in each for each in conditions) else None


def _seconds(text: str | None) -> float | None:
    return float(text.removesuffix("s")) if text else None


def _auto_close(call: Call) -> Details | None:
    given = _seconds(_policy(call).get("alertStrategy", {}).get("autoClose"))
    return None if given is None or 1800 <= given <= 7 * 86_400 else {"given": given}


def _absent_duration(call: Call) -> Details | None:
    for condition in _conditions(call):
        given = _seconds(condition.get("conditionAbsent", {}).get("duration"))
        if given is not None and not 120 <= given <= 84_600:
            return {"given": f"{given:g}s"}
    return None


def _unknown_channel(call: Call) -> Details | None:
    known = call.cloud.collection("monitoring.channels")
    for each in call.body.get("notificationChannels", []) if _changes(call, "notificationChannels") else []:
        if call.cloud.canonical(each) not in known:
            return {"given": each}
    return None


def _channel_type(call: Call) -> Details | None:
    given = _channel_value(call, "type")
    return None if given in CHANNEL_LABELS else {"given": given}


def _channel_labels(call: Call) -> Details | None:
    needed, allowed = CHANNEL_LABELS.get(_channel_value(call, "type"), (frozenset(), frozenset()))
    given = set(_channel_value(call, "labels") or {})
    if missing := needed - given:
        return {"what": f"missing label '{min(missing)}'"}
    if more := given - allowed:
        return {"what": f"unknown label '{min(more)}'"}
    return None


def _channel_value(call: Call, field: str) -> Any:
    kept = call.cloud.collection("monitoring.channels").get(call.name, {})
    return call.body.get(field, kept.get(field))


def _email(call: Call) -> Details | None:
    if _channel_value(call, "type") != "email":
        return None
    given = (_channel_value(call, "labels") or {}).get("email_address", "")
    name, _, domain = given.partition("@")
    return None if name and "." in domain else {"given": given}


add(
    Rule(
        key="alert-conditions",
        methods=(_CREATE, _PATCH),
        message="Field alert_policy.conditions had an invalid value: must have between 1 and 6 conditions.",
        source=f"{_ALERTS}#AlertPolicy.FIELDS.conditions",
        check=_no_conditions,
    ),
    Rule(
        key="alert-condition-kind",
        methods=(_CREATE, _PATCH),
        message="Field alert_policy.conditions[{index}] had an invalid value: must have exactly one condition.",
        source=f"{_ALERTS}#Condition (a union field)",
        check=_one_kind,
    ),
    Rule(
        key="alert-combiner",
        methods=(_CREATE, _PATCH),
        message="Field alert_policy.combiner had an invalid value: must be specified.",
        source=f"{_ALERTS}#ConditionCombinerType",
        check=_no_combiner,
    ),
    Rule(
        key="alert-filter",
        methods=(_CREATE, _PATCH),
        message='Field alert_policy.{where}.filter had an invalid value of "{filter}": {what}',
        source="https://cloud.google.com/monitoring/api/v3/filters; known ones: rehearsal/cloud/metrics.py",
        check=_unknown_filter(400),
    ),
    Rule(
        key="alert-metric",
        methods=(_CREATE, _PATCH),
        message="{what}",
        source="hashicorp/terraform-provider-google issue 11102, where the API says so",
        check=_unknown_filter(404),
        code=404,
    ),
    Rule(
        key="alert-promql-metric",
        methods=(_CREATE, _PATCH),
        message="Field alert_policy.conditions[{index}].condition_prometheus_query_language.query had an invalid "
        "value: the metric '{metric}' does not exist; to save it all the same, set disable_metric_validation.",
        source=f"{_ALERTS}#PrometheusQueryLanguageCondition.FIELDS.disable_metric_validation",
        check=_unknown_promql,
    ),
    Rule(
        key="alert-rate-limit",
        methods=(_CREATE, _PATCH),
        message="Field alert_policy.alert_strategy.notification_rate_limit had an invalid value: {what}.",
        source=f"{_ALERTS}#NotificationRateLimit (required for log-based ones, not allowed for others)",
        check=_rate_limit,
    ),
    Rule(
        key="alert-log-alone",
        methods=(_CREATE, _PATCH),
        message="Field alert_policy.conditions had an invalid value: a log match condition must be the only one.",
        source=f"{_ALERTS}#LogMatch",
        check=_log_alone,
    ),
    Rule(
        key="alert-auto-close",
        methods=(_CREATE, _PATCH),
        message="Field alert_policy.alert_strategy.auto_close had an invalid value: must be between 1800s and 604800s.",
        source="https://cloud.google.com/monitoring/alerts/concepts-indepth#close-incident",
        check=_auto_close,
    ),
    Rule(
        key="alert-absence",
        methods=(_CREATE, _PATCH),
        message='Field alert_policy.conditions.condition_absent.duration had an invalid value of "{given}": must be '
        "between 120s and 84600s.",
        source=f"{_ALERTS}#MetricAbsence and https://cloud.google.com/monitoring/alerts/types-of-conditions",
        check=_absent_duration,
    ),
    Rule(
        key="alert-channel",
        methods=(_CREATE, _PATCH),
        message="Field alert_policy.notification_channels had an invalid value: {given} does not exist.",
        source=f"{_ALERTS}#AlertPolicy.FIELDS.notification_channels",
        code=404,
        check=_unknown_channel,
    ),
    Rule(
        key="channel-type",
        methods=_CHANNEL,
        message='Field notification_channel.type had an invalid value of "{given}": unknown channel type.',
        source=f"{_REST}.notificationChannelDescriptors",
        check=_channel_type,
    ),
    Rule(
        key="channel-labels",
        methods=_CHANNEL,
        message="Field notification_channel.labels had an invalid value: {what}.",
        source=f"{_REST}.notificationChannelDescriptors",
        check=_channel_labels,
    ),
    Rule(
        key="channel-email",
        methods=_CHANNEL,
        message="Field notification_channel.labels['email_address'] had an invalid value of \"{given}\".",
        source=f"{_REST}.notificationChannels#NotificationChannel.FIELDS.labels",
        check=_email,
    ),
    Rule(
        key="channel-in-use",
        methods=("monitoring.projects.notificationChannels.delete",),
        message="Channel {name} is used by {user}; to delete it all the same, set force.",
        source=f"{_REST}.notificationChannels/delete#query-parameters",
        status="FAILED_PRECONDITION",
    ),
    Rule(
        key="channel-missing",
        methods=(),
        message="Notification channel {name} does not exist.",
        source=f"{_REST}.notificationChannels/get",
        code=404,
    ),
    Rule(
        key="policy-missing",
        methods=(),
        message="Alert policy {name} does not exist.",
        source=f"{_ALERTS}/get",
        code=404,
    ),
    Rule(
        key="dashboard-exists",
        methods=("monitoring.projects.dashboards.create",),
        message="Dashboard {name} already exists.",
        source="https://cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.dashboards/create",
        code=409,
    ),
    Rule(
        key="dashboard-missing",
        methods=(),
        message="Dashboard {name} does not exist.",
        source="https://cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.dashboards/get",
        code=404,
    ),
    Rule(
        key="dashboard-etag",
        methods=("monitoring.projects.dashboards.patch",),
        message="The etag is not the current one: somebody else changed the dashboard.",
        source="https://cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.dashboards#Dashboard.FIELDS.etag",
        code=409,
        status="ABORTED",
    ),
)
