#!/usr/bin/env bash
# The production migration from a laptop: what the job gaia-db-migrate does, backup included, through the Auth Proxy.
#
#   GAIA_INSTANCE=project:region:instance examples/auth-proxy/migrate.sh
#
# You need the rights of gaia-migrate-sa yourself: reading db-migrator-url, roles/cloudsql.client and the role gaiaDbBackup.
# It leaves passwords and identity keys as they are. The environment of the checkout (./gaia setup) runs it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=${GAIA_INSTANCE:?set GAIA_INSTANCE=project:region:instance}
project=${project%:*:*}
if [ -z "${GOOGLE_OAUTH_ACCESS_TOKEN:-}" ]; then
    GOOGLE_OAUTH_ACCESS_TOKEN=$(gcloud auth print-access-token --project="$project")
    export GOOGLE_OAUTH_ACCESS_TOKEN
fi
# A local stack's key (./gaia env) must not get into production.
unset GAIA_IDENTITY_KEY GAIA_APP_PASSWORD GAIA_APP_PASSWORD_B DATABASE_URL
cd "$here/../.."
exec "$here/with-proxy.sh" "${GAIA_PYTHON:-.venv/bin/python}" -m migrations.job
