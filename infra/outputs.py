"""The contract: what every stack exports, under the same names, for the backend's deploy to read.

Flat, snake_case, additive only within a major version. A value that a stack does not have is null. References
to secrets are ``{id, version}`` with a pinned version, never a value. ``schema()`` gives the JSON Schema that
``docs/outputs.schema.json`` holds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import pulumi

CONTRACT_VERSION = 1


class SecretReference(TypedDict):
    """Where a secret lies: its full resource id, and the pinned version number."""

    id: str
    version: str


@dataclass(frozen=True, kw_only=True)
class StackOutputs:
    """Version 1 of the contract. Fields without a default exist on every stack."""

    environment: str
    """The stack's name."""
    target: str
    """``docker``, ``embedded`` or ``gcp``."""
    host: pulumi.Input[str]
    """Where the backend connects: an address, or the directory of a Unix socket."""
    port: pulumi.Input[int]
    database: pulumi.Input[str]
    app_user: pulumi.Input[str]
    """The login that the backend uses now; rotation changes it."""
    schema_revision: pulumi.Input[str]
    """The Alembic revision the database is at."""
    max_connections: pulumi.Input[int]
    pool_size: pulumi.Input[int]
    """Connections that one instance of the backend may keep open."""
    pool_overflow: pulumi.Input[int]
    """Connections beyond ``pool_size`` that one instance may open for a while."""
    max_instances: pulumi.Input[int]
    """Instances of the backend the connection budget was made for."""
    contract_version: int = CONTRACT_VERSION
    project: pulumi.Input[str] | None = None
    region: pulumi.Input[str] | None = None
    instance_connection_name: pulumi.Input[str] | None = None
    """``project:region:instance`` of Cloud SQL."""
    private_ip: pulumi.Input[str] | None = None
    database_url_secret: pulumi.Input[SecretReference] | None = None
    password_secret: pulumi.Input[SecretReference] | None = None
    user_secret: pulumi.Input[SecretReference] | None = None
    name_secret: pulumi.Input[SecretReference] | None = None
    identity_key_secret: pulumi.Input[SecretReference] | None = None
    """The key that the backend signs identities with."""
    server_ca_secret: pulumi.Input[SecretReference] | None = None
    """The server's own authorities, where it is reached at an address."""
    client_certificate_secret: pulumi.Input[SecretReference] | None = None
    client_key_secret: pulumi.Input[SecretReference] | None = None
    runtime_service_account: pulumi.Input[str] | None = None
    migration_job: pulumi.Input[str] | None = None
    migration_image: pulumi.Input[str] | None = None
    vpc_connector: pulumi.Input[str] | None = None
    vpc_egress: pulumi.Input[str] | None = None
    vpc_network: pulumi.Input[str] | None = None
    """The network of direct VPC egress; null with a connector."""
    vpc_subnetwork: pulumi.Input[str] | None = None
    server_ca_mode: pulumi.Input[str] | None = None
    replicas: pulumi.Input[dict[str, str]] | None = None
    """The read replicas by name: their connection names, on a local stack their address and port."""
    database_url: pulumi.Output[str] | None = None
    """The app's login as a URL, marked secret; on local stacks only."""
    database_replica_url: pulumi.Output[str] | None = None
    """The same at the replica, where a local stack has one."""


NAMES: tuple[str, ...] = tuple(sorted(field.name for field in fields(StackOutputs)))


def export(outputs: StackOutputs) -> None:
    """Export the contract. Nulls are exported too, so that every stack has the same names."""
    import pulumi

    for name in NAMES:
        pulumi.export(name, getattr(outputs, name))


_STRINGS = ("environment", "host", "database", "app_user", "schema_revision")
_INTEGERS = {"port": 1, "max_connections": 1, "pool_size": 1, "pool_overflow": 0, "max_instances": 1}
_SECRETS = (
    "database_url_secret",
    "password_secret",
    "user_secret",
    "name_secret",
    "identity_key_secret",
    "server_ca_secret",
    "client_certificate_secret",
    "client_key_secret",
)


def schema() -> dict[str, Any]:
    """The contract as JSON Schema (draft 2020-12). Later minor versions may add names, so others are allowed."""
    properties: dict[str, Any] = {name: {"type": ["string", "null"]} for name in NAMES}
    properties |= {name: {"type": "string", "minLength": 1} for name in _STRINGS}
    properties |= {name: {"type": "integer", "minimum": least} for name, least in _INTEGERS.items()}
    properties |= {name: {"anyOf": [{"$ref": "#/$defs/secret"}, {"type": "null"}]} for name in _SECRETS}
    properties["contract_version"] = {"const": CONTRACT_VERSION}
    properties["target"] = {"enum": ["docker", "embedded", "gcp"]}
    properties["replicas"] = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
    reference = {"id": {"type": "string"}, "version": {"type": "string", "pattern": "^[0-9]+$"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Gaia database stack outputs",
        "type": "object",
        "required": list(NAMES),
        "properties": dict(sorted(properties.items())),
        "$defs": {
            "secret": {
                "type": "object",
                "required": ["id", "version"],
                "properties": reference,
                "additionalProperties": False,
            }
        },
    }
