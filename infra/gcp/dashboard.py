"""One page with what the alerts look at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from infra.gcp.apis import Apis
from infra.gcp.conditions import Alert, Threshold
from infra.gcp.place import Place
from infra.gcp.sdk import monitoring

_COLUMNS, _WIDTH, _HEIGHT = 48, 16, 16


@dataclass(frozen=True, kw_only=True)
class DashboardArgs:
    place: Place
    title: str
    watched: Sequence[Alert]
    apis: Apis


class Dashboard(pulumi.ComponentResource):
    """A chart for each alert on a metric, with its threshold as a line."""

    def __init__(self, name: str, args: DashboardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Dashboard", name, {}, opts)
        monitoring.Dashboard(
            "dashboard",
            project=args.place.project,
            dashboard_json=json.dumps(document(args.title, args.watched), sort_keys=True),
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.apis.of("monitoring")),
        )
        self.register_outputs({})


def document(title: str, alerts: Sequence[Alert]) -> dict[str, Any]:
    """The dashboard as the API takes it: charts from left to right, three in a row."""
    charts = [
        (f"{alert.key}: {alert.title}", condition)
        for alert in alerts
        for condition in alert.conditions
        if isinstance(condition, Threshold)
    ]
    tiles = [
        {
            "xPos": index * _WIDTH % _COLUMNS,
            "yPos": index * _WIDTH // _COLUMNS * _HEIGHT,
            "width": _WIDTH,
            "height": _HEIGHT,
            "widget": {"title": name, "xyChart": _chart(condition)},
        }
        for index, (name, condition) in enumerate(charts)
    ]
    return {"displayName": f"{title}: database", "mosaicLayout": {"columns": _COLUMNS, "tiles": tiles}}


def _chart(condition: Threshold) -> dict[str, Any]:
    aggregation: dict[str, Any] = {
        "alignmentPeriod": f"{condition.period_s}s",
        "perSeriesAligner": condition.aligner,
    }
    if condition.reducer:
        aggregation |= {"crossSeriesReducer": condition.reducer, "groupByFields": list(condition.group_by)}
    query = {"timeSeriesFilter": {"filter": condition.filter, "aggregation": aggregation}}
    limit = condition.above if condition.above is not None else condition.below
    return {
        "dataSets": [{"plotType": "LINE", "timeSeriesQuery": query}],
        "thresholds": [{"value": limit}],
        "yAxis": {"scale": "LINEAR"},
    }
