"""Typed settings of a stack: read once, checked whole, every fault in one error.

``load()`` is for the Pulumi program, ``read()`` for the command line, which looks at the same stack file
before the engine starts. Both end in ``parse()``, plain data in and frozen dataclasses out.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from infra.gcp import rules as gcp_rules
from infra.gcp.settings import DATABASE_DEFAULTS, Gcp
from infra.rotation import Rotation
from infra.setting_types import (
    STRICT,
    DockerName,
    Duration,
    Identifier,
    Loopback,
    Memory,
    Natural,
    Port,
    Positive,
    size_in_bytes,
)

if TYPE_CHECKING:
    import pulumi

NAMESPACE = "gaia-db"
PASSWORD_LENGTH_MIN = 16
"""The source document asks for passwords of at least 16 characters."""
Kind = Literal["docker", "embedded", "gcp"]
STANDBY_SUFFIX = "-standby"
"""What tells the names of a standby's container and volume from its primary's."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Server parameters; the defaults are the source document's."""

    __pydantic_config__ = STRICT

    shared_buffers: Memory = "256MB"
    effective_cache_size: Memory = "1GB"
    max_connections: Annotated[int, Field(ge=10, le=10_000)] = 200
    idle_in_transaction_session_timeout: Duration = "10min"
    random_page_cost: Annotated[float, Field(gt=0, le=1000)] = 1.1
    effective_io_concurrency: Annotated[int, Field(ge=0, le=1000)] = 200


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What the backend's connection pools may take: ``size`` + ``overflow`` for each of ``max_instances``."""

    __pydantic_config__ = STRICT

    size: Positive = 20
    overflow: Natural = 0
    max_instances: Positive = 1


@dataclass(frozen=True, kw_only=True)
class Retention:
    """For how many whole months rows stay in their table before their partition is detached; null keeps them all."""

    __pydantic_config__ = STRICT

    chat_months: Positive | None = None
    audit_months: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class Database:
    """The database itself, the same on every target."""

    __pydantic_config__ = STRICT

    name: Identifier = "gaia"
    user: Identifier = "gaia"
    port: Port = 5432
    replicas: Annotated[int, Field(ge=0, le=1)] = 0
    replica_port: Port | None = None
    synchronous: bool = False
    tuning: Tuning = field(default_factory=Tuning)
    pool: Pool = field(default_factory=Pool)
    retention: Retention = field(default_factory=Retention)

    @property
    def standby_port(self) -> int:
        """Where the standby of a local stack listens: on the next port, unless another one is named."""
        return self.replica_port or self.port + 1


@dataclass(frozen=True, kw_only=True)
class Healthcheck:
    """How Docker asks the server whether it lives."""

    __pydantic_config__ = STRICT

    interval_s: Positive = 10
    timeout_s: Positive = 5
    retries: Positive = 5


@dataclass(frozen=True, kw_only=True)
class Docker:
    """The container and what surrounds it."""

    __pydantic_config__ = STRICT

    container: DockerName = "gaia-postgres"
    image: Annotated[str, Field(min_length=1)] = "postgres:16-alpine"
    network: DockerName = "gaia_default"
    network_alias: DockerName = "postgres"
    volume: DockerName = "gaia-postgres-data"
    address: Loopback = "127.0.0.1"
    compose_project: DockerName = "gaia"
    profiles: tuple[Literal["dev", "gpu"], ...] = ("dev", "gpu")
    healthcheck: Healthcheck = field(default_factory=Healthcheck)
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "unless-stopped"
    stop_timeout_s: Positive = 60
    shm_size_mb: Annotated[int, Field(ge=64)] = 256
    start_timeout_s: Positive = 60
    failovers: Natural = 0
    rotation: Rotation = field(default_factory=Rotation)

    @property
    def volumes(self) -> tuple[str, str]:
        """The volume of the primary and the one of its standby: each failover swaps them, as none can be renamed."""
        first, second = self.volume, f"{self.volume}{STANDBY_SUFFIX}"
        return (second, first) if self.failovers % 2 else (first, second)

    @property
    def standby_container(self) -> str:
        return f"{self.container}{STANDBY_SUFFIX}"

    @property
    def standby_alias(self) -> str:
        """The standby's name in the network."""
        return f"{self.network_alias}{STANDBY_SUFFIX}"


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The server that runs from the binaries of the Python environment."""

    __pydantic_config__ = STRICT

    start_timeout_s: Positive = 60
    rotation: Rotation = field(default_factory=Rotation)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one stack. Only the section of its own target is filled."""

    __pydantic_config__ = STRICT

    stack: str
    target: Kind
    database: Database = field(default_factory=Database)
    docker: Docker | None = None
    embedded: Embedded | None = None
    gcp: Gcp | None = None

    @property
    def rotation(self) -> Rotation:
        """Whose turn it is, of the stack's own target."""
        section = self.docker or self.embedded or self.gcp
        return section.rotation if section else Rotation()


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What the Pulumi program works with: the settings, and the superuser's password if one was given."""

    settings: Settings
    password: pulumi.Output[str] | None


class SettingsError(Exception):
    """Every fault of a stack file, one line each: file, key, what is wrong and what is allowed."""

    def __init__(self, file: str, faults: list[str]) -> None:
        self.file = file
        self.faults = faults
        super().__init__("\n".join(f"{file}: {fault}" for fault in faults))


def load() -> Loaded:
    """Read the running stack's configuration. Raises ``SettingsError`` with all faults at once."""
    import pulumi
    from pulumi.runtime.config import CONFIG

    config = pulumi.Config(NAMESPACE)
    prefix = f"{NAMESPACE}:"
    data = {key.removeprefix(prefix): _decoded(value) for key, value in CONFIG.get().items() if key.startswith(prefix)}
    stack = pulumi.get_stack()
    data.pop("password", None)
    given = os.environ.get("POSTGRES_PASSWORD") or config.get("password")
    origin = "POSTGRES_PASSWORD" if os.environ.get("POSTGRES_PASSWORD") else "password"
    faults = [*_password_faults(origin, given), *_production_faults(data, has_password=bool(config.get("password")))]
    settings = parse(stack, data, extra_faults=faults)
    return Loaded(settings=settings, password=pulumi.Output.secret(given) if given else None)


def read(stack: str, file: Path, environ: Mapping[str, str]) -> Settings:
    """Read a stack file as it stands on disk. Raises ``SettingsError``; an encrypted password isn't looked into."""
    import yaml

    name = f"Pulumi.{stack}.yaml"
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        names = (path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in file.parent.glob("Pulumi.*.yaml"))
        known = ", ".join(sorted(names)) or "none"
        raise SettingsError(name, [f"no such stack file; known stacks: {known}"]) from None
    except OSError as error:
        raise SettingsError(name, [f"can't be read: {error.strerror}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise SettingsError(name, [f"is not valid YAML{line}: {getattr(error, 'problem', error)}"]) from None
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise SettingsError(name, [f"needs a mapping 'config' with keys such as {NAMESPACE}:target"])
    data, faults = {}, []
    for key, value in config.items():
        namespace, _, rest = str(key).partition(":")
        if namespace == NAMESPACE and rest:
            data[rest] = value
        elif ":" not in str(key):
            faults.append(f"{key}: unknown key; keys start with {NAMESPACE}:")
    password = data.pop("password", None)
    if password is not None and not (isinstance(password, dict) and set(password) == {"secure"}):
        faults.append("password: stands in plain text; store it with: pulumi config set --secret password")
    faults += _password_faults("POSTGRES_PASSWORD", environ.get("POSTGRES_PASSWORD"))
    return parse(stack, data, extra_faults=faults)


def parse(stack: str, data: Mapping[str, Any], *, extra_faults: list[str] | None = None) -> Settings:
    """Check plain data and return ``Settings``. Raises ``SettingsError`` with every fault, ``extra_faults`` too."""
    file = f"Pulumi.{stack}.yaml"
    faults = list(extra_faults or [])
    target = data.get("target")
    if isinstance(target, str) and target in SECTIONS:
        faults += [
            f"{section}: belongs to target {section}, but the target is {target}"
            for section in SECTIONS
            if section != target and section in data
        ]
        # A section may be left out, or empty: its defaults count.
        data = {**data, target: data.get(target) or {}}
        if target == "gcp":
            data["database"] = _over(DATABASE_DEFAULTS, data.get("database") or {})
    if "stack" in data:
        faults.append(f"stack: unknown key; known: {', '.join(_known_keys(()))}")
    settings = None
    try:
        settings = _adapter().validate_json(json.dumps({**data, "stack": stack}))
    except ValidationError as error:
        faults += [_sentence(item) for item in error.errors(include_url=False)]
    except (TypeError, ValueError) as error:
        faults.append(f"holds a value that no setting can have ({str(error)[:200]})")
    # Rules look at whole settings: where single values are wrong, at the rest of them.
    whole = settings or _without_faults(data, stack)
    faults += [fault for rule in RULES if (fault := rule(whole))]
    if whole.target == "gcp" and whole.gcp:
        faults += gcp_rules.faults(whole.database, whole.gcp)
    if faults or settings is None:
        raise SettingsError(file, _unique(faults))
    return settings


SECTIONS = ("docker", "embedded", "gcp")
"""The sections that belong to one target each."""


@functools.cache
def _adapter() -> TypeAdapter[Settings]:
    # We have no plugins of pydantic's, and looking for them in every installed package takes as long as the rest.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    return TypeAdapter(Settings)


def _over(defaults: Mapping[str, Any], given: Any) -> Any:
    """``given`` with the defaults for what it leaves out, section by section."""
    if not isinstance(given, Mapping):
        return given
    return {
        **given,
        **{key: _over(value, given.get(key) or {}) for key, value in defaults.items() if isinstance(value, Mapping)},
        **{key: value for key, value in defaults.items() if key not in given and not isinstance(value, Mapping)},
    }


def _without_faults(data: Mapping[str, Any], stack: str) -> Settings:
    """The settings with those values that are fine, and defaults for the others."""
    target = data.get("target") if data.get("target") in SECTIONS else "embedded"
    try:
        left = json.loads(json.dumps({**data, "stack": stack, "target": target}))
        for section in SECTIONS:
            if section != target:
                left.pop(section, None)
        for _ in range(len(json.dumps(left))):
            if target == "gcp":
                left["database"] = _over(DATABASE_DEFAULTS, left.get("database") or {})
            try:
                return _adapter().validate_json(json.dumps(left))
            except ValidationError as error:
                for item in error.errors(include_url=False):
                    _drop(left, item["loc"])
    except (TypeError, ValueError):
        pass
    return Settings(stack=stack, target="embedded")


def _drop(data: dict[str, Any], loc: tuple[Any, ...]) -> None:
    at: Any = data
    for part in loc[:-1]:
        inner = at.get(part) if isinstance(at, dict) else None
        if not isinstance(inner, dict):
            # A member of a list, or a mapping's key itself: the whole of it goes.
            at.pop(part, None)
            return
        at = inner
    if isinstance(at, dict) and loc:
        at.pop(loc[-1], None)


def _pool_within_connections(settings: Settings) -> str | None:
    pool, tuning = settings.database.pool, settings.database.tuning
    # Two revisions of the backend live side by side during a deploy; migrator, administrators and the
    # server's reserved connections take ten more.
    needed = 2 * pool.max_instances * (pool.size + pool.overflow) + 10
    allowed = int(0.9 * tuning.max_connections)
    if needed <= allowed:
        return None
    return (
        f"database.pool: two revisions of {pool.max_instances} instances with {pool.size} + {pool.overflow} "
        f"connections need {needed}, but {allowed} of max_connections {tuning.max_connections} may be used; "
        "make the pool smaller or max_connections larger"
    )


def _cache_holds_buffers(settings: Settings) -> str | None:
    tuning = settings.database.tuning
    if size_in_bytes(tuning.shared_buffers) <= size_in_bytes(tuning.effective_cache_size):
        return None
    return (
        f"database.tuning.effective_cache_size: {tuning.effective_cache_size} is less than "
        f"shared_buffers {tuning.shared_buffers}; it counts both caches, so it is never smaller"
    )


def _database_is_ours(settings: Settings) -> str | None:
    if settings.database.name not in ("postgres", "template0", "template1"):
        return None
    return f"database.name: {settings.database.name} is the server's own database; choose another name, such as gaia"


def _user_is_free(settings: Settings) -> str | None:
    name = settings.database.user
    if not name.startswith(("gaia_", "pg_")) and name not in ("public", "none"):
        return None
    return (
        f"database.user: {name} is a name that roles of the schema or of PostgreSQL have; choose another, such as gaia"
    )


def _identity_has_a_previous_key(settings: Settings) -> str | None:
    if settings.rotation.identity_turn > 1 or not settings.rotation.retire_previous_identity:
        return None
    key = f"{settings.target}.rotation.retire_previous_identity"
    return f"{key}: on turn 1 there is no previous key; set it to false"


def _replica_is_possible(settings: Settings) -> str | None:
    database = settings.database
    if settings.target != "gcp" and settings.stack.endswith(STANDBY_SUFFIX):
        return "stack: a name that ends in -standby is the place of another stack's standby; rename the stack file"
    if settings.target == "gcp" and (database.replicas or database.replica_port or database.synchronous):
        return "database.replicas: belongs to local stacks; in Google Cloud each replica stands under gcp.replicas"
    if database.synchronous and not database.replicas:
        return "database.synchronous: needs a standby to wait for; set database.replicas to 1 as well"
    if database.replicas and (database.standby_port == database.port or database.standby_port > 65535):
        return (
            f"database.replica_port: {database.standby_port} can't be the standby's; name a free port that it can have"
        )
    return None


def _stack_names_resources(settings: Settings) -> str | None:
    # compute addresses: https://cloud.google.com/compute/docs/naming-resources, with what is put around it.
    if settings.target != "gcp" or re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", settings.stack):
        return None
    return (
        "stack: resources of Google Cloud are named after it: at most 40 small letters, digits and hyphens, "
        "beginning with a letter; rename the stack file"
    )


RULES: tuple[Callable[[Settings], str | None], ...] = (
    _pool_within_connections,
    _cache_holds_buffers,
    _database_is_ours,
    _user_is_free,
    _identity_has_a_previous_key,
    _replica_is_possible,
    _stack_names_resources,
)
"""What single values can't tell: each rule returns a fault, or None."""


def _password_faults(origin: str, password: str | None) -> list[str]:
    if password is None:
        return []
    if not password.isprintable():
        return [f"{origin}: has a line break or another character that can't be printed; use letters, digits and signs"]
    if len(password) < PASSWORD_LENGTH_MIN or password.isspace():
        return [f"{origin}: has {len(password.strip())} characters; a password needs at least {PASSWORD_LENGTH_MIN}"]
    return []


def _production_faults(data: Mapping[str, Any], *, has_password: bool) -> list[str]:
    """What only the program needs to ask of production: reading its file works without."""
    if data.get("target") != "gcp":
        return []
    found = []
    section = data.get("gcp")
    if not isinstance(section, dict) or not section.get("project"):
        found.append(
            f"gcp.project: is missing; set it: pulumi config set --path {NAMESPACE}:gcp.project <id of the project>"
        )
    if has_password:
        found.append("password: belongs to local stacks: production makes its passwords itself; take it out")
    return found


def _decoded(value: str) -> Any:
    # Pulumi hands every value over as text, structured ones as JSON.
    try:
        decoded = json.loads(value)
    except ValueError:
        return value
    return decoded if isinstance(decoded, dict | list) else value


def _sentence(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    kind, context = item["type"], item.get("ctx", {})
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: unknown key; known: {', '.join(_known_keys(item['loc'][:-1]))}"
    if kind in ("missing", "missing_argument"):
        return f"{key}: is missing"
    if kind == "value_error":
        return f"{key}: {item['input']!r} {context['error']}"
    if kind == "dataclass_type":
        return f"{key}: must be a mapping with keys {', '.join(_known_keys(item['loc']))}"
    message = item["msg"].removeprefix("Input ").replace("should be", "must be")
    return f"{key}: {item['input']!r} is not allowed: {message}"


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    names = [name for name in _section(loc).__dataclass_fields__ if name != "stack"]
    return sorted([*names, "password"]) if not loc else sorted(names)


def _section(loc: tuple[Any, ...]) -> Any:
    """The dataclass at a place of the settings; a mapping's own keys are passed over."""
    at: Any = Settings
    for part in loc:
        hint = get_type_hints(at).get(part)
        at = next((each for each in (hint, *get_args(hint)) if is_dataclass(each)), at)
    return at


def _unique(faults: list[str]) -> list[str]:
    return list(dict.fromkeys(faults))
