"""What the backend and the jobs read from Secret Manager, and who may read which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import pulumi

from infra.gcp.access import Access, Account
from infra.gcp.apis import Apis
from infra.gcp.place import Place
from infra.gcp.sdk import secretmanager
from infra.outputs import SecretReference

READER = "roles/secretmanager.secretAccessor"
READERS: dict[str, dict[Account, str]] = {
    "db-user": {"backend": "DB_USER"},
    "db-password": {
        "backend": "DB_PASSWORD",
        "migrate": "makes the login, and gives it this password",
    },
    "db-password-other": {"migrate": "the same for the login whose turn it isn't"},
    "db-name": {"backend": "DB_NAME"},
    "db-url": {"backend": "DATABASE_URL"},
    "db-identity-key": {
        "backend": "signs identities",
        "migrate": "installs in the database what verifies them (the scheme has one key for both)",
    },
    "db-migrator-url": {"migrate": "the login that migrates and maintains"},
    "db-server-ca": {"backend": "proves the server, where it is reached at an address", "migrate": "the same"},
    "db-client-cert": {"backend": "its certificate, where the server asks for one"},
    "db-client-key": {"backend": "the key of that certificate"},
}
"""Who reads each secret, and what for. Nobody else may, and the jobs less: ``readers``."""

SERVER_CA = "/secrets/server-ca/server-ca.pem"
CLIENT_CERTIFICATE = "/secrets/client-cert/client-cert.pem"
CLIENT_KEY = "/secrets/client-key/client-key.pem"
"""Where the containers mount the files that the URL names."""


def readers(secret_id: str, *, jobs_at_address: bool) -> list[Account]:
    """Who reads a secret. Cloud Run's socket brings its own proof of the server: jobs that use it need no authority."""
    needless = ("db-server-ca", "migrate")
    return [account for account in READERS[secret_id] if jobs_at_address or (secret_id, account) != needless]


def socket_url(*, user: str, password: str, database: str, connection_name: str) -> str:
    """A login through Cloud Run's socket, percent-encoded, as the source document composes it."""
    return (
        f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@/{database}?host=/cloudsql/{connection_name}"
    )


def address_url(*, user: str, password: str, database: str, host: str, client_certificate: bool = False) -> str:
    """A login at an address, over TLS that proves the server: by its own CA, for the certificate names no address."""
    query = {"sslmode": "verify-ca", "sslrootcert": SERVER_CA}
    if client_certificate:
        query |= {"sslcert": CLIENT_CERTIFICATE, "sslkey": CLIENT_KEY}
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{login}@{host}:5432/{database}?{urlencode(query, safe='/')}"


@dataclass(frozen=True, kw_only=True)
class SecretsArgs:
    place: Place
    values: Mapping[str, pulumi.Input[str]]
    """By the secret's name, each one of ``READERS``."""
    jobs_at_address: bool
    """Whether the jobs reach the server at an address, and not through Cloud Run's socket."""
    access: Access
    apis: Apis


class Secrets(pulumi.ComponentResource):
    """One secret with one pinned version each; a changed value is a new version, and the old one stays readable."""

    references: dict[str, pulumi.Output[SecretReference]]
    """By the secret's name: its id, and the number of the version to read."""
    versions: dict[str, secretmanager.SecretVersion]

    def __init__(self, name: str, args: SecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gaia:gcp:Secrets", name, {}, opts)
        self._args = args
        self.references, self.versions = {}, {}
        self._readable: dict[Account, list[pulumi.Resource]] = {}
        for secret_id, value in args.values.items():
            secret = self._secret(secret_id)
            version = self._pinned(secret_id, secret, value)
            self.versions[secret_id] = version
            self.references[secret_id] = pulumi.Output.all(id=secret.name, version=version.version).apply(
                lambda both: SecretReference(id=both["id"], version=str(both["version"]))
            )
            for account in readers(secret_id, jobs_at_address=args.jobs_at_address):
                self._readable.setdefault(account, []).append(self._reader(secret_id, secret, account))
        self.register_outputs({})

    def readable(self, account: Account) -> Sequence[pulumi.Resource]:
        """What an account has to wait for before it can read its secrets."""
        return self._readable.get(account, [])

    def _secret(self, secret_id: str) -> secretmanager.Secret:
        return secretmanager.Secret(
            secret_id,
            project=self._args.place.project,
            secret_id=secret_id,
            labels=dict(self._args.place.labels),
            replication=secretmanager.SecretReplicationArgs(auto=secretmanager.SecretReplicationAutoArgs()),
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._args.apis.of("secretmanager")),
        )

    def _pinned(
        self, secret_id: str, secret: secretmanager.Secret, value: pulumi.Input[str]
    ) -> secretmanager.SecretVersion:
        return secretmanager.SecretVersion(
            f"{secret_id}-version",
            secret=secret.id,
            secret_data=pulumi.Output.secret(value),
            # A new value replaces this resource. Deleting the old version would break every revision that still
            # runs with it.
            deletion_policy="ABANDON",
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _reader(self, secret_id: str, secret: secretmanager.Secret, account: Account) -> secretmanager.SecretIamMember:
        return secretmanager.SecretIamMember(
            f"{secret_id}-for-{account}",
            project=self._args.place.project,
            secret_id=secret.secret_id,
            role=READER,
            member=self._args.access.member(account),
            opts=pulumi.ResourceOptions(parent=self),
        )
