"""SCRAM-SHA-256 verifiers, made and compared here, so that PostgreSQL never sees a password."""

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata

ITERATIONS = 4096
"""PostgreSQL's own default (``scram_iterations``)."""


def verifier(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """What ``pg_authid.rolpassword`` holds for ``password`` (RFC 5802, in PostgreSQL's writing)."""
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_text(salt)}${_text(stored)}:{_text(server)}"


def fits(password: str, stored: str | None) -> bool:
    """Whether ``stored`` is a verifier of ``password``."""
    try:
        _, parameters, _ = (stored or "").split("$")
        iterations, salt = parameters.split(":")
        candidate = verifier(password, salt=base64.b64decode(salt, validate=True), iterations=int(iterations))
    except ValueError:
        return False
    return hmac.compare_digest(candidate, stored or "")


def _prepared(password: str) -> bytes:
    """SASLprep (RFC 4013), as far as PostgreSQL's: what it forbids is taken as it is."""
    if password.isascii():
        return password.encode()
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    forbidden = any(
        stringprep.in_table_a1(c) or stringprep.in_table_c21_c22(c) or stringprep.in_table_c3(c) for c in normal
    )
    return (password if forbidden or not normal else normal).encode()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
