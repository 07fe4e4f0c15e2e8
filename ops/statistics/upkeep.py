"""What vacuum has to do: dead rows, bloat, and transaction ids to freeze."""

from __future__ import annotations

from ops.statistics.section import USER_SCHEMA, Section

BLOAT_LEAST_BYTES = 1024 * 1024
"""Less isn't worth a look."""

VACUUM = Section(
    name="vacuum",
    title="Dead rows and vacuum",
    columns={
        "table": "text",
        "live": "count",
        "dead": "count",
        "dead_percent": "percent",
        "changed": "count",
        "vacuumed": "moment",
        "analyzed": "moment",
    },
    sql="""SELECT relid::regclass::text AS "table", n_live_tup AS live, n_dead_tup AS dead,
  100.0::float8 * n_dead_tup / nullif(n_live_tup + n_dead_tup, 0) AS dead_percent,
  n_mod_since_analyze AS changed,
  greatest(last_vacuum, last_autovacuum) AS vacuumed, greatest(last_analyze, last_autoanalyze) AS analyzed
FROM pg_stat_user_tables
WHERE n_live_tup + n_dead_tup + n_mod_since_analyze > 0 OR last_vacuum IS NOT NULL OR last_autovacuum IS NOT NULL
ORDER BY n_dead_tup DESC, n_mod_since_analyze DESC, 1""",
    none="no table has rows",
    note="changed: rows since the last ANALYZE. The counts are the server's running estimates.",
)

# A table: each live row takes a line pointer (4 bytes), a header (23 bytes and a bit for each column where some are
# null, rounded up to 8) and its columns' average widths, rounded up to 8; a page holds 8192 bytes less its header of
# 24, filled to the fillfactor. An index: line pointer, entry header of 8, key; 16 bytes more of a page, 90 % full.
# What the relation has beyond the pages that this takes is called bloat. Padding between columns isn't counted, and
# rows that differ much in width, or an index that keeps one entry for equal keys, mislead it.
BLOAT = Section(
    name="bloat",
    title="Bloat (an estimate from statistics)",
    columns={
        "relation": "text",
        "kind": "text",
        "size_bytes": "bytes",
        "wasted_bytes": "bytes",
        "wasted_percent": "percent",
    },
    sql=f"""WITH relation AS MATERIALIZED (
  SELECT c.oid, n.nspname, c.relname, c.relnatts, c.reltuples::float8 AS rows, c.relpages::float8 AS pages,
    coalesce(substring(array_to_string(c.reloptions, ' ') FROM 'fillfactor=(\\d+)')::float8, 100) / 100 AS fill
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND n.nspname {USER_SCHEMA} AND c.reltuples > 0
), width AS MATERIALIZED (
  SELECT r.oid, s.attname, s.null_frac, (1 - s.null_frac) * s.avg_width AS bytes
  FROM relation r JOIN pg_stats s ON s.schemaname = r.nspname AND s.tablename = r.relname AND NOT s.inherited
), header AS (
  SELECT r.oid, 8 * ceil((23 + CASE WHEN max(w.null_frac) > 0 THEN (r.relnatts + 7) / 8 ELSE 0 END) / 8.0) AS bytes
  FROM relation r JOIN width w USING (oid) GROUP BY r.oid, r.relnatts
), heap AS (
  SELECT r.*, ceil(r.rows * (4 + h.bytes + 8 * ceil(sum(w.bytes) / 8)) / ((8192 - 24) * r.fill)) AS needed
  FROM relation r
  JOIN width w USING (oid)
  JOIN header h USING (oid)
  GROUP BY h.bytes, r.oid, r.nspname, r.relname, r.relnatts, r.rows, r.pages, r.fill
), btree AS (
  SELECT c.oid, c.reltuples::float8 AS rows, c.relpages::float8 AS pages,
    1 + ceil(c.reltuples * (4 + 8 + 8 * ceil(sum(w.bytes) / 8)) / ((8192 - 24 - 16) * 0.9)) AS needed
  FROM pg_index i
  JOIN relation r ON r.oid = i.indrelid
  JOIN pg_class c ON c.oid = i.indexrelid AND c.reltuples > 0
  JOIN pg_am am ON am.oid = c.relam AND am.amname = 'btree'
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
  JOIN width w ON w.oid = r.oid AND w.attname = a.attname
  WHERE i.indexprs IS NULL
  GROUP BY c.oid, c.reltuples, c.relpages, i.indnatts HAVING count(*) = i.indnatts
)
SELECT oid::regclass::text AS relation, kind, (pages * 8192)::bigint AS size_bytes,
  ((pages - needed) * 8192)::bigint AS wasted_bytes, 100 * (pages - needed) / pages AS wasted_percent
FROM (
  SELECT oid, 'table' AS kind, pages, needed FROM heap UNION ALL SELECT oid, 'index', pages, needed FROM btree
) AS known
WHERE (pages - needed) * 8192 >= {BLOAT_LEAST_BYTES}
ORDER BY 4 DESC, 1""",
    none="nothing wastes a megabyte or more, by this estimate",
    note="From row counts and average widths of the last ANALYZE: it can be off by a fifth. VACUUM makes the room"
    " usable again; REINDEX CONCURRENTLY gives an index's back.",
)

FREEZE = Section(
    name="freeze",
    title="Transaction ids: age, and what holds them back",
    columns={"what": "text", "age": "count", "multixact_age": "count", "of_wraparound_percent": "percent"},
    sql=f"""SELECT what, age::bigint, multixact_age::bigint,
  100.0::float8 * greatest(age, multixact_age) / 2147483648 AS of_wraparound_percent FROM (
  SELECT 1 AS number, 'database ' || datname AS what, age(datfrozenxid) AS age, mxid_age(datminmxid) AS multixact_age
  FROM pg_database WHERE datallowconn
  UNION ALL (
    SELECT 2, 'table ' || c.oid::regclass::text, age(relfrozenxid), mxid_age(relminmxid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE relkind IN ('r', 'm') AND n.nspname {USER_SCHEMA} ORDER BY age(relfrozenxid) DESC, 2 LIMIT 3)
  UNION ALL (
    SELECT 3, 'snapshot of pid ' || pid, age(backend_xmin), NULL FROM pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() ORDER BY age(backend_xmin) DESC LIMIT 1)
  UNION ALL
  SELECT 4, 'slot ' || slot_name, greatest(age(xmin), age(catalog_xmin)), NULL FROM pg_replication_slots
  WHERE coalesce(xmin, catalog_xmin) IS NOT NULL
  UNION ALL
  SELECT 5, 'prepared ' || gid, age(transaction), NULL FROM pg_prepared_xacts
) AS held ORDER BY number, age DESC, what""",
    none="no database",
    note="Vacuum freezes from autovacuum_freeze_max_age (200 million unless set) on; at 100 % writes are refused.",
)
