"""Secrets of a state that lies in the checkout, opened without the engine, which takes half a second for it.

The format is Pulumi's own for stacks with a passphrase (github.com/pulumi/pulumi: ``pkg/secrets/passphrase`` and
``sdk/go/common/resource/config/crypt.go``): PBKDF2 of SHA-256 with a million rounds gives a key, AES-256-GCM opens.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.checkout import Checkout, write

Open = Callable[[str], str]
"""Plain text of what Pulumi writes as ``v1:nonce:ciphertext``."""
SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Marks a secret in exported values: https://www.pulumi.com/docs/iac/concepts/secrets/ (its signature key)."""
_ROUNDS, _KEY_BYTES, _VERSION, _PROOF = 1_000_000, 32, "v1", "pulumi"


class NotOpened(Exception):
    """The engine has to open them: another provider of secrets, another format, another passphrase."""


def opener(checkout: Checkout, stack: str, provider: Mapping[str, Any]) -> Open:
    """What opens a stack's secrets with the checkout's passphrase. Raises ``NotOpened``."""
    if provider.get("type") != "passphrase":
        raise NotOpened("secrets provider")
    try:
        salt: str = provider["state"]["salt"]
        passphrase = checkout.passphrase.read_text(encoding="utf-8").strip()
        return _opener(checkout, stack, salt, passphrase)
    except NotOpened:
        raise
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise NotOpened(type(error).__name__) from error


def opened(value: Any, open_: Open) -> Any:
    """A value of the state with its secrets as an export with ``--show-secrets`` has them. Raises ``NotOpened``."""
    if isinstance(value, dict):
        if SIGNATURE in value and "ciphertext" in value:
            return {SIGNATURE: value[SIGNATURE], "plaintext": open_(value["ciphertext"])}
        return {key: opened(item, open_) for key, item in value.items()}
    return [opened(item, open_) for item in value] if isinstance(value, list) else value


def _opener(checkout: Checkout, stack: str, salt: str, passphrase: str) -> Open:
    version, encoded, proof = salt.split(":", 2)
    # The key is kept beside the passphrase, and opens no more than that: it saves a third of a second.
    file, mark = checkout.run_file(stack, "key"), hashlib.sha256(f"{salt}\n{passphrase}".encode()).hexdigest()
    key = _kept(file, mark)
    found = key or hashlib.pbkdf2_hmac("sha256", passphrase.encode(), base64.b64decode(encoded), _ROUNDS, _KEY_BYTES)
    open_ = _aes(found)
    if version != _VERSION or open_(proof) != _PROOF:
        raise NotOpened("salt")
    if key is None:
        with contextlib.suppress(OSError):
            write(file, json.dumps({"of": mark, "key": found.hex()}), mode=0o600)
    return open_


def _kept(file: Path, mark: str) -> bytes | None:
    """The key of an earlier run, if it belongs to this salt and passphrase."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return bytes.fromhex(kept["key"]) if kept["of"] == mark else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _aes(key: bytes) -> Open:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key)

    def open_(text: str) -> str:
        try:
            version, nonce, sealed = text.split(":")
            if version != _VERSION:
                raise NotOpened("version")
            return cipher.decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None).decode()
        except (InvalidTag, ValueError) as error:
            raise NotOpened("ciphertext") from error

    return open_
