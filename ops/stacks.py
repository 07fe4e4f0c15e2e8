"""Which stack a command is about, and what it needs to work on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine import checkout as places
from engine.checkout import Checkout
from ops.exits import Missing, Refused, UsageFault

if TYPE_CHECKING:
    from engine.stack import Resource, Stack
    from infra.local.replication import Pair
    from infra.rotation import Rotation
    from infra.settings import Settings

LOCAL_STACKS = ("dev", "local")
SCHEMA_TYPE = "pulumi-python:dynamic/gaia:Schema"
STANDBY_TYPE = "pulumi-python:dynamic/gaia:Standby"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to log in to a stack's database as one of its users."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    container: str | None = None

    def reached_at(self, host: str, port: int) -> Login:
        """The same login from another place."""
        return replace(self, host=host, port=port)

    @property
    def url(self) -> str:
        """The connection URI, percent-encoded, password included."""
        from migrations.connection import login_url

        return login_url(user=self.user, password=self.password, host=self.host, port=self.port, database=self.database)


@dataclass(frozen=True, kw_only=True)
class Logins:
    """The logins of a stack that is up, read at once: each look at the state is a run of the engine."""

    stack: str
    superuser: Login
    app: Login
    keys: tuple[str, ...] = field(repr=False)
    """The first signs; the one before it counts while a rotation lasts."""
    pair: Pair | None = field(default=None, repr=False)
    """The server and its standby, where it has one."""

    @property
    def replica(self) -> Login | None:
        """The app's login at the standby."""
        return self.app.reached_at(self.app.host, self.pair.port) if self.pair else None

    @property
    def identity_key(self) -> str:
        """What identities are signed with. Raises ``Missing`` where the state is from before there were keys."""
        return self.identity_keys[0]

    @property
    def identity_keys(self) -> tuple[str, ...]:
        """All that the database is to believe. Raises ``Missing``."""
        if not self.keys:
            raise Missing(f"stack {self.stack} has no identity key yet: run ./gaia up --stack {self.stack}")
        return self.keys


def open_stack(name: str | None, say: Say) -> Stack:
    """The stack to work on, with its engine. Raises ``UsageFault``, ``EngineUnavailable``."""
    checkout = places.here()
    name = name or chosen(checkout)
    if name is None:
        raise Missing("no stack is up yet: run ./gaia up")
    return with_engine(checkout, name, say)


def with_engine(checkout: Checkout, name: str, say: Say) -> Stack:
    """A stack of this name, with the engine to work on it."""
    from engine.acquire import acquire
    from engine.stack import Stack

    if name not in checkout.stacks():
        raise UsageFault(f"there is no stack {name}: no file Pulumi.{name}.yaml; known: {', '.join(checkout.stacks())}")
    if (
        name not in LOCAL_STACKS
        and read_settings(checkout, name).target == "gcp"
        and places.has_own_backend(checkout, os.environ)
    ):
        raise UsageFault(
            f"stack {name} keeps its state in a backend of your own, never in this checkout: "
            "set PULUMI_BACKEND_URL (and the passphrase or key that its secrets need)"
        )
    places.prepare(checkout)
    found = acquire(say=say, environ=os.environ)
    return Stack(name=name, checkout=checkout, engine=found.pulumi, environ=os.environ)


def chosen(checkout: Checkout) -> str | None:
    """The stack that this checkout works with: the one that ``up`` chose, or else the one that has a state."""
    try:
        name = _choice_file(checkout).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        name = ""
    if name in checkout.stacks():
        return name
    folder = checkout.state / ".pulumi" / "stacks" / places.PROJECT
    made = [stack for stack in checkout.stacks() if (folder / f"{stack}.json").exists()]
    return made[0] if len(made) == 1 else None


def remember(checkout: Checkout, name: str) -> None:
    """Make this the checkout's stack, unless another one is: that one keeps being it until it is destroyed."""
    if chosen(checkout) in (None, name):
        places.write(_choice_file(checkout), f"{name}\n", mode=0o644)


def forget(checkout: Checkout, name: str) -> None:
    """Undo ``remember``: the next ``up`` chooses anew."""
    if chosen(checkout) == name:
        _choice_file(checkout).unlink(missing_ok=True)


def read_settings(checkout: Checkout, name: str) -> Settings:
    """A stack's settings as they stand on disk. Raises ``SettingsError``."""
    from engine import working_copy
    from infra import settings

    file = checkout.stack_file(name)
    if file.exists() and checkout.own.exists():
        working_copy.refresh(checkout, name)
        file = checkout.working_copy(name)
    return settings.read(name, file, os.environ)


def logins(stack: Stack, *, timeout_s: float | None = None) -> Logins:
    """What the stack's state knows of its logins. Raises ``Missing`` where the stack isn't up."""
    resources = stack.resources(timeout_s=timeout_s)
    schema = next((resource.outputs for resource in resources if resource.type == SCHEMA_TYPE), None)
    if schema is None:
        raise Missing(f"stack {stack.name} is not up: run ./gaia up --stack {stack.name}")
    superuser = Login(
        host=schema["host"],
        port=int(schema["port"]),
        database=schema["database"],
        user=schema["superuser"],
        password=schema["password"],
        container=schema.get("container"),
    )
    from migrations.roles import APP_LOGINS

    # A state from before there were turns names no user.
    app = replace(superuser, user=schema.get("app_user") or APP_LOGINS[0], password=schema["app_password"])
    keys = tuple((schema.get("identity_key") or "").split(","))
    return Logins(stack=stack.name, superuser=superuser, app=app, keys=keys if all(keys) else (), pair=_pair(resources))


def rotation(stack: Stack) -> Rotation:
    """Whose turn it is, as it was carried out last. Raises ``Missing`` where the stack isn't up."""
    from infra.rotation import Rotation

    resources = stack.deployment().get("resources") or []
    schema = next((entry for entry in resources if entry["type"] == SCHEMA_TYPE), None)
    if schema is None:
        raise Missing(f"stack {stack.name} is not up: run ./gaia up --stack {stack.name}")
    found = (schema.get("outputs") or {}).get("rotation") or {}
    for key in ("turn", "identity_turn"):
        found = {**found, key: int(found.get(key, 1))}  # the engine keeps every number as a float
    return Rotation(**found)


def pair(stack: Stack) -> Pair:
    """The stack's server and its standby. Raises ``Missing`` where it has none."""
    found = _pair(stack.resources())
    if found is None:
        raise Missing(f"stack {stack.name} has no standby: ./gaia up --stack {stack.name} --set database.replicas=1")
    return found


def _pair(resources: list[Resource]) -> Pair | None:
    from infra.local import replication

    standby = next((resource.outputs for resource in resources if resource.type == STANDBY_TYPE), None)
    return replication.pair_of(standby) if standby else None


def in_cloud(stack_name: str | None) -> str | None:
    """The name of the stack that is meant, where that is in Google Cloud; asks neither the engine nor the state."""
    checkout = places.here()
    name = stack_name or chosen(checkout)
    return name if name in checkout.stacks() and read_settings(checkout, name).target == "gcp" else None


def is_up(stack: Stack) -> bool:
    """Whether the state holds a database."""
    return any(resource["type"] == SCHEMA_TYPE for resource in stack.deployment().get("resources") or [])


def confirm(what: str, answer: str) -> None:
    """Let a person type the stack's name before data is lost. Raises ``Refused`` otherwise."""
    if not _somebody_is_there():
        raise Refused(f"{what} Say so with --yes")
    import typer

    if typer.prompt(f"{what} Type its name ({answer}) to go on", default="", show_default=False, err=True) != answer:
        raise Refused("nothing was deleted")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _choice_file(checkout: Checkout) -> Path:
    return checkout.own / "stack"
