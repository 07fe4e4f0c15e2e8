"""Every right that the stack gives, and why; a test prints this list and compares it with what is registered.

Who may read which secret stands in ``secrets``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One right: the resource's name in the stack, the role, and the reason."""

    name: str
    role: str
    why: str


CLIENT, LOGIN = "roles/cloudsql.client", "roles/cloudsql.instanceUser"

BACKEND_CONNECTS = Binding(
    name="backend-connects", role=CLIENT, why="Cloud Run's socket asks the instance for a certificate as the backend"
)
MIGRATIONS_CONNECT = Binding(
    name="migrations-connect", role=CLIENT, why="the same, for the jobs that migrate and maintain"
)
BACKEND_LOGS_IN = Binding(
    name="backend-logs-in", role=LOGIN, why="the backend's login without a password (access.backend_iam_login)"
)
MIGRATIONS_BACK_UP = Binding(
    name="migrations-back-up",
    role="gaiaDbBackup",
    why="the job takes a backup before pending revisions and waits for it; a role of four permissions, for the "
    "predefined ones that may back up may delete as well",
)
EXPORTS_EXPORT = Binding(
    name="exports-export",
    role="gaiaDbExport",
    why="the scheduler calls the export API; a role of two permissions, for the predefined ones may do more",
)
INSTANCE_WRITES_EXPORTS = Binding(
    name="instance-writes-exports",
    role="roles/storage.objectAdmin",
    why="the instance itself writes the dump; on this bucket alone, whose versions keep what is overwritten",
)
SCHEDULER_MAINTAINS = Binding(
    name="scheduler-maintains", role="roles/run.invoker", why="the scheduler starts this one job"
)
PREVIEW_FROM_CI = Binding(
    name="preview-from-ci",
    role="roles/iam.workloadIdentityUser",
    why="pull requests of the named repository preview as this account, without a key",
)
DRILL_FROM_CI = Binding(
    name="drill-from-ci",
    role="roles/iam.workloadIdentityUser",
    why="the nightly workflow of the named repository restores an export as this account, without a key",
)
DRILL_READS_EXPORTS = Binding(
    name="drill-reads-exports", role="roles/storage.objectViewer", why="the drill reads exports; of this bucket alone"
)
DRILL_TELLS = Binding(
    name="drill-tells",
    role="roles/logging.logWriter",
    why="the drill writes its result into the log, which the alert counts; a log has no policy of its own",
)
AGENT_ENCRYPTS = Binding(
    name="agent-encrypts",
    role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
    why="Cloud SQL's own account encrypts the disks; on this key alone",
)
PERSON_CONNECTS = Binding(
    name="connects", role=CLIENT, why="a person of access.iam_users reaches the instance through the Auth Proxy"
)
PERSON_LOGS_IN = Binding(name="logs-in", role=LOGIN, why="a person of access.iam_users logs in without a password")

ALL = (
    BACKEND_CONNECTS,
    MIGRATIONS_CONNECT,
    BACKEND_LOGS_IN,
    MIGRATIONS_BACK_UP,
    EXPORTS_EXPORT,
    INSTANCE_WRITES_EXPORTS,
    SCHEDULER_MAINTAINS,
    PREVIEW_FROM_CI,
    DRILL_FROM_CI,
    DRILL_READS_EXPORTS,
    DRILL_TELLS,
    AGENT_ENCRYPTS,
    PERSON_CONNECTS,
    PERSON_LOGS_IN,
)

PERMISSIONS = {
    MIGRATIONS_BACK_UP.role: (
        "cloudsql.backupRuns.create",
        "cloudsql.backupRuns.get",
        "cloudsql.backupRuns.list",
        "cloudsql.instances.get",
    ),
    EXPORTS_EXPORT.role: ("cloudsql.instances.export", "cloudsql.instances.get"),
}
"""The permissions of the stack's own roles."""


def on_instances(project: str, names: list[str]) -> str:
    """The condition that narrows a right on the project down to these instances."""
    instances = " || ".join(f'resource.name == "projects/{project}/instances/{name}"' for name in names)
    return f'resource.service == "sqladmin.googleapis.com" && ({instances})'
