"""Each recorded edit of an input, and what the official plugin made of it: an update, a replacement, nothing."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.provider import comparing
from rehearsal.provider.table import Properties
from tests.unit.rehearsal import recorded
from tests.unit.rehearsal.edits import ABSENT, WORDS, edited, shape_at, value_of

ALSO: dict[str, dict[str, Any]] = {
    "settings.edition +settings.tier": {"settings.tier": "db-perf-optimized-N-2"},
    "settings.disk_size +settings.disk_autoresize": {"settings.disk_autoresize": False},
    "type +labels,sensitive_labels": {"labels": {"channel_name": "#x"}, "sensitive_labels": {"auth_token": "x"}},
    "is_secret_data_base64 +secret_data": {"secret_data": "eA=="},
    "format +docker_config": {"docker_config": ABSENT},
    "instance_type +master_instance_name": {"master_instance_name": ABSENT},
    "metric_descriptor.value_type +value_extractor": {"value_extractor": "EXTRACT(x)"},
    "purpose +rotation_period,version_template": {"rotation_period": ABSENT},
    "type +password,name": {"password": ABSENT, "name": "a@example.com"},
    "metric_descriptor.labels +label_extractors": {"label_extractors": {"other": "EXTRACT(x)"}},
    "rotation +topics": {"topics": [{"name": "projects/p/topics/t"}]},
    "start_execution_token +run_execution_token": {"run_execution_token": ABSENT},
}
"""What a row changes besides; the table names it without its value."""


def _rows() -> list[Any]:
    try:
        found = recorded.rows("replace.csv")
    except pytest.skip.Exception:
        return []
    return [pytest.param(row, id=f"{row['type']}-{row['property']}-{row['to']}"[:90]) for row in found]


ROWS = _rows()


def test_the_recorded_edits_are_here() -> None:
    recorded.rows("replace.csv")
    assert len(ROWS) > 110


def before_and_after(row: dict[str, str]) -> tuple[recorded.Subject, Properties, Properties, Properties]:
    """The resource, its inputs before, its state, and its inputs after the edit."""
    subject = recorded.subject(row["type"])
    path, _, others = row["property"].partition(" +")
    shape = shape_at(subject.kind.inputs, [recorded.camel(part) for part in path.split(".")])
    inputs, state = subject.inputs, subject.state
    plain = row["from"].removesuffix("(default)")
    if plain not in WORDS and not plain.startswith("(") and " " not in plain[:8] and plain not in NOT_VALUES:
        old = value_of(plain, shape)
        inputs, state = edited(subject.kind, inputs, path, old), edited(subject.kind, state, path, old)
    new = value_of(row["to"], shape)
    if new is None or row["to"].startswith("new-"):
        new = "something else"
    news = edited(subject.kind, inputs, path, new)
    for name in filter(None, others.split(",")):
        value = ALSO.get(row["property"], {}).get(name, ABSENT)
        news = edited(subject.kind, news, name, value)
    return subject, inputs, state, news


NOT_VALUES = ("userManaged", "conn", "threshold", "sev", "run url", "v2", "orders-vpc", ":2", "2030", "until-2030")
"""What the column ``from`` says in words."""


@pytest.mark.parametrize("row", ROWS)
def test_an_edit_has_the_recorded_verdict(row: dict[str, str]) -> None:
    subject, inputs, state, news = before_and_after(row)
    # Nothing edited, nothing to do: the state says what the inputs say.
    assert comparing.changes(subject.kind, state, inputs, inputs) == []
    found = comparing.changes(subject.kind, state, inputs, news)
    verdict = "replace" if any(each.replaces for each in found) else "update" if found else "no-change"
    assert verdict == row["verdict"], [each.path for each in found]
