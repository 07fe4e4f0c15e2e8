"""``./gaia up``, ``preview`` and ``destroy``: the engine's operations, with what a person needs around them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from engine import checkout as places
from engine import locks
from ops import stacks
from ops.exits import Missing, Refused, UsageFault
from ops.report import Report, Working

if TYPE_CHECKING:
    from engine.checkout import Checkout
    from engine.stack import Event, Pending, Stack, Summary
    from infra.settings import Settings

_VERBS = {
    "create": ("creating", "created"),
    "update": ("updating", "updated"),
    "delete": ("deleting", "deleted"),
    "replace": ("replacing", "replaced"),
    "create-replacement": ("creating", ""),
    "delete-replaced": ("deleting", "deleted the old"),
    "refresh": ("looking at", ""),
    "read": ("reading", ""),
    "import": ("taking over", "took over"),
}
_PARTS = frozenset({"refresh", "same", "read", "create-replacement", "delete-replaced"})
"""Operations that change nothing, or are parts of one that is named."""
_COUNTED = (
    ("create", "created"),
    ("update", "updated"),
    ("replace", "replaced"),
    ("delete", "deleted"),
    ("import", "taken over"),
)


def up(report: Report, *, stack_name: str | None, changes: list[str], restore_state: bool) -> None:
    """Bring the stack up, or back up: see ``cli`` for what a person reads."""
    checkout = places.here()
    places.prepare(checkout)
    name = stack_name or _choose(checkout, report)
    pairs = [_pair(change) for change in changes]
    if name not in checkout.stacks():
        raise UsageFault(f"there is no stack {name}: no file Pulumi.{name}.yaml; known: {', '.join(checkout.stacks())}")
    with (
        report.working("settings") as working,
        locks.held(checkout, name, "./gaia up", report.say) as run,
        _with_changes(checkout, name, pairs) as settings,
    ):
        stack = stacks.with_engine(checkout, name, report.long)
        if restore_state:
            kept = stack.restore_state()
            report.say(f"went back to the state before the last change; the damaged one is kept: {kept}")
        _require_same_database(stack, settings)
        with ThreadPoolExecutor() as aside:
            # Deriving a new stack's key takes half a second, which is as long as asking Docker.
            made = aside.submit(stack.make)
            _require_target(stack, settings, report)
            _require_port(stack, settings)
            made.result()
        stacks.remember(checkout, name)
        _settle(stack, settings, run.run_id, report)
        working.now("starting the engine")
        summary = stack.run("up", run.run_id, "--refresh", on_event=_Progress(working))
    _tell_up(report, stack, settings, summary)


def preview(report: Report, *, stack_name: str | None, refresh: bool) -> None:
    """What ``up`` would do; with ``refresh`` the server is looked at first."""
    checkout = places.here()
    places.prepare(checkout)
    name = stack_name or _choose(checkout, report)
    with report.working("settings") as working:
        settings = stacks.read_settings(checkout, name)
        stack = stacks.with_engine(checkout, name, report.long)
        _require_target(stack, settings, report)
        with locks.held(checkout, name, "./gaia preview", report.say) as run:
            stack.make()
            progress = _Progress(working, preview=True)
            working.now("starting the engine")
            flags = ["--refresh"] if refresh else []
            summary = stack.run("preview", run.run_id, *flags, on_event=progress)
    lines = [*(f"drift: {line}" for line in progress.drift), *progress.steps]
    text = "\n".join(lines) if lines else "no changes"
    document = {
        "ok": True,
        "stack": name,
        "target": settings.target,
        "changes": dict(summary.changes),
        "drift": progress.drift,
        "steps": progress.steps,
        "seconds": report.seconds,
    }
    report.result(text, document)


def destroy(report: Report, *, stack_name: str | None, purge: bool, yes: bool) -> None:
    """Stop the server and forget the stack; with ``purge`` its data goes too."""
    stack = stacks.open_stack(stack_name, report.long)
    settings = stacks.read_settings(stack.checkout, stack.name)
    if purge and not yes:
        stacks.confirm(f"This deletes all data of stack {stack.name}, for good.", stack.name)
    with (
        report.working("destroying") as working,
        locks.held(stack.checkout, stack.name, "./gaia destroy", report.say) as run,
    ):
        _require_target(stack, settings, report)
        made = stack.state_file.exists() if stack.has_own_backend else True
        deleted = 0
        if made:
            stack.make()
            _settle(stack, settings, run.run_id, report)
            deleted = stack.run("destroy", run.run_id, on_event=_Progress(working)).changes.get("delete", 0)
        if purge:
            working.now("removing the data")
            _purge(stack, settings)
            if made:
                stack.remove()
        stacks.forget(stack.checkout, stack.name)
    kept = "its data is gone" if purge else f"its data is kept; ./gaia up --stack {stack.name} brings it back"
    text = f"stack {stack.name} destroyed in {report.seconds:.1f} s; {kept}"
    report.result(
        text, {"ok": True, "stack": stack.name, "deleted": deleted, "purged": purge, "seconds": report.seconds}
    )


class _Progress:
    """Turns the engine's events into words."""

    def __init__(self, working: Working, *, preview: bool = False) -> None:
        self._working = working
        self._preview = preview
        self._refreshing = True
        self.steps: list[str] = []
        self.drift: list[str] = []

    def __call__(self, event: Event) -> None:
        if metadata := (event.get("resourcePreEvent") or {}).get("metadata"):
            self._begun(metadata)
        elif metadata := (event.get("resOutputsEvent") or {}).get("metadata"):
            self._ended(metadata)

    def _begun(self, metadata: dict[str, Any]) -> None:
        verb = _VERBS.get(metadata["op"])
        if verb and not _silent(metadata):
            self._working.now(f"{verb[0]} {_spoken(metadata)}")
            if self._preview and metadata["op"] not in _PARTS:
                self.steps.append(f"{metadata['op']} {_spoken(metadata)}{_because(metadata)}")

    def _ended(self, metadata: dict[str, Any]) -> None:
        operation = metadata["op"]
        if _silent(metadata):
            return
        if operation == "refresh":
            if drift := _drift(metadata):
                self.drift.append(f"{_spoken(metadata)} {drift}")
                if not self._preview:
                    self._working.done(f"  {_spoken(metadata)} {drift}")
        elif (verb := _VERBS.get(operation)) and verb[1] and not self._preview:
            # What is retained leaves the stack, not the machine.
            kept = operation == "delete" and (metadata.get("old") or {}).get("retainOnDelete")
            self._working.done(f"  {'kept' if kept else verb[1]} {_spoken(metadata)}")


def _spoken(metadata: dict[str, Any]) -> str:
    kind = metadata["type"].rsplit(":", 1)[-1]
    return f"{kind} {metadata['urn'].rsplit('::', 1)[-1]}"


def _silent(metadata: dict[str, Any]) -> bool:
    return metadata["type"].startswith(("pulumi:pulumi:", "pulumi:providers:"))


def _drift(metadata: dict[str, Any]) -> str:
    """What the refresh found changed since the last run, in words; empty where nothing."""
    before, new = metadata.get("old") or {}, metadata.get("new") or {}
    if before.get("id") and not new.get("id"):
        return "is gone"
    old = before.get("outputs") or {}
    now = new.get("outputs") or {}
    if "revision" in old and old.get("revision") != now.get("revision"):
        if now.get("revision") is None:
            return "can't be asked"
        return f"is at revision {now['revision']}, not {old.get('revision')}; going to head again"
    if old.get("status") != now.get("status"):
        return f"is {now.get('status')}"
    changed = sorted(key for key in {*old, *now} if key in _TELLING and old.get(key) != now.get(key))
    return f"changed: {', '.join(changed)}" if changed else ""


_TELLING = frozenset({"mustRun", "ports", "image", "envs", "networksAdvanced", "volumes", "labels", "name"})
"""Properties whose change outside the program matters; others, such as an address, come and go with each start."""


def _because(metadata: dict[str, Any]) -> str:
    keys = metadata.get("keys") or sorted((metadata.get("detailedDiff") or {}).keys())
    return f" ({', '.join(keys)})" if keys else ""


def _choose(checkout: Checkout, report: Report) -> str:
    """The stack that is up; else ``dev`` where Docker and its plugin are to be had, else ``local``; says why."""
    if name := stacks.chosen(checkout):
        return name
    from engine.plugins import docker_plugin
    from infra.local import docker_engine
    from infra.local.errors import LocalError

    try:
        docker_engine.connect(os.environ).close()
    except LocalError as error:
        report.say(f"stack local: {str(error).split(': ', 1)[0]}")
        return "local"
    engine = stacks.with_engine(checkout, "dev", report.long)
    missing = docker_plugin(engine, say=report.long)
    if missing:
        report.say(f"stack local: a Docker engine answers, but its plugin can't be had ({missing})")
        return "local"
    report.say("stack dev: a Docker engine answers")
    return "dev"


def _require_target(stack: Stack, settings: Settings, report: Report) -> None:
    """Raise what is missing for the stack's target, before the engine starts."""
    if settings.target == "gcp":
        raise UsageFault(f"Pulumi.{stack.name}.yaml: target: the resources of gcp are not declared yet")
    if settings.target == "docker":
        from engine.plugins import docker_plugin
        from infra.local import docker_engine

        docker_engine.connect(os.environ).close()
        if missing := docker_plugin(stack, say=report.long):
            raise Missing(f"the engine's Docker plugin can't be had ({missing}): use ./gaia up --stack local")
    else:
        from infra.local import postgres

        postgres.packaged_binaries()


def _require_port(stack: Stack, settings: Settings) -> None:
    """Raise ``PortTaken`` before Docker would leave a half-made container behind."""
    if settings.docker is None:
        return  # the embedded server's provider looks itself
    from infra.local import docker_engine, ports

    client = docker_engine.connect(os.environ)
    try:
        published_by = docker_engine.publisher(client, settings.database.port)
    finally:
        client.close()
    if published_by != settings.docker.container:
        named = f"container {published_by}" if published_by else None
        ports.require_free(settings.docker.address, settings.database.port, holder_name=named)


def _settle(stack: Stack, settings: Settings, run_id: str, report: Report) -> None:
    """Explain and clear what a killed run left unfinished."""
    pending = stack.pending()
    if not pending:
        return
    imports: dict[str, str] = {}
    for operation in pending:
        found = _existing(settings, operation) if operation.operation == "creating" else None
        if found:
            imports[operation.urn] = found
        outcome = "it exists and is taken over" if found else "looked at again now"
        report.say(f"the last run was ended while {operation.operation} {operation.name}: {outcome}")
    stack.settle(run_id, imports)


def _existing(settings: Settings, pending: Pending) -> str | None:
    """The id under which Docker has what a killed run was creating; other resources can be made again safely."""
    if settings.docker is None or not pending.type.startswith("docker:"):
        return None
    from infra.local import docker_engine

    return docker_engine.existing_id(pending.type, str(pending.inputs.get("name", "")))


def _purge(stack: Stack, settings: Settings) -> None:
    if settings.docker is not None:
        from infra.local import docker_engine

        docker_engine.remove_volume(settings.docker.volume)
    else:
        from infra.local import postgres

        postgres.remove(postgres.locate(postgres.home_for(stack.checkout.root, stack.name)))


def _tell_up(report: Report, stack: Stack, settings: Settings, summary: Summary) -> None:
    outputs = summary.outputs
    revision = outputs.get("schema_revision")
    seconds = report.seconds
    where = f"postgresql://{settings.database.user}:***@{outputs['host']}:{outputs['port']}/{outputs['database']}"
    counted = ", ".join(f"{summary.changes[key]} {word}" for key, word in _COUNTED if summary.changes.get(key))
    lines = [
        f"stack {stack.name} is up ({settings.target}): {counted or 'nothing to change'}",
        f"  {where}",
        f"  schema at revision {revision}; {seconds:.1f} s",
        'next: ./gaia psql · ./gaia verify · eval "$(./gaia env)"',
    ]
    document = {
        "ok": True,
        "stack": stack.name,
        "target": settings.target,
        "revision": revision,
        "changes": {key: summary.changes.get(key, 0) for key, _ in _COUNTED},
        "seconds": seconds,
    }
    report.result("\n".join(lines), document)


@contextlib.contextmanager
def _with_changes(checkout: Checkout, name: str, pairs: list[tuple[str, str]]) -> Iterator[Settings]:
    """The settings with ``--set``, which is kept unless what follows fails: then all values are as before."""
    from engine import working_copy

    if not pairs:
        yield stacks.read_settings(checkout, name)
        return
    working_copy.refresh(checkout, name)
    before = checkout.working_copy(name).read_text(encoding="utf-8")
    try:
        for path, text in pairs:
            working_copy.set_value(checkout, name, path, text)
        yield stacks.read_settings(checkout, name)
    except Exception:
        working_copy.take_back(checkout, name, before)
        raise


def _require_same_database(stack: Stack, settings: Settings) -> None:
    """Raise ``Refused`` where the settings name another database than the one that is there with its data."""
    live = next(
        (entry for entry in stack.deployment().get("resources") or [] if entry["type"] == stacks.SCHEMA_TYPE), None
    )
    if live is None:
        return
    outputs = live.get("outputs") or {}
    target = "docker" if outputs.get("container") else "embedded"
    wanted = {
        "target": settings.target,
        "database.name": settings.database.name,
        "database.user": settings.database.user,
    }
    there = {"target": target, "database.name": outputs.get("database"), "database.user": outputs.get("superuser")}
    for key, value in wanted.items():
        if there[key] != value:
            raise Refused(
                f"{key}: stack {stack.name} is {there[key]} and has data, so it can't become {value}: "
                f"put {there[key]} back, or remove the data first with ./gaia destroy --purge"
            )


def _pair(change: str) -> tuple[str, str]:
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise UsageFault(f"--set {change}: must be KEY=VALUE, such as database.port=5433")
    return path.removeprefix("gaia-db:"), text
