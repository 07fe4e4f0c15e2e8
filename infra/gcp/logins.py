"""The database, and who logs in: two that the backend takes turns with, one that migrates, and people."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_random

from infra.gcp import settings
from infra.gcp.instance import Instance
from infra.gcp.place import Place
from infra.gcp.sdk import sql
from infra.rotation import Rotation

MIGRATOR = "gaia_migrator"
PASSWORD_LENGTH, KEY_BYTES = 32, 32
_GROUPS = {"CLOUD_IAM_USER": "gaia_readonly", "CLOUD_IAM_SERVICE_ACCOUNT": "gaia_backend"}
"""What the database lets each kind of IAM user do."""


@dataclass(frozen=True, kw_only=True)
class LoginsArgs:
    place: Place
    database: str
    rotation: Rotation
    access: settings.Access
    instance: Instance


class Logins(pulumi.ComponentResource):
    """Raising ``rotation.turn`` gives the idle login a new password and hands it on; the other one goes on as it is.

    Revisions of the backend that still run keep the password they were started with, so nobody fails to connect.
    Once nobody uses it (``pg_stat_activity``), ``rotation.retire_previous`` gives the old login a password that only
    the migration job ever reads.

    Through the API only ``gaia_migrator`` is made. What the API makes has CREATEROLE and is a member of
    cloudsqlsuperuser, and since PostgreSQL 16 nobody but its maker may take that away again; ``database_roles`` could
    only name roles that exist. So the migration job makes the backend's logins itself, as ``migrations/roles.py`` has
    them, with the passwords from here.
    """

    current: str
    """The login that the backend uses from now on."""
    other: str
    """The one whose turn it isn't."""
    current_password: pulumi.Output[str]
    other_password: pulumi.Output[str]
    """What the login has whose turn it isn't; once retired, something that nobody uses."""
    migrator_password: pulumi.Output[str]
    identity_keys: pulumi.Output[str]
    """``current``, or ``current,previous`` while a rotation lasts."""
    iam_logins: dict[str, str]
    """The logins without a password, and the role that the migration job gives each the rights of."""
    ready: list[pulumi.Resource]
    """The database, and every user that the API makes."""

    def __init__(self, name: str, args: LoginsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Logins", name, {}, opts)
        self._args = args
        turn = args.rotation.turn
        database = sql.Database(
            "database",
            project=args.place.project,
            instance=args.instance.primary.name,
            name=args.database,
            charset="UTF8",
            collation="en_US.UTF8",
            deletion_policy="ABANDON",
            opts=pulumi.ResourceOptions(parent=self, protect=args.place.protect),
        )
        self.current, self.other = args.rotation.current, args.rotation.other
        self.current_password = self._app_password(turn)
        self.migrator_password = self._password("migrator-password")
        self.other_password = (
            self._password(f"retired-password-{turn - 1}")
            if args.rotation.retire_previous
            else self._app_password(turn - 1)
        )
        migrator = self._user(f"user-{MIGRATOR}", MIGRATOR, password=self.migrator_password)
        iam_users = self._iam_users()
        self.iam_logins = {name: _GROUPS[kind] for name, kind in self._iam_names().values()}
        self.identity_keys = self._identity_keys()
        self.ready = [database, migrator, *iam_users]
        self.register_outputs({"current": self.current})

    def _app_password(self, turn: int) -> pulumi.Output[str]:
        return self._password(f"app-password-{turn}")

    def _password(self, name: str) -> pulumi.Output[str]:
        # Letters and digits: 190 bits, and nothing that a URL or a shell would need to escape.
        made = pulumi_random.RandomPassword(
            name, length=PASSWORD_LENGTH, special=False, opts=pulumi.ResourceOptions(parent=self)
        )
        return made.result

    def _user(
        self, name: str, login: str, *, password: pulumi.Output[str] | None = None, kind: str | None = None
    ) -> sql.User:
        return sql.User(
            name,
            project=self._args.place.project,
            instance=self._args.instance.primary.name,
            name=login,
            password=password,
            type=kind,
            # A user that owns objects, or was granted roles, can't be deleted through the API.
            deletion_policy="ABANDON",
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _iam_names(self) -> dict[str, tuple[str, str]]:
        people = {f"person-{key}": (email, "CLOUD_IAM_USER") for key, email in self._args.access.iam_users.items()}
        if self._args.access.backend_iam_login:
            # PostgreSQL's names are too short for the whole address: Cloud SQL wants it without its end.
            name = self._args.place.service_account("gaia-backend-sa").removesuffix(".gserviceaccount.com")
            people["backend"] = (name, "CLOUD_IAM_SERVICE_ACCOUNT")
        return people

    def _iam_users(self) -> list[pulumi.Resource]:
        return [
            self._user(f"iam-user-{key}", name, kind=kind) for key, (name, kind) in sorted(self._iam_names().items())
        ]

    def _identity_keys(self) -> pulumi.Output[str]:
        keys = (self._key(f"identity-key-{turn}") for turn in self._args.rotation.identity_turns)
        return pulumi.Output.all(*keys).apply(",".join)

    def _key(self, name: str) -> pulumi.Output[str]:
        return pulumi_random.RandomBytes(name, length=KEY_BYTES, opts=pulumi.ResourceOptions(parent=self)).hex
