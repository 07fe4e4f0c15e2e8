"""The keys that identities are signed with, as the database keeps them: installed, and compared with what is live."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from db.identity import key_id
from migrations import connection as connections
from migrations import roles

if TYPE_CHECKING:
    import psycopg

_BLOCK = 64
"""Bytes of a block of SHA-256; RFC 2104 fills a shorter key with zeros."""


def install(connection: "psycopg.Connection[Any]", keys: Sequence[str]) -> tuple[str, ...]:
    """Make the database's keys exactly these; returns what changed. Needs the owner. Does nothing before revision 0005.

    Raises ``db.identity.IdentityKeyError`` for a key that isn't 64 hexadecimal digits.
    """
    if not missing(connection, keys):
        return ()
    rows = [(key_id(key), *_pads(key)) for key in keys]
    with connection.transaction():
        connection.execute("SET LOCAL ROLE NONE")  # only the login itself may be a superuser
        roles.keep_out_of_the_log(connection)
        connections.become_owner(connection)
        connection.execute("DELETE FROM auth.identity_keys WHERE key_id <> ALL(%s)", ([row[0] for row in rows],))
        for row in rows:
            connection.execute(
                "INSERT INTO auth.identity_keys (key_id, inner_pad, outer_pad) VALUES (%s, %s, %s)"
                " ON CONFLICT (key_id) DO UPDATE SET inner_pad = EXCLUDED.inner_pad, outer_pad = EXCLUDED.outer_pad",
                row,
            )
    return (f"installed {len(rows)} identity key{'s' if len(rows) != 1 else ''}",)


def missing(connection: "psycopg.Connection[Any]", keys: Sequence[str]) -> list[str]:
    """What differs between the database's keys and these, as a sentence; needs the owner or a superuser."""
    if not connections.exists(connection, "auth.identity_keys"):
        return []
    rows = connection.execute("SELECT key_id, inner_pad, outer_pad FROM auth.identity_keys").fetchall()
    live = {name: (bytes(inner), bytes(outer)) for name, inner, outer in rows}
    return [] if live == {key_id(key): _pads(key) for key in keys} else ["the identity keys are not this stack's"]


def _pads(key: str) -> tuple[bytes, bytes]:
    padded = bytes.fromhex(key).ljust(_BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in padded), bytes(byte ^ 0x5C for byte in padded)
