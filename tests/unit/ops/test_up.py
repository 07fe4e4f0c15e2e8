"""The engine's events in words: what is done, what drifted, and nothing about what nobody asked for."""

from __future__ import annotations

from typing import Any

import pytest

from engine.stack import Summary
from infra import settings
from ops import progress, stacks, up
from ops.exits import Refused, UsageFault
from ops.report import Report, Working


class _Heard(Working):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(Report(), None, None)
        self.moving: list[str] = []
        self.lines: list[str] = []

    def now(self, what: str) -> None:
        self.moving.append(what)

    def done(self, what: str) -> None:
        self.lines.append(what)


SCHEMA = "pulumi-python:dynamic/gaia:Schema"


def metadata(op: str = "refresh", type_: str = SCHEMA, name: str = "schema", **more: Any) -> dict[str, Any]:
    return {"op": op, "type": type_, "urn": f"urn:pulumi:local::gaia-db::gaia:local:X${type_}::{name}", **more}


def told(*steps: tuple[str, dict[str, Any]], preview: bool = False) -> tuple[progress.Progress, _Heard]:
    heard = _Heard()
    teller = progress.Progress(heard, preview=preview)
    for event, data in steps:
        teller({event: {"metadata": data}})
    return teller, heard


def drift(old: dict[str, Any], new: dict[str, Any], *, gone: bool = False) -> str:
    return progress._drift(metadata(old={"id": "x", "outputs": old}, new={"id": "" if gone else "x", "outputs": new}))


@pytest.mark.parametrize(
    ("type_", "spoken"),
    [
        (SCHEMA, "Schema postgres"),
        ("docker:index/container:Container", "Container postgres"),
        ("gaia:local:PostgresContainer", "PostgresContainer postgres"),
    ],
)
def test_a_resource_is_spoken_of_by_kind_and_name(type_: str, spoken: str) -> None:
    assert progress._spoken(metadata(type_=type_, name="postgres")) == spoken


# --- drift ---


def test_what_is_as_it_was_has_not_drifted() -> None:
    same = {"revision": "0002", "status": "running", "image": "sha256:1"}
    assert drift(same, same) == ""
    assert progress._drift(metadata()) == ""
    assert progress._drift(metadata(old=None, new=None)) == ""


def test_what_was_removed_is_gone() -> None:
    assert drift({"status": "running"}, {}, gone=True) == "is gone"


def test_a_server_that_was_stopped_is_said_to_be() -> None:
    assert drift({"status": "running"}, {"status": "stopped"}) == "is stopped"


def test_a_database_at_another_revision_is_going_to_head_again() -> None:
    assert drift({"revision": "0002"}, {"revision": "0001"}) == "is at revision 0001, not 0002; going to head again"


def test_a_database_that_does_not_answer_cannot_be_asked() -> None:
    assert drift({"revision": "0002"}, {"revision": None}) == "can't be asked"


def test_changed_properties_are_named_in_order() -> None:
    assert drift({"ports": 1, "image": "a"}, {"ports": 2, "image": "b"}) == "changed: image, ports"


@pytest.mark.parametrize("name", ["networkDatas", "ipAddress", "hostname", "bridge"])
def test_what_changes_with_every_start_is_no_drift(name: str) -> None:
    assert drift({name: "a"}, {name: "b"}) == ""


# --- progress ---


def test_an_up_tells_each_step_once_it_is_done() -> None:
    progress, heard = told(
        ("resourcePreEvent", metadata("create")),
        ("resOutputsEvent", metadata("create")),
        ("resourcePreEvent", metadata("update", name="other")),
        ("resOutputsEvent", metadata("update", name="other")),
    )
    assert heard.moving == ["creating Schema schema", "updating Schema other"]
    assert heard.lines == ["  created Schema schema", "  updated Schema other"]
    assert progress.steps == []


def test_a_replacement_is_one_step() -> None:
    parts = ("create-replacement", "replace", "delete-replaced")
    _, heard = told(*(("resOutputsEvent", metadata(op)) for op in parts))
    assert heard.lines == ["  replaced Schema schema", "  deleted the old Schema schema"]
    progress, _ = told(*(("resourcePreEvent", metadata(op)) for op in parts), preview=True)
    assert progress.steps == ["replace Schema schema"]


def test_a_preview_lists_the_steps_with_their_reasons_and_does_nothing() -> None:
    progress, heard = told(
        ("resourcePreEvent", metadata("create")),
        ("resourcePreEvent", metadata("update", name="b", detailedDiff={"z": {}, "a": {}})),
        ("resourcePreEvent", metadata("replace", name="c", keys=["image"], detailedDiff={"x": {}})),
        ("resourcePreEvent", metadata("same", name="d")),
        ("resourcePreEvent", metadata("refresh", name="e")),
        ("resOutputsEvent", metadata("create")),
        preview=True,
    )
    assert progress.steps == ["create Schema schema", "update Schema b (a, z)", "replace Schema c (image)"]
    assert heard.lines == []


@pytest.mark.parametrize("preview", [True, False])
def test_drift_is_kept_and_told_where_it_is_mended(preview: bool) -> None:
    outputs: dict[str, Any] = {
        "old": {"id": "x", "outputs": {"status": "running"}},
        "new": {"id": "x", "outputs": {"status": "stopped"}},
    }
    progress, heard = told(
        ("resOutputsEvent", metadata(**outputs)), ("resOutputsEvent", metadata(name="fine")), preview=preview
    )
    assert progress.drift == ["Schema schema is stopped"]
    assert heard.lines == ([] if preview else ["  Schema schema is stopped"])


@pytest.mark.parametrize("type_", ["pulumi:pulumi:Stack", "pulumi:providers:docker"])
def test_the_stack_and_its_providers_are_not_spoken_of(type_: str) -> None:
    steps = [(event, metadata("create", type_)) for event in ("resourcePreEvent", "resOutputsEvent")]
    for preview in (True, False):
        progress, heard = told(*steps, preview=preview)
        assert (progress.steps, heard.moving, heard.lines) == ([], [], [])


def test_what_does_not_change_and_what_is_unknown_is_passed_over() -> None:
    progress, heard = told(("resOutputsEvent", metadata("same")), ("resOutputsEvent", metadata("discard")))
    progress({"summaryEvent": {}})
    progress({"resourcePreEvent": {}})
    progress({})
    assert (progress.steps, heard.moving, heard.lines) == ([], [], [])


# --- the command line's values ---


@pytest.mark.parametrize(
    ("change", "pair"),
    [
        ("database.port=5433", ("database.port", "5433")),
        ("gaia-db:database.port=5433", ("database.port", "5433")),
        ("docker.image=a=b", ("docker.image", "a=b")),
        ("gcp.project=", ("gcp.project", "")),
    ],
)
def test_a_change_is_a_key_and_a_value(change: str, pair: tuple[str, str]) -> None:
    assert up.pair(change) == pair


@pytest.mark.parametrize("change", ["database.port", "=5433", "", "="])
def test_a_change_without_key_or_value_is_refused_with_an_example(change: str) -> None:
    with pytest.raises(UsageFault, match=r"must be KEY=VALUE, such as database\.port=5433"):
        up.pair(change)


def test_losing_data_is_refused_where_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_somebody_is_there", lambda: False)
    with pytest.raises(Refused, match=r"This deletes everything\. Say so with --yes"):
        stacks.confirm("This deletes everything.", "local")


@pytest.mark.parametrize(("answer", "goes_on"), [("local", True), ("", False), ("y", False), ("Local", False)])
def test_losing_data_needs_the_stacks_name_typed(monkeypatch: pytest.MonkeyPatch, answer: str, goes_on: bool) -> None:
    monkeypatch.setattr(stacks, "_somebody_is_there", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *arguments, **options: answer)
    if goes_on:
        stacks.confirm("?", "local")
    else:
        with pytest.raises(Refused, match="nothing was deleted"):
            stacks.confirm("?", "local")


# --- the result ---


class _Named:
    name = "local"


@pytest.mark.parametrize(
    ("changes", "counted"), [({"same": 4}, "nothing to change"), ({"create": 2, "update": 1}, "2 created, 1 updated")]
)
def test_up_ends_with_address_revision_and_what_to_type_next(
    capsys: pytest.CaptureFixture[str], changes: dict[str, int], counted: str
) -> None:
    outputs = {
        "host": "127.0.0.1",
        "port": 5432,
        "database": "gaia",
        "schema_revision": "0002",
        "database_url": "canary",
    }
    summary = Summary(changes=changes, outputs=outputs)
    stack: Any = _Named()
    up._tell_up(Report(), stack, settings.Settings(stack="local", target="embedded"), summary)
    out = capsys.readouterr().out
    assert f"stack local is up (embedded): {counted}\n" in out
    assert "postgresql://gaia:***@127.0.0.1:5432/gaia" in out
    assert "schema at revision 0002" in out
    assert "next: ./gaia psql" in out
    assert "canary" not in out
