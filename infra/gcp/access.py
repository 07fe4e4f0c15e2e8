"""Who acts: one service account for each task, and what it may do on the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pulumi

from infra.gcp import bindings, settings
from infra.gcp.apis import Apis
from infra.gcp.bindings import Binding
from infra.gcp.place import Place
from infra.gcp.sdk import projects, serviceaccount

Account = Literal["backend", "migrate", "maintain", "export", "preview", "drill"]
ACCOUNTS: dict[Account, str] = {
    "backend": "runs the backend on Cloud Run",
    "migrate": "runs the jobs that migrate and maintain",
    "maintain": "lets the scheduler start the maintenance job",
    "export": "lets the scheduler call the export API",
    "preview": "previews pull requests; reads, and changes nothing",
    "drill": "restores an export every night, to see that it restores",
}
OF_PRINCIPALS: frozenset[Account] = frozenset({"drill"})
"""Only there where somebody is named who acts as them."""


@dataclass(frozen=True, kw_only=True)
class AccessArgs:
    place: Place
    instances: list[str]
    """The names of the primary and its replicas."""
    access: settings.Access
    apis: Apis


class Access(pulumi.ComponentResource):
    """Service accounts and their bindings. What a right can be on (secret, bucket, job, key), it is on that."""

    accounts: dict[Account, serviceaccount.Account]
    granted: dict[Account, list[pulumi.Resource]]
    """The bindings that an account needs before it can do its work."""

    def __init__(self, name: str, args: AccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Access", name, {}, opts)
        self._args = args
        self.accounts = {
            account: self._account(account, task)
            for account, task in ACCOUNTS.items()
            if account not in OF_PRINCIPALS or args.access.drill_principal
        }
        backend, migrate, export = (self.member(account) for account in ("backend", "migrate", "export"))
        back_up, may_export = self._role(bindings.MIGRATIONS_BACK_UP), self._role(bindings.EXPORTS_EXPORT)
        here = self._condition()
        self.granted = {
            "backend": [self._binding(bindings.BACKEND_CONNECTS, backend, condition=here)],
            "migrate": [
                self._binding(bindings.MIGRATIONS_CONNECT, migrate, condition=here),
                # Without a condition: it polls operations, and those are no instances.
                self._binding(bindings.MIGRATIONS_BACK_UP, migrate, role=back_up),
            ],
            "export": [self._binding(bindings.EXPORTS_EXPORT, export, role=may_export, condition=here)],
        }
        if args.access.backend_iam_login:
            self.granted["backend"].append(self._binding(bindings.BACKEND_LOGS_IN, backend, condition=here))
        for person, email in sorted(args.access.iam_users.items()):
            self._person(person, email)
        if args.access.preview_principal:
            self._act_as("preview", bindings.PREVIEW_FROM_CI, args.access.preview_principal)
        if args.access.drill_principal:
            self._act_as("drill", bindings.DRILL_FROM_CI, args.access.drill_principal)
            self._binding(bindings.DRILL_TELLS, self.member("drill"))
        self.register_outputs({})

    def email(self, account: Account) -> str:
        """An account's address; known before the account is there."""
        return self._args.place.service_account(f"gaia-{account}-sa")

    def member(self, account: Account) -> pulumi.Output[str]:
        """An account as bindings name it; waits for the account."""
        return self.accounts[account].email.apply(lambda email: f"serviceAccount:{email}")

    def _account(self, account: Account, task: str) -> serviceaccount.Account:
        return serviceaccount.Account(
            f"{account}-account",
            project=self._args.place.project,
            account_id=f"gaia-{account}-sa",
            display_name=f"Gaia's database: {account}",
            description=task[0].upper() + task[1:],
            opts=self._opts("iam"),
        )

    def _role(self, binding: Binding) -> pulumi.Output[str]:
        role = projects.IAMCustomRole(
            f"role-{binding.name}",
            project=self._args.place.project,
            role_id=binding.role,
            title=f"Gaia's database: {binding.name}",
            description=binding.why[:256],
            permissions=list(bindings.PERMISSIONS[binding.role]),
            opts=self._opts("iam"),
        )
        return role.name

    def _act_as(self, account: Account, binding: Binding, principal: str) -> None:
        serviceaccount.IAMMember(
            binding.name,
            service_account_id=self.accounts[account].name,
            role=binding.role,
            member=principal,
            opts=self._opts("iam"),
        )

    def _person(self, person: str, email: str) -> None:
        for binding in (bindings.PERSON_CONNECTS, bindings.PERSON_LOGS_IN):
            named = Binding(name=f"person-{person}-{binding.name}", role=binding.role, why=binding.why)
            self._binding(named, f"user:{email}", condition=self._condition())

    def _binding(
        self,
        binding: Binding,
        member: pulumi.Input[str],
        *,
        role: pulumi.Input[str] | None = None,
        condition: projects.IAMMemberConditionArgs | None = None,
    ) -> projects.IAMMember:
        # One member each, never a whole policy: what others have set up in the project stays.
        return projects.IAMMember(
            binding.name,
            project=self._args.place.project,
            role=role or binding.role,
            member=member,
            condition=condition,
            opts=self._opts("cloudresourcemanager"),
        )

    def _condition(self) -> projects.IAMMemberConditionArgs:
        return projects.IAMMemberConditionArgs(
            title="gaia database only",
            description="Cloud SQL has no policies on single instances",
            expression=bindings.on_instances(self._args.place.project, self._args.instances),
        )

    def _opts(self, api: str) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=self._args.apis.of(api))
