#!/usr/bin/env bash
# A psql on the production database through the Auth Proxy, as the login that migrates; arguments go to psql.
#
#   GAIA_INSTANCE=project:region:instance examples/auth-proxy/psql.sh -c "SELECT 1"
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "${1:-}" != --inside ]; then
    exec "$here/with-proxy.sh" "${BASH_SOURCE[0]}" --inside "$@"
fi
shift

decoded() { printf '%b' "${1//%/\\x}"; }

# As variables, for arguments can be read by every user of the machine.
login=${GAIA_MIGRATIONS_URL#*://}
PGUSER=$(decoded "${login%%:*}")
login=${login#*:}
PGPASSWORD=$(decoded "${login%%@*}")
login=${login#*@/}
PGDATABASE=$(decoded "${login%%\?*}")
PGHOST=${login#*\?host=}
export PGUSER PGPASSWORD PGDATABASE PGHOST
exec "${GAIA_PSQL:-psql}" --no-psqlrc --set=ON_ERROR_STOP=1 "$@"
