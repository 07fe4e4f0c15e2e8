"""The table: every resource type that the program can register, one module for each of Google's services."""

from __future__ import annotations

from itertools import chain

from rehearsal.provider.table import ResourceType
from rehearsal.provider.types import (
    artifactregistry,
    cloudresourcemanager,
    cloudscheduler,
    compute,
    dns,
    iam,
    kms,
    logging,
    monitoring,
    run,
    secretmanager,
    servicenetworking,
    serviceusage,
    sql,
    storage,
    vpcaccess,
)

TYPES: dict[str, ResourceType] = {
    kind.token: kind
    for kind in chain(
        artifactregistry.TYPES,
        cloudresourcemanager.TYPES,
        cloudscheduler.TYPES,
        compute.TYPES,
        dns.TYPES,
        iam.TYPES,
        kms.TYPES,
        logging.TYPES,
        monitoring.TYPES,
        run.TYPES,
        secretmanager.TYPES,
        servicenetworking.TYPES,
        serviceusage.TYPES,
        sql.TYPES,
        storage.TYPES,
        vpcaccess.TYPES,
    )
}
"""By token."""
