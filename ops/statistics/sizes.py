"""The source document's three queries, as printed there, and the partitions."""

from __future__ import annotations

from ops.statistics.section import LOCKED, Section

DOCUMENTED_DATABASE = "gaia"
"""The name that stands in the document's queries, quoted; a stack's own name is put in its place."""

DATABASE = Section(
    name="database",
    title="Database size",
    columns={"size_mb": "count"},
    sql="SELECT pg_database_size('gaia') / 1024 / 1024 as size_mb",
    none="no such database",
)

TABLES = Section(
    name="tables",
    title="Table sizes",
    columns={"schemaname": "text", "tablename": "text", "size": "text"},
    sql="""SELECT
  schemaname,
  tablename,
  pg_size_pretty(pg_total_relation_size(schemaname||'.'||tablename)) AS size
FROM pg_tables
WHERE schemaname IN ('auth', 'game', 'audit')
ORDER BY pg_total_relation_size(schemaname||'.'||tablename) DESC""",
    otherwise=f"""WITH {LOCKED}, sized AS MATERIALIZED (
  SELECT n.nspname AS schemaname, c.relname AS tablename,
    CASE WHEN c.oid NOT IN (SELECT relation FROM locked) THEN pg_total_relation_size(c.oid) END AS bytes
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('auth', 'game', 'audit')
)
SELECT schemaname, tablename, coalesce(pg_size_pretty(bytes), 'locked') AS size FROM sized ORDER BY bytes DESC""",
    none="no table in the schemas auth, game and audit: run ./gaia up",
)

CONNECTIONS = Section(
    name="connections",
    title="Active connections",
    columns={
        "datname": "text",
        "usename": "text",
        "application_name": "text",
        "client_addr": "text",
        "state": "text",
        "state_change": "moment",
    },
    sql="""SELECT
  datname,
  usename,
  application_name,
  client_addr,
  state,
  state_change
FROM pg_stat_activity
WHERE datname = 'gaia'""",
    none="nobody is connected",
)

PARTITIONS = Section(
    name="partitions",
    title="Partitions",
    columns={
        "parent": "text",
        "partitions": "count",
        "size_bytes": "bytes",
        "rows": "count",
        "last": "text",
        "missing": "text",
        "in_default": "count",
    },
    sql=f"""WITH {LOCKED}, leaf AS MATERIALIZED (
  SELECT i.inhparent AS parent, c.oid AS relation, substring(c.relname FROM '_(\\d{{4}}_\\d{{2}})$') AS month,
    pg_stat_get_live_tuples(c.oid) AS rows,
    CASE WHEN c.oid NOT IN (SELECT relation FROM locked) THEN pg_total_relation_size(c.oid) END AS bytes
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
)
SELECT p.partrelid::regclass::text AS parent,
  count(leaf.relation)::bigint AS partitions,
  sum(leaf.bytes)::bigint AS size_bytes,
  sum(leaf.rows)::bigint AS rows,
  replace(max(month), '_', '-') AS last,
  CASE WHEN count(month) > 0 THEN (
    SELECT to_char(min(wanted), 'YYYY-MM')
    FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'), now() AT TIME ZONE 'UTC' + interval '5 years',
      interval '1 month') AS wanted
    WHERE to_char(wanted, 'YYYY_MM') <> ALL (array_remove(array_agg(month), NULL))
  ) END AS missing,
  CASE WHEN p.partdefid <> 0 THEN pg_stat_get_live_tuples(p.partdefid) END AS in_default
FROM pg_partitioned_table p LEFT JOIN leaf ON leaf.parent = p.partrelid
GROUP BY p.partrelid, p.partdefid
ORDER BY 3 DESC NULLS FIRST, 1""",
    none="no table is partitioned",
    note="missing: the first month from now on that has no partition; ./gaia up makes a year ahead.",
)
