"""Counters in the log."""

from __future__ import annotations

from rehearsal.provider.table import Properties, ResourceType


def _labels_stay(state: Properties, news: Properties) -> str | None:
    """Labels can be added to a metric, never changed or taken away."""

    def keys(found: Properties) -> dict[str, str]:
        labels = (found.get("metricDescriptor") or {}).get("labels") or []
        return {each["key"]: each.get("valueType", "STRING") for each in labels}

    before, after = keys(state), keys(news)
    return "a label of the metric is changed or taken away" if not before.items() <= after.items() else None


TYPES = (
    ResourceType(
        token="gcp:logging/metric:Metric",
        service="logging",
        collection="projects/{project}/metrics",
        item="projects/{project}/metrics/{name%}",
        id="{name}",
        source="recorded: POST, GET, PUT of the whole, DELETE; the name escaped",
        update="PUT",
        local=frozenset({"project", "deletionPolicy"}),
        unordered=frozenset({"metricDescriptor.labels"}),
        replaces=frozenset({"project"}),
        forced=(_labels_stay,),
    ),
)
