#!/bin/sh
# The contract of the official image's docker-entrypoint.sh, written anew for busybox: what the variables mean,
# the order of the steps, and the words people look for in `docker logs`.
set -eu

log() { echo "$@"; }

fail() {
    echo "$@" >&2
    exit 1
}

# NAME, or the content of the file that NAME_FILE names; both at once is a fault, as in the official image.
value_or_file() {
    name=$1
    default=${2:-}
    eval "given=\${$name:-}"
    eval "file=\${${name}_FILE:-}"
    if [ -n "$given" ] && [ -n "$file" ]; then
        fail "error: both $name and ${name}_FILE are set (but are exclusive)"
    fi
    if [ -n "$file" ]; then given=$(cat "$file"); fi
    [ -n "$given" ] || given=$default
    export "$name=$given"
    unset "${name}_FILE"
}

prepare_folders() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 0700 "$PGDATA" || true
    chmod 3777 /var/run/postgresql || true
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" \! -user postgres -exec chown postgres {} +
        find /var/run/postgresql \! -user postgres -exec chown postgres {} +
    fi
}

require_password() {
    if [ -z "$POSTGRES_PASSWORD" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
        cat >&2 <<'MESSAGE'
Error: Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the
       superuser. For example, "-e POSTGRES_PASSWORD=password" on "docker run".

       You may also use "POSTGRES_HOST_AUTH_METHOD=trust" to allow all
       connections without a password. This is *not* recommended.
MESSAGE
        exit 1
    fi
}

initialise() {
    password_file=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" >"$password_file"
    # POSTGRES_INITDB_ARGS is split into words, with quotes respected: hence eval.
    eval "initdb --username=\"\$POSTGRES_USER\" --pwfile=\"\$password_file\" ${POSTGRES_INITDB_ARGS:-} \"\$@\"" \
        || { status=$?; rm -f "$password_file"; exit "$status"; }
    rm -f "$password_file"
    # The official image's socket folder, and the one that this build's own clients look in. (initdb overwrites
    # what the sample file says.)
    printf "\nunix_socket_directories = '/var/run/postgresql,/tmp'\n" >>"$PGDATA/postgresql.conf"
}

allow_remote_logins() {
    method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption)}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

run_sql() { psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" "$@"; }

create_database() {
    exists=$(run_sql --dbname postgres --set db="$POSTGRES_DB" --tuples-only --no-align <<'SQL'
SELECT 1 FROM pg_database WHERE datname = :'db';
SQL
    )
    if [ -z "$exists" ]; then
        run_sql --dbname postgres --set db="$POSTGRES_DB" <<'SQL'
CREATE DATABASE :"db";
SQL
        log
    fi
}

run_init_scripts() {
    log
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sh)
                log "$0: running $file"
                if [ -x "$file" ]; then "$file"; else . "$file"; fi
                ;;
            *.sql) log "$0: running $file"; run_sql --dbname "$POSTGRES_DB" -f "$file" ;;
            *.sql.gz) log "$0: running $file"; gunzip -c "$file" | run_sql --dbname "$POSTGRES_DB" ;;
            *'/*') ;;
            *) log "$0: ignoring $file" ;;
        esac
        log
    done
}

wants_help() {
    for argument in "$@"; do
        case "$argument" in -'?' | --help | --describe-config | -V | --version) return 0 ;; esac
    done
    return 1
}

case "${1:-}" in -*) set -- postgres "$@" ;; esac

if [ "${1:-}" = postgres ] && ! wants_help "$@"; then
    prepare_folders
    if [ "$(id -u)" = 0 ]; then
        # busybox has neither gosu nor su-exec; its su replaces itself, so the server is still process 1.
        # shellcheck disable=SC2016
        exec su -s /bin/sh postgres -c 'exec "$0" "$@"' -- "$0" "$@"
    fi
    if [ -s "$PGDATA/PG_VERSION" ]; then
        log
        log "PostgreSQL Database directory appears to contain a database; Skipping initialization"
        log
    else
        value_or_file POSTGRES_PASSWORD
        value_or_file POSTGRES_USER postgres
        value_or_file POSTGRES_DB "$POSTGRES_USER"
        value_or_file POSTGRES_INITDB_ARGS
        require_password
        initialise
        shift
        allow_remote_logins
        # Only the unix socket while the database is being made: nobody connects to a half-made one.
        export PGPASSWORD="${PGPASSWORD:-$POSTGRES_PASSWORD}"
        pg_ctl -D "$PGDATA" -o "$(printf "'%s' " -c listen_addresses= -p "${PGPORT:-5432}" "$@")" -w start
        create_database
        run_init_scripts
        pg_ctl -D "$PGDATA" -m fast -w stop
        unset PGPASSWORD
        log
        log "PostgreSQL init process complete; ready for start up."
        log
        set -- postgres "$@"
    fi
fi

exec "$@"
