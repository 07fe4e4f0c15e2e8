"""Secrets that are made once and kept in the stack's encrypted state: passwords, and the identity key."""

from __future__ import annotations

import secrets
import string
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

LENGTH = 32
_ALPHABET = string.ascii_letters + string.digits


class PasswordProvider(ResourceProvider):
    """Keeps the password it has unless another one is given. Its module path is stored in every state: keep it."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        from infra.local import schema

        # Passwords are the first that a new stack makes; its server takes a while now, and then comes the schema.
        schema.import_ahead()
        return CreateResult("password", {**props, "value": props.get("given") or generate()})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        given = news.get("given")
        return DiffResult(changes=given is not None and given != olds.get("value"))

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult({**news, "value": news.get("given") or olds["value"]})


class Password(Resource, module="gaia", name="Password"):
    """One password, secret everywhere."""

    value: pulumi.Output[str]
    """The password itself, marked secret."""

    def __init__(
        self, name: str, given: pulumi.Input[str] | None = None, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["value", "given"])
        super().__init__(
            PasswordProvider(), name, {"given": given, "value": None}, pulumi.ResourceOptions.merge(opts, secret)
        )


class IdentityKeyProvider(ResourceProvider):
    """Keeps the key it made. Its module path is stored in every state: keep it."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("identity-key", {**props, "value": secrets.token_hex(32)})


class IdentityKey(Resource, module="gaia", name="IdentityKey"):
    """The key that the backend signs identities with, and the database verifies them."""

    value: pulumi.Output[str]
    """64 hexadecimal digits, marked secret."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["value"])
        super().__init__(IdentityKeyProvider(), name, {"value": None}, pulumi.ResourceOptions.merge(opts, secret))


def generate() -> str:
    """32 random letters and digits: about 190 bits, and nothing that a URL or a shell would need to escape."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))
