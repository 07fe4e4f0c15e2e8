"""Secrets of the checkout's own state are opened without the engine, or else the engine is asked."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine import checkout as places
from engine import state_secrets
from engine.checkout import Checkout
from engine.stack import Stack

MARKED = {state_secrets.SIGNATURE: "1b47061264138c4ac30d75fd1eb44270"}
ASKED = "the engine was asked"
SALT = b"8 bytes."


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack with one secret; its engine answers to an export."""
    checkout = Checkout(root=tmp_path)
    places.prepare(checkout)
    engine = tmp_path / "engine" / "pulumi"
    engine.parent.mkdir()
    exported = {"deployment": {"resources": [{"type": "t", "urn": "a::b", "outputs": {"password": ASKED}}]}}
    engine.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(exported)}\nEND\n")
    engine.chmod(0o755)
    made = Stack(name="local", checkout=checkout, engine=engine, environ={"PATH": os.environ["PATH"]})
    write(made, provider(made))
    return made


def key(stack: Stack) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", stack.checkout.passphrase.read_bytes(), SALT, 1_000_000, 32)


def sealed(stack: Stack, text: str) -> str:
    nonce = os.urandom(12)
    parts = (nonce, AESGCM(key(stack)).encrypt(nonce, text.encode(), None))
    return ":".join(["v1", *(base64.b64encode(part).decode() for part in parts)])


def provider(stack: Stack) -> dict[str, Any]:
    return {
        "type": "passphrase",
        "state": {"salt": f"v1:{base64.b64encode(SALT).decode()}:{sealed(stack, 'pulumi')}"},
    }


def write(stack: Stack, secrets_providers: dict[str, Any]) -> None:
    outputs = {"host": "here", "password": {**MARKED, "ciphertext": sealed(stack, '"p: ü"')}}
    latest = {
        "secrets_providers": secrets_providers,
        "resources": [{"type": "t", "urn": "a::b", "outputs": {**outputs, "list": [outputs]}}],
    }
    stack.state_file.parent.mkdir(parents=True, exist_ok=True)
    stack.state_file.write_text(json.dumps({"version": 3, "checkpoint": {"latest": latest}}))


def password(stack: Stack) -> str:
    (resource,) = stack.resources()
    return resource.outputs["password"]


def test_they_are_opened_and_the_key_is_kept_for_its_owner_alone(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    (resource,) = stack.resources()
    assert resource.outputs == {"host": "here", "password": "p: ü", "list": [{"host": "here", "password": "p: ü"}]}
    kept = stack.checkout.run_file("local", "key")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "p: ü" not in kept.read_text() and stack.checkout.passphrase.read_text() not in kept.read_text()
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", None)
    assert password(stack) == "p: ü"


@pytest.mark.parametrize("text", ["", "{}", '{"of": 1, "key": 2}', '{"of": "other", "key": "00"}'])
def test_a_kept_key_that_is_damaged_or_anothers_is_made_anew(stack: Stack, text: str) -> None:
    kept = stack.checkout.run_file("local", "key")
    kept.write_text(text)
    assert password(stack) == "p: ü"
    assert json.loads(kept.read_text())["key"] == key(stack).hex()


def test_a_key_of_an_earlier_passphrase_opens_nothing(stack: Stack) -> None:
    assert password(stack) == "p: ü"
    stack.checkout.passphrase.write_text("another")
    assert password(stack) == ASKED


@pytest.mark.parametrize(
    "environ",
    [
        {"PULUMI_CONFIG_PASSPHRASE": "mine"},
        {"PULUMI_CONFIG_PASSPHRASE_FILE": "/mine"},
        {"PULUMI_BACKEND_URL": "gs://bucket"},
    ],
)
def test_what_is_not_the_checkouts_own_is_the_engines(stack: Stack, environ: dict[str, str]) -> None:
    other = Stack(name="local", checkout=stack.checkout, engine=stack.engine, environ={**stack.environ, **environ})
    assert password(other) == ASKED


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"type": "gcpkms"},
        {"state": None},
        {"state": {"salt": "v2:AAAA:v1:AAAA:AAAA"}},
        {"state": {"salt": "v1:AAAA"}},
        {"state": {"salt": "v1:?:v1:?:?"}},
    ],
)
def test_another_provider_or_format_is_the_engines(stack: Stack, changed: dict[str, Any]) -> None:
    write(stack, {**provider(stack), **changed} if changed else {})
    assert password(stack) == ASKED


@pytest.mark.parametrize("text", ["", "{}", '{"checkpoint": {"latest": {"resources": [{}]}}}'])
def test_a_damaged_state_is_the_engines_to_name(stack: Stack, text: str) -> None:
    stack.state_file.write_text(text)
    assert password(stack) == ASKED


def test_a_secret_that_was_changed_by_a_byte_is_the_engines(stack: Stack) -> None:
    state = json.loads(stack.state_file.read_text())
    secret = state["checkpoint"]["latest"]["resources"][0]["outputs"]["password"]
    version, nonce, ciphertext = secret["ciphertext"].split(":")
    raw = bytearray(base64.b64decode(ciphertext))
    raw[0] ^= 1
    secret["ciphertext"] = f"{version}:{nonce}:{base64.b64encode(raw).decode()}"
    stack.state_file.write_text(json.dumps(state))
    assert password(stack) == ASKED


def test_where_nothing_can_be_kept_it_works_all_the_same(stack: Stack) -> None:
    stack.checkout.run_file("local", "key").mkdir()
    assert password(stack) == "p: ü"
