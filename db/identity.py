"""The signed identity that a session carries: who asks, until when, and the proof that the backend said so.

Pure standard library: migrations and tests sign with the same code. Row-level security verifies the token in
`auth.current_user_id()`; the key never reaches a login that could read it back.
"""

import hashlib
import hmac
import re
from functools import lru_cache
from uuid import UUID

KEY_PATTERN = re.compile(r"[0-9a-fA-F]{64}")
"""32 random bytes in hexadecimal, as `openssl rand -hex 32` prints them."""

MOST_KEYS = 2
"""The current key and, while a rotation lasts, the one before it."""


class IdentityKeyError(ValueError):
    """A signing key that cannot be used. Its message never holds the key."""


def keys(text: str) -> tuple[str, ...]:
    """The keys of GAIA_IDENTITY_KEY: "current", or "current,previous" while a rotation lasts; sign with the first.

    Raises IdentityKeyError for anything but one or two different keys of 64 hexadecimal characters.
    """
    found = tuple(part.strip() for part in text.split(","))
    for place, key in enumerate(found, start=1):
        _require_form(key, place)
    if len(found) > MOST_KEYS:
        raise IdentityKeyError(f"GAIA_IDENTITY_KEY: {len(found)} keys; give the current one, or current,previous.")
    if len({key.lower() for key in found}) < len(found):
        raise IdentityKeyError("GAIA_IDENTITY_KEY: both keys are the same; give one key, or two different ones.")
    return found


def key_id(key: str) -> str:
    """The name a token calls its key by: 8 hexadecimal characters of SHA-256(key). Tells nothing about the key."""
    return _signer(key)[0]


def sign(key: str, user_id: UUID, expires_at: int) -> str:
    """A token for `app.identity`: `<key id>.<user>.<expiry>.<HMAC-SHA-256 of all before the last dot>`.

    `key` is 64 hexadecimal characters, `expires_at` whole seconds since 1970. Raises IdentityKeyError.
    """
    name, keyed = _signer(key)
    claim = f"{name}.{user_id}.{expires_at}"
    mac = keyed.copy()
    mac.update(claim.encode("ascii"))
    return f"{claim}.{mac.hexdigest()}"


@lru_cache(maxsize=8)
def _signer(key: str) -> tuple[str, hmac.HMAC]:
    """The key's name, and an HMAC that has taken in the key already: each token starts from a copy of it."""
    secret = bytes.fromhex(_require_form(key, 1))
    return hashlib.sha256(secret).hexdigest()[:8], hmac.new(secret, digestmod=hashlib.sha256)


def _require_form(key: str, place: int) -> str:
    if not KEY_PATTERN.fullmatch(key):
        raise IdentityKeyError(
            f"GAIA_IDENTITY_KEY: key {place} is not 64 hexadecimal characters (it has {len(key)} characters); "
            "make one with: openssl rand -hex 32"
        )
    return key
