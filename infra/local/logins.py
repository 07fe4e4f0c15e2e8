"""The passwords of the app's two logins on a local stack, and the keys that identities are signed with."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.local.password import IdentityKey, Password
from infra.rotation import Rotation


@dataclass(frozen=True, kw_only=True)
class AppLogins:
    """What the app logs in with."""

    rotation: Rotation
    current_password: pulumi.Output[str]
    other_password: pulumi.Output[str] | None
    """Of the login whose turn is over; once retired, something that nobody uses. On the first turn there is none."""
    identity_key: pulumi.Output[str]
    """``current``, or ``current,previous`` while a rotation lasts."""


def declare(rotation: Rotation) -> AppLogins:
    """As ``infra.gcp.logins`` has them; the first turn's resources are named as they were before there were turns."""
    turn = rotation.turn
    other = None
    if turn > 1:
        retired = rotation.retire_previous
        other = Password(f"retired-password-{turn - 1}").value if retired else _app_password(turn - 1)
    keys = [IdentityKey(_name("identity-key", turn)).value for turn in rotation.identity_turns]
    return AppLogins(
        rotation=rotation,
        current_password=_app_password(turn),
        other_password=other,
        identity_key=keys[0] if len(keys) == 1 else pulumi.Output.all(*keys).apply(",".join),
    )


def _app_password(turn: int) -> pulumi.Output[str]:
    return Password(_name("app-password", turn)).value


def _name(what: str, turn: int) -> str:
    return what if turn == 1 else f"{what}-{turn}"
