"""One stack, and what the engine can do with it: the only module that starts the engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from engine import checkout as places
from engine import locks, state_secrets, working_copy
from engine.checkout import Checkout
from engine.errors import StackMissing, StateDamaged, StateWhole
from engine.failures import explained
from engine.warm_provider import WarmProvider

Operation = Literal["up", "preview", "destroy", "refresh"]
Event = dict[str, Any]
OnEvent = Callable[[Event], None]
STACK_TYPE = "pulumi:pulumi:Stack"
_SCRATCH = "new-stack-"
CANCEL_TIMEOUT_S = 90
"""How long a cancelled run may take to write its state before it is killed."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How an operation ended."""

    changes: Mapping[str, int]
    """How many resources, without the stack itself, by operation: ``create``, ``update``, ``replace``, ``same``…"""
    outputs: Mapping[str, Any]
    """The stack's outputs as the engine shows them: secrets are masked."""
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Outputs of the resources that were touched, by type; secrets are masked."""
    drifted: tuple[str, ...] = ()
    """Names of the resources that the refresh found changed or gone."""

    @property
    def changed(self) -> int:
        """How many resources were touched at all."""
        return sum(count for operation, count in self.changes.items() if operation != "same")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource as the state has it."""

    type: str
    name: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pending:
    """An operation that a killed run began; nobody knows whether it was carried out."""

    operation: str
    """``creating``, ``updating``, ``deleting`` or ``reading``."""
    urn: str
    type: str
    inputs: Mapping[str, Any]

    @property
    def name(self) -> str:
        return _name(self.urn)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack of this checkout and the engine that works on it."""

    name: str
    checkout: Checkout
    engine: Path
    """The ``pulumi`` to run."""
    environ: Mapping[str, str]
    """The caller's environment."""

    @property
    def has_own_backend(self) -> bool:
        return places.has_own_backend(self.checkout, self.environ)

    @property
    def state_file(self) -> Path:
        """Where the checkout's own backend keeps this stack."""
        return self.checkout.state / ".pulumi" / "stacks" / places.PROJECT / f"{self.name}.json"

    def environment(self, run_id: str = "") -> dict[str, str]:
        """The environment of a run: the caller's, and what the engine needs."""
        needed = places.pulumi_environment(self.checkout, self.environ, stack=self.name, engine=self.engine)
        marked = {locks.RUN_MARK: run_id} if run_id else {}
        # A virtual environment of the caller's would lead the engine's Python astray.
        kept = {
            key: value for key, value in self.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
        }
        return {**kept, **needed, **marked}

    def make(self) -> None:
        """Make the stack in its backend unless it is there, and the files it needs in the checkout."""
        places.prepare(self.checkout)
        working_copy.refresh(self.checkout, self.name)
        if self.has_own_backend and self.state_file.exists():
            return
        # `stack init` writes the passphrase's salt beside the Pulumi.yaml it finds, whatever stack file it is told
        # to use: it finds one in a folder of its own.
        for left in self.checkout.own.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed here
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self.checkout.own) as scratch:
            copy = self.checkout.working_copy(self.name)
            working_copy.forget_salt(self.checkout, self.name)
            shutil.copyfile(self.checkout.root / "Pulumi.yaml", Path(scratch) / "Pulumi.yaml")
            shutil.copyfile(copy, Path(scratch) / copy.name)
            done = self._call("stack", "init", self.name, "--no-select", check=False, folder=Path(scratch))
            if done.returncode != 0 and "already exists" not in done.stderr:
                raise self._failure("stack init", done.stderr)
            places.write(copy, (Path(scratch) / copy.name).read_text(encoding="utf-8"), mode=0o600)

    def run(
        self,
        operation: Operation,
        run_id: str,
        *flags: str,
        provider: WarmProvider | None = None,
        on_event: OnEvent | None = None,
    ) -> Summary:
        """Run an operation and report each event of the engine. Raises ``OperationFailed`` with what went wrong.

        Ctrl-C cancels: the engine ends what it is doing and writes its state; a second one kills it.
        """
        environment = {**self.environment(run_id), "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"}
        if provider:
            environment = provider.attach(environment)
        arguments = [operation, "--json", "--non-interactive", "--stack", self.name, *flags]
        if operation != "preview":
            arguments += ["--yes", "--skip-preview"]
        collected = _Collected()
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            process = subprocess.Popen(
                [self.engine, *arguments],
                cwd=self.checkout.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            try:
                for event in _events(process):
                    collected.take(event)
                    if on_event:
                        on_event(event)
                code = process.wait()
            except BaseException:
                _cancel(process, run_id)
                raise
            finally:
                if process.stdout:
                    process.stdout.close()
            said.seek(0)
            stderr = said.read() + (provider.said() if provider else "")
        if code != 0 or collected.failures:
            raise self._failure(operation, "\n".join([*collected.failures, stderr]), collected.failures)
        return collected.summary()

    def outputs(self, *, show_secrets: bool) -> dict[str, Any]:
        """The stack's outputs. Raises ``StackMissing`` where it was never made."""
        return json.loads(self._call("stack", "output", "--json", *(["--show-secrets"] if show_secrets else [])).stdout)

    def resources(self, *, timeout_s: float | None = None) -> list[Resource]:
        """The stack's resources with their outputs, secrets in plain text. Raises ``StackMissing``.

        With ``timeout_s`` also ``subprocess.TimeoutExpired``, after the engine was ended.
        """
        try:
            deployment = self._opened()
        except state_secrets.NotOpened:
            exported = self._call("stack", "export", "--show-secrets", timeout_s=timeout_s).stdout
            deployment = json.loads(exported)["deployment"]
        return [
            Resource(type=entry["type"], name=_name(entry["urn"]), outputs=_plain(entry.get("outputs") or {}))
            for entry in deployment.get("resources") or []
            if not entry.get("delete")
        ]

    def _opened(self) -> dict[str, Any]:
        """The state with its secrets in plain text, without the engine. Raises ``NotOpened`` where that can't be."""
        if not self.has_own_backend or places.names_passphrase(self.environ):
            raise state_secrets.NotOpened("not the checkout's own")
        try:
            deployment = _deployment(self.state_file)
            open_ = state_secrets.opener(self.checkout, self.name, deployment["secrets_providers"])
            return state_secrets.opened(deployment, open_)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise state_secrets.NotOpened("the engine says what is wrong with it") from error

    def deployment(self) -> dict[str, Any]:
        """The state as it stands, secrets encrypted; empty where the stack was never made. Raises ``StateDamaged``."""
        if not self.has_own_backend:
            try:
                return json.loads(self._call("stack", "export").stdout)["deployment"]
            except StackMissing:
                return {}
        try:
            return _deployment(self.state_file)
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StateDamaged(
                f"the state of stack {self.name} is damaged ({self.state_file}); nothing was changed. "
                "The state before the last change lies beside it: ./gaia up --restore-state"
            ) from None

    def resource_count(self) -> int:
        """How many resources the stack has, the stack itself and its providers left out."""
        return sum(
            1
            for resource in self.deployment().get("resources") or []
            if resource["type"] != STACK_TYPE and not resource["type"].startswith("pulumi:providers:")
        )

    def pending(self) -> list[Pending]:
        """What a killed run began."""
        return [
            Pending(
                operation=entry["type"],
                urn=entry["resource"]["urn"],
                type=entry["resource"]["type"],
                inputs=entry["resource"].get("inputs") or {},
            )
            for entry in self.deployment().get("pending_operations") or []
        ]

    def settle(self, run_id: str) -> None:
        """Clear the pending creates.

        The engine's other way, ``--import-pending-creates``, drops them too (3.259.0: nothing reads what it notes).
        """
        self.run("refresh", run_id, "--clear-pending-creates")

    def restore_state(self) -> Path:
        """Put the state before the last change in place of a damaged one, which is kept; returns where.

        Raises ``StateDamaged`` where there is no state to go back to, ``StateWhole`` where the state is fine.
        """
        try:
            self.deployment()
        except StateDamaged:
            pass
        else:
            raise StateWhole(f"the state of stack {self.name} is not damaged: run ./gaia up without --restore-state")
        backup = self.state_file.with_name(f"{self.state_file.name}.bak")
        try:
            _deployment(backup)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise StateDamaged(
                f"stack {self.name} has no earlier state to go back to ({backup}): move {self.state_file} away; "
                "the next up takes the database over with its data"
            ) from None
        kept = self.state_file.with_name(f"{self.state_file.name}.damaged-{time.strftime('%Y%m%d_%H%M%S')}")
        self.state_file.replace(kept)
        places.write(self.state_file, backup.read_text(encoding="utf-8"), mode=0o600)
        return kept

    def remove(self) -> None:
        """Forget a stack without resources: its state, its history and its working copy."""
        self._call("stack", "rm", self.name, "--yes", "--preserve-config")
        working_copy.remove(self.checkout, self.name)
        self.checkout.run_file(self.name, "key").unlink(missing_ok=True)

    def _call(
        self, *arguments: str, check: bool = True, folder: Path | None = None, timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = self.environment()
        if folder:
            environment.pop("PULUMI_OPTION_CONFIG_FILE")
        done = subprocess.run(
            [self.engine, *arguments, "--non-interactive"],
            cwd=folder or self.checkout.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode != 0:
            raise self._failure(" ".join(arguments[:2]), done.stderr)
        return done

    def _failure(self, operation: str, stderr: str, failures: Sequence[str] = ()) -> Exception:
        return explained(self.name, operation, stderr, failures)


class _Collected:
    """What the events of one operation tell, gathered on the way."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._changes: dict[str, int] = {}
        self._own = ""
        self._outputs: dict[str, Any] = {}
        self._resources: dict[str, dict[str, Any]] = {}
        self._drifted: list[str] = []

    def take(self, event: Event) -> None:
        if diagnostic := event.get("diagnosticEvent"):
            if diagnostic.get("severity") == "error":
                self.failures.append(diagnostic["message"])
        elif step := (event.get("resOutputsEvent") or event.get("resourcePreEvent")):
            self._step(step["metadata"], done="resOutputsEvent" in event)
        elif ended := event.get("summaryEvent"):
            self._changes = ended.get("resourceChanges") or {}

    def _step(self, metadata: dict[str, Any], *, done: bool) -> None:
        outputs = (metadata.get("new") or {}).get("outputs") or {}
        if metadata["type"] == STACK_TYPE:
            self._outputs = outputs or self._outputs
            if done and metadata["op"] != "refresh":
                self._own = metadata["op"]
        elif done:
            self._resources[metadata["type"]] = outputs
            if metadata["op"] in ("refresh", "delete", "update") and metadata.get("detailedDiff") is not None:
                self._drifted.append(_name(metadata["urn"]))

    def summary(self) -> Summary:
        # The engine counts the stack itself as a resource; nobody else does.
        changes = {key: count - (key == self._own) for key, count in self._changes.items()}
        return Summary(
            changes=changes, outputs=_plain(self._outputs), resources=self._resources, drifted=tuple(self._drifted)
        )


def _deployment(file: Path) -> dict[str, Any]:
    """The deployment of a file backend's checkpoint. Raises what reading another shape raises."""
    latest = json.loads(file.read_text(encoding="utf-8"))["checkpoint"].get("latest") or {}
    operations = latest.get("pending_operations") or []
    for entry in [*(latest.get("resources") or []), *(operation["resource"] for operation in operations)]:
        _ = entry["type"]
    for operation in operations:
        _ = operation["type"], operation["resource"]["urn"]
    return latest


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]


def _events(process: subprocess.Popen[str]) -> Iterator[Event]:
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # anything else a plugin printed there
        if isinstance(event, dict):
            yield event


def _cancel(process: subprocess.Popen[str], run_id: str) -> None:
    """End an interrupted run: let the engine finish its step and write its state, then end what is left."""
    try:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=CANCEL_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.communicate()
    locks.end_leftovers(run_id, lambda _said: None)


def _plain(value: Any) -> Any:
    """Exported values without their wrapping: a secret becomes its plain text where it was exported so."""
    if isinstance(value, dict):
        if state_secrets.SIGNATURE in value:
            return json.loads(value["plaintext"]) if "plaintext" in value else "[secret]"
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def by_hand(checkout: Checkout, engine: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Become ``pulumi``, prepared for the stack that the arguments name. Returns only where nothing is left to do."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    named = _named_stack(arguments) or next((word for word in words[2:] if words[0] == "stack"), None)
    name = named or environ.get("PULUMI_STACK") or ""
    variables = dict(environ)
    if words[:2] in (["stack", "rm"], ["stack", "remove"]):
        # Without the flag it deletes the committed stack file.
        arguments = [*arguments, "--preserve-config"]
    if name in checkout.stacks():
        stack = Stack(name=name, checkout=checkout, engine=engine, environ=environ)
        stack.make()
        if words[:2] in (["stack", "init"], ["stack", "new"]):
            return  # made as it must be, without a word in the committed stack file
        variables = stack.environment()
        command = next((argument for argument in arguments if argument in _CHANGING), None)
        if command:
            # Our lock ends with the exec; from then on Pulumi's own, in the backend, guards the stack.
            with locks.held(checkout, name, f"pulumi {command}", _to_stderr, keep_record=True) as run:
                variables[locks.RUN_MARK] = run.run_id
    os.execve(engine, [str(engine), *arguments], variables)


_CHANGING = frozenset({"up", "update", "destroy", "down", "refresh", "import"})


def _named_stack(arguments: Sequence[str]) -> str | None:
    for position, argument in enumerate(arguments):
        if argument in ("-s", "--stack") and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--stack="):
            return argument.removeprefix("--stack=")
        if argument.startswith("-s") and argument != "-s":
            return argument.removeprefix("-s").removeprefix("=")
    return None


def _to_stderr(line: str) -> None:
    os.write(2, f"{line}\n".encode())
