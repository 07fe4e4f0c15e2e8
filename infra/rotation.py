"""The backend's two logins take turns: whose turn it is, and which keys count. The same on every target."""

from __future__ import annotations

from dataclasses import dataclass

from infra.setting_types import STRICT, Positive


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Counters: raise one, and ``up`` makes a new password or key and hands it on."""

    __pydantic_config__ = STRICT

    turn: Positive = 1
    retire_previous: bool = False
    identity_turn: Positive = 1
    retire_previous_identity: bool = False

    @property
    def current(self) -> str:
        """The login that the backend uses from now on."""
        return login_of(self.turn)

    @property
    def other(self) -> str:
        """The one whose turn it isn't."""
        return login_of(self.turn + 1)

    @property
    def identity_turns(self) -> tuple[int, ...]:
        """The turns whose keys count; the first one's signs."""
        if self.identity_turn == 1 or self.retire_previous_identity:
            return (self.identity_turn,)
        return (self.identity_turn, self.identity_turn - 1)


def login_of(turn: int) -> str:
    """Whose turn it is: ``gaia_app`` on the first, third, …, ``gaia_app_b`` on the others."""
    from migrations.roles import APP_LOGINS  # not needed to read the settings, which every command does

    return APP_LOGINS[(turn - 1) % 2]
