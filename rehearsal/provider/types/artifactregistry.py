"""Where the images of the migrations are."""

from __future__ import annotations

from rehearsal.provider.table import ResourceType

TYPES = (
    ResourceType(
        token="gcp:artifactregistry/repository:Repository",
        service="artifactRegistry",
        collection="projects/{project}/locations/{location}/repositories",
        item="projects/{project}/locations/{location}/repositories/{repositoryId}",
        id="projects/{project}/locations/{location}/repositories/{repositoryId}",
        source="recorded: POST ?repository_id, operation, PATCH ?updateMask",
        create_query={"repository_id": "{repositoryId}"},
        mask="query",
        operation="google",
        rename={"cleanupPolicies": "cleanupPolicies{id}"},
        local=frozenset({"location", "project", "repositoryId", "deletionPolicy"}),
        fixed=frozenset({"format", "mode", "kmsKeyName"}),
        kept=frozenset({"vulnerabilityScanningConfig"}),
        defaults={"mode": "STANDARD_REPOSITORY"},
        unordered=frozenset({"cleanupPolicies"}),
        ignore_case=frozenset({"format"}),
        # Documented as a list of words, and not checked by the provider: accepted in a preview.
        free=frozenset({"format"}),
        replaces=frozenset(
            {
                "format",
                "kmsKeyName",
                "location",
                "mavenConfig.allowSnapshotOverwrites",
                "mavenConfig.versionPolicy",
                "mode",
                "project",
                "remoteRepositoryConfig.aptRepository",
                "remoteRepositoryConfig.commonRepository",
                "remoteRepositoryConfig.description",
                "remoteRepositoryConfig.dockerRepository",
                "remoteRepositoryConfig.mavenRepository",
                "remoteRepositoryConfig.noCache",
                "remoteRepositoryConfig.npmRepository",
                "remoteRepositoryConfig.pythonRepository",
                "remoteRepositoryConfig.yumRepository",
                "repositoryId",
            }
        ),
    ),
)
