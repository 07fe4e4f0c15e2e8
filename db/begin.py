"""How a transaction begins: with nothing left of the connection's last user, and with the identity of this one."""

FORGET = "BEGIN;RESET ALL;CLOSE ALL;COMMIT;"
"""Undoes what a session set for longer than its transaction, by `SET` or by a statement that was smuggled in. In a
transaction of its own: the settings of a transaction are those at its beginning."""


def opening(begin: str, token: str | None, hidden_bytes: int, *, read_only: bool = False) -> str:
    """The message that begins a transaction as `begin` says, for the user of `token` (of db.identity.sign) or nobody.

    Every login sees in pg_stat_activity what its other sessions run, cut at `track_activity_query_size`
    (`hidden_bytes`): the token stands behind that, or an injected statement could look for it there.
    """
    plain = f"{FORGET}{begin.rstrip(';')}{' READ ONLY' if read_only else ''}"
    if token is None:
        return plain
    return f"{plain};{' ' * hidden_bytes}SELECT set_config('app.identity','{token}',true)"
