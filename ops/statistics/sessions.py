"""Who is connected, what they do, and whom they keep waiting."""

from __future__ import annotations

from ops.statistics.section import Section

LONG_S = 10
"""A transaction that is open for longer is listed."""

SESSIONS = Section(
    name="sessions",
    title="Sessions by state",
    columns={"state": "text", "sessions": "count", "of_limit_percent": "percent", "longest_s": "seconds"},
    sql="""WITH client AS MATERIALIZED (
  SELECT coalesce(state, 'not shown to this login') AS state, state_change
  FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
)
SELECT CASE WHEN grouping(state) = 1 THEN 'all' ELSE state END AS state,
  count(*) AS sessions,
  100.0::float8 * count(*) / current_setting('max_connections')::int AS of_limit_percent,
  extract(epoch FROM clock_timestamp() - min(state_change))::float8 AS longest_s
FROM client GROUP BY ROLLUP (state) ORDER BY grouping(state), 2 DESC""",
    none="nobody is connected",
    note="Of all databases of the server, this session left out; longest: for how long one has been in that state.",
)

TRAFFIC = Section(
    name="traffic",
    title="Traffic",
    columns={"what": "text", "total": "count"},
    # The database's own counters of rows hold what is read of catalogs too, by these questions for one.
    sql="""SELECT what, total FROM pg_stat_database d, (
  SELECT sum(seq_tup_read)::bigint AS scanned, sum(idx_tup_fetch)::bigint AS fetched,
    sum(n_tup_ins)::bigint AS inserted, sum(n_tup_upd)::bigint AS updated, sum(n_tup_del)::bigint AS deleted
  FROM pg_stat_user_tables
) AS t, LATERAL (VALUES
  (1, 'transactions committed', d.xact_commit),
  (2, 'transactions rolled back', d.xact_rollback),
  (3, 'rows read by scans', t.scanned),
  (4, 'rows fetched by index', t.fetched),
  (5, 'rows inserted', t.inserted),
  (6, 'rows updated', t.updated),
  (7, 'rows deleted', t.deleted),
  (8, 'blocks read', d.blks_read),
  (9, 'temporary bytes', d.temp_bytes),
  (10, 'deadlocks', d.deadlocks),
  (11, 'sessions lost', d.sessions_abandoned + d.sessions_fatal + d.sessions_killed)
) AS counter (number, what, total)
WHERE d.datname = current_database() ORDER BY number""",
    none="no counters",
    note="Since the counters began; a look counts as one transaction.",
)

LONG_TRANSACTIONS = Section(
    name="long-transactions",
    title="Long transactions",
    columns={
        "pid": "text",
        "usename": "text",
        "application_name": "text",
        "state": "text",
        "open_s": "seconds",
        "waits_for": "text",
        "runs": "statement",
    },
    sql=f"""SELECT pid::text, usename, application_name, state,
  extract(epoch FROM clock_timestamp() - xact_start)::float8 AS open_s,
  wait_event_type || ' ' || wait_event AS waits_for,
  query AS runs
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND xact_start < clock_timestamp() - interval '{LONG_S} s'
UNION ALL
SELECT 'prepared', owner, NULL, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float8, NULL, NULL
FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - interval '{LONG_S} s'
ORDER BY open_s DESC""",
    none=f"no transaction is open for more than {LONG_S} s",
    note="Vacuum can't remove what died since they began. End one: SELECT pg_terminate_backend(pid);",
)

LOCKS = Section(
    name="locks",
    title="Who blocks whom",
    columns={
        "blocked": "text",
        "user": "text",
        "waits_s": "seconds",
        "lock": "text",
        "on": "text",
        "by": "text",
        "by_user": "text",
        "by_state": "text",
        "blocked_runs": "statement",
        "by_runs": "statement",
    },
    # pg_blocking_pids locks the lock table for a moment: it is called for those alone who wait.
    sql="""WITH waiting AS MATERIALIZED (
  SELECT a.pid, a.usename, a.query, coalesce(l.waitstart, a.state_change) AS since, l.mode, l.locktype,
    CASE WHEN l.database IN (0, d.oid) THEN l.relation::regclass::text END AS relation
  FROM pg_stat_activity a
  JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
  JOIN pg_database d ON d.datname = current_database()
  WHERE a.wait_event_type = 'Lock'
)
SELECT DISTINCT w.pid::text AS blocked, w.usename AS "user",
  extract(epoch FROM clock_timestamp() - w.since)::float8 AS waits_s,
  replace(w.mode, 'Lock', '') AS lock,
  coalesce(w.relation, w.locktype) AS "on",
  CASE WHEN blocker.pid = 0 THEN 'prepared' ELSE blocker.pid::text END AS by,
  b.usename AS by_user, b.state AS by_state,
  w.query AS blocked_runs, b.query AS by_runs
FROM waiting w
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocker (pid)
LEFT JOIN pg_stat_activity b ON b.pid = blocker.pid
ORDER BY waits_s DESC, blocked, by""",
    none="nobody waits for a lock",
    note="on transactionid: for a row that the blocker changed. End a blocker: SELECT pg_terminate_backend(pid);",
)

STATEMENTS = Section(
    name="statements",
    title="Slow statements",
    columns={
        "calls": "count",
        "total_s": "seconds",
        "mean_ms": "milliseconds",
        "rows": "count",
        "runs": "statement",
    },
    view="""SELECT c.oid::regclass::text FROM pg_class c
WHERE c.relname = 'pg_stat_statements' AND c.relkind = 'v' ORDER BY 1 LIMIT 1""",
    without_view="pg_stat_statements is not in this database: where the server loads it (shared_preload_libraries;"
    " the embedded server has none), CREATE EXTENSION pg_stat_statements brings it",
    sql="""SELECT calls, total_exec_time / 1000 AS total_s, mean_exec_time AS mean_ms, rows, query AS runs
FROM {view}
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY total_exec_time DESC LIMIT 50""",
    none="no statement was counted yet",
    note="By the time that all calls took together.",
)

REPLICATION = Section(
    name="replication",
    title="Replication",
    columns={"what": "text", "state": "text", "sync": "text", "behind_bytes": "bytes", "lag_s": "seconds"},
    sql="""WITH here AS (
  SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn
)
SELECT 'standby ' || coalesce(nullif(application_name, ''), host(client_addr), pid::text) AS what,
  state, sync_state AS sync,
  pg_wal_lsn_diff(here.lsn, replay_lsn)::bigint AS behind_bytes,
  extract(epoch FROM replay_lag)::float8 AS lag_s
FROM pg_stat_replication, here
UNION ALL
SELECT 'slot ' || slot_name, CASE WHEN active THEN 'active' ELSE 'not active' END, wal_status,
  pg_wal_lsn_diff(here.lsn, restart_lsn)::bigint, NULL
FROM pg_replication_slots, here
UNION ALL
SELECT 'this follows ' || coalesce(sender_host || ':' || sender_port, 'a server'), status, NULL,
  pg_wal_lsn_diff(latest_end_lsn, here.lsn)::bigint,
  CASE WHEN latest_end_lsn > here.lsn
    THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 ELSE 0 END
FROM pg_stat_wal_receiver, here
ORDER BY what""",
    none="no standby and no slot",
    note="behind_bytes: of the log; what a slot is behind is kept on the disk.",
)
