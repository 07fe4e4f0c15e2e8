"""What Artifact Registry refuses."""

from __future__ import annotations

import re

from rehearsal.cloud.call import Call
from rehearsal.cloud.rules import Details, Rule, add

_REST = "https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories"
_CREATE, _PATCH = (f"artifactregistry.projects.locations.repositories.{verb}" for verb in ("create", "patch"))


def _id(call: Call) -> Details | None:
    given = call.query.get("repositoryId", "")
    return None if re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", given) else {"given": given}


def _format(call: Call) -> Details | None:
    return None if call.body.get("format") not in (None, "FORMAT_UNSPECIFIED") else {}


def _cleanup(call: Call) -> Details | None:
    for name, policy in call.body.get("cleanupPolicies", {}).items():
        if policy.get("action") not in ("KEEP", "DELETE"):
            return {"name": name, "what": "an action of KEEP or DELETE is required"}
        if ("condition" in policy) == ("mostRecentVersions" in policy):
            return {"name": name, "what": "a condition or most_recent_versions is required, not both"}
        if "mostRecentVersions" in policy and policy["action"] != "KEEP":
            return {"name": name, "what": "most_recent_versions needs the action KEEP"}
    return None


add(
    Rule(
        key="repository-id",
        methods=(_CREATE,),
        message="Invalid repository ID '{given}': must be lowercase letters, digits and hyphens, begin with a letter, "
        "and have at most 63 characters.",
        source="https://cloud.google.com/artifact-registry/docs/repositories/create-repos",
        check=_id,
    ),
    Rule(
        key="repository-format",
        methods=(_CREATE,),
        message="The repository's format is required.",
        source=f"{_REST}#Repository.FIELDS.format",
        check=_format,
    ),
    Rule(
        key="repository-cleanup",
        methods=(_CREATE, _PATCH),
        message="Invalid cleanup policy '{name}': {what}.",
        source="https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy",
        check=_cleanup,
    ),
    Rule(
        key="repository-exists",
        methods=(_CREATE,),
        message="the repository already exists",
        source=f"{_REST}/create; the API's words",
        code=409,
    ),
    Rule(
        key="repository-missing",
        methods=(),
        message='Repository "{name}" not found',
        source=f"{_REST}/get",
        code=404,
    ),
)
