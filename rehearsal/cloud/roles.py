"""What the roles that the stack uses allow; a permission ``a.b.*`` is every one that begins so.

From https://cloud.google.com/iam/docs/roles-permissions, cut down to the services of the rehearsal. A role that isn't
here can be bound, and allows nothing.
"""

from __future__ import annotations

EVERYTHING = ("*",)
ROLES: dict[str, tuple[str, ...]] = {
    "roles/owner": EVERYTHING,
    "roles/editor": EVERYTHING,
    "roles/cloudsql.admin": ("cloudsql.*",),
    "roles/cloudsql.client": ("cloudsql.instances.connect", "cloudsql.instances.get"),
    "roles/cloudsql.editor": (
        "cloudsql.backupRuns.create",
        "cloudsql.backupRuns.get",
        "cloudsql.backupRuns.list",
        "cloudsql.databases.get",
        "cloudsql.databases.list",
        "cloudsql.databases.create",
        "cloudsql.databases.update",
        "cloudsql.instances.connect",
        "cloudsql.instances.export",
        "cloudsql.instances.get",
        "cloudsql.instances.list",
        "cloudsql.instances.restart",
        "cloudsql.instances.update",
        "cloudsql.users.list",
    ),
    "roles/cloudsql.instanceUser": ("cloudsql.instances.get", "cloudsql.instances.login"),
    "roles/cloudsql.viewer": (
        "cloudsql.backupRuns.get",
        "cloudsql.backupRuns.list",
        "cloudsql.databases.get",
        "cloudsql.databases.list",
        "cloudsql.instances.get",
        "cloudsql.instances.list",
        "cloudsql.users.list",
    ),
    "roles/secretmanager.admin": ("secretmanager.*",),
    "roles/secretmanager.secretAccessor": ("secretmanager.versions.access",),
    "roles/secretmanager.viewer": (
        "secretmanager.secrets.get",
        "secretmanager.secrets.getIamPolicy",
        "secretmanager.secrets.list",
        "secretmanager.versions.get",
        "secretmanager.versions.list",
    ),
    "roles/run.admin": ("run.*",),
    "roles/run.invoker": ("run.jobs.run", "run.executions.cancel", "run.routes.invoke"),
    "roles/run.viewer": ("run.jobs.get", "run.jobs.list", "run.executions.get", "run.executions.list"),
    "roles/storage.admin": ("storage.*",),
    "roles/storage.objectAdmin": ("storage.objects.*", "storage.multipartUploads.*"),
    "roles/storage.objectCreator": ("storage.objects.create", "storage.multipartUploads.create"),
    "roles/storage.objectUser": (
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
        "storage.objects.update",
    ),
    "roles/storage.objectViewer": ("storage.objects.get", "storage.objects.list"),
    "roles/storage.legacyBucketOwner": (
        "storage.buckets.get",
        "storage.buckets.getIamPolicy",
        "storage.buckets.setIamPolicy",
        "storage.buckets.update",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.list",
    ),
    "roles/storage.legacyBucketReader": ("storage.buckets.get", "storage.objects.list"),
    "roles/iam.serviceAccountUser": ("iam.serviceAccounts.actAs", "iam.serviceAccounts.get"),
    "roles/iam.serviceAccountTokenCreator": (
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.getOpenIdToken",
        "iam.serviceAccounts.signBlob",
        "iam.serviceAccounts.signJwt",
        "iam.serviceAccounts.implicitDelegation",
    ),
    "roles/iam.workloadIdentityUser": (
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.getOpenIdToken",
    ),
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": (
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        "cloudkms.cryptoKeyVersions.useToEncrypt",
    ),
    "roles/logging.logWriter": ("logging.logEntries.create",),
    "roles/monitoring.metricWriter": ("monitoring.timeSeries.create",),
    "roles/artifactregistry.reader": ("artifactregistry.repositories.get", "artifactregistry.repositories.list"),
    "roles/compute.networkUser": ("compute.networks.use", "compute.subnetworks.use"),
}
VIEWER = (".get", ".list", ".getIamPolicy")
"""``roles/viewer``: what ends so, secrets' contents excepted."""


def allows(permissions: tuple[str, ...], permission: str) -> bool:
    """Whether one of these is the permission, or a pattern that it fits."""
    return any(
        permission == each or (each.endswith("*") and permission.startswith(each.removesuffix("*")))
        for each in permissions
    )


def role_allows(role: str, permission: str) -> bool:
    """By Google's own roles; a project's own ones are in its state."""
    if role == "roles/viewer":
        return permission.endswith(VIEWER)
    if role == "roles/editor" and permission.endswith((".setIamPolicy", "versions.access")):
        return False
    return allows(ROLES.get(role, ()), permission)
