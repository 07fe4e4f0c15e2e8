#!/usr/bin/env bash
# Runs a command while the Cloud SQL Auth Proxy gives it the production database, and ends the proxy afterwards:
#
#   GAIA_INSTANCE=project:region:instance examples/auth-proxy/with-proxy.sh COMMAND [ARGUMENT…]
#
# The command finds the login that migrates in GAIA_MIGRATIONS_URL: taken from there, else from the secret
# db-migrator-url (version GAIA_URL_VERSION, else the newest), and led through the proxy's socket. Never an argument.
#
# Needs cloud-sql-proxy 2.3 or newer, and gcloud where the secret is to be read. An instance without a public address is
# reached from within its network alone: a VPN, a machine there, a Cloud Build private pool. GAIA_PROXY_FLAGS="" for a
# public one.
set -euo pipefail

say() { echo "with-proxy: $*" >&2; }

[ $# -gt 0 ] || { say "give a command to run"; exit 2; }
[ -n "${GAIA_INSTANCE:-}" ] || { say "set GAIA_INSTANCE=project:region:instance (pulumi stack output instance_connection_name)"; exit 2; }
PROXY=${GAIA_PROXY:-cloud-sql-proxy}
command -v "$PROXY" >/dev/null || { say "$PROXY isn't installed: https://cloud.google.com/sql/docs/postgres/sql-proxy"; exit 3; }
read -r -a flags <<<"${GAIA_PROXY_FLAGS---private-ip}"
START_TIMEOUT_S=30
project=${GAIA_INSTANCE%:*:*}

folder=$(mktemp -d "${TMPDIR:-/tmp}/gaia.XXXXXX")
proxy=
end() {
    if [ -n "$proxy" ] && kill "$proxy" 2>/dev/null; then wait "$proxy" 2>/dev/null || true; fi
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

url=${GAIA_MIGRATIONS_URL:-}
if [ -z "$url" ]; then
    url=$(gcloud secrets versions access "${GAIA_URL_VERSION:-latest}" --secret=db-migrator-url --project="$project")
fi
socket=$folder/$GAIA_INSTANCE
export GAIA_MIGRATIONS_URL="${url%%\?*}?host=$socket"

"$PROXY" --unix-socket "$folder" --run-connection-test "${flags[@]}" "$GAIA_INSTANCE" >"$folder/log" 2>&1 &
proxy=$!
deadline=$((SECONDS + START_TIMEOUT_S))
until [ -S "$socket/.s.PGSQL.5432" ]; do
    if ! kill -0 "$proxy" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
        say "the proxy gave no socket; the end of its log:"
        tail -n 10 "$folder/log" >&2
        exit 3
    fi
    sleep 0.1
done

status=0
"$@" || status=$?
exit "$status"
