"""What Logging refuses."""

from __future__ import annotations

import re

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_REST = "https://cloud.google.com/logging/docs/reference/v2/rest/v2"
_CREATE, _UPDATE = "logging.projects.metrics.create", "logging.projects.metrics.update"


def _name(call: Call) -> Details | None:
    given = call.body.get("name", "")
    right = re.fullmatch(r"[A-Za-z0-9_\-.,+!*',()%/]{1,100}", given) and not given.startswith("/")
    return None if right else {"given": given}


def _filter(call: Call) -> Details | None:
    given = call.body.get("filter", "")
    text = re.sub(r'"(\\.|[^"\\])*"', "", given)
    if not given:
        return {"what": "Filter is required"}
    if '"' in text or text.count("(") != text.count(")"):
        return {"what": f"Unparseable filter: {given}"}
    return None


def _labels(call: Call) -> Details | None:
    extracted = set(call.body.get("labelExtractors", {}))
    described = {label["key"] for label in call.body.get("metricDescriptor", {}).get("labels", [])}
    return {"what": ", ".join(sorted(extracted ^ described))} if extracted != described else None


add(
    Rule(
        key="metric-name",
        methods=(_CREATE, _UPDATE),
        message="Metric name '{given}' is invalid: at most 100 of A-Z, a-z, 0-9 and _-.,+!*',()%/, no / first.",
        source=f"{_REST}/projects.metrics#LogMetric.FIELDS.name",
        check=_name,
    ),
    Rule(
        key="metric-filter",
        methods=(_CREATE, _UPDATE),
        message="{what}",
        source="https://cloud.google.com/logging/docs/view/logging-query-language (quotes and brackets are looked at)",
        check=_filter,
    ),
    Rule(
        key="metric-labels",
        methods=(_CREATE, _UPDATE),
        message="The labels of the descriptor and of the extractors differ: {what}.",
        source=f"{_REST}/projects.metrics#LogMetric.FIELDS.label_extractors",
        check=_labels,
    ),
    Rule(
        key="metric-exists",
        methods=(_CREATE,),
        message="Metric {name} already exists.",
        source=f"{_REST}/projects.metrics/create",
        code=409,
    ),
    Rule(
        key="metric-missing",
        methods=(),
        message="Metric {name} does not exist.",
        source=f"{_REST}/projects.metrics/get",
        code=404,
    ),
    Rule(
        key="entry-log-name",
        methods=("logging.entries.write",),
        message="Log entry is missing a log_name.",
        source=f"{_REST}/entries/write#request-body",
    ),
    Rule(
        key="entry-filter",
        methods=("logging.entries.list",),
        message="The rehearsal reads entries by logName alone, and not by: {filter}",
        source="rehearsal: the language of Logging's filters isn't modelled",
        code=501,
    ),
)
