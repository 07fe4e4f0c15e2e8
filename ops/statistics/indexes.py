"""How well tables are found in memory and by index, and which indexes only cost."""

from __future__ import annotations

from ops.statistics.section import LOCKED, USER_SCHEMA, Section

CACHE = Section(
    name="cache",
    title="Cache hit ratio",
    columns={"what": "text", "hits": "count", "reads": "count", "hit_percent": "percent"},
    sql="""SELECT what, hits::bigint, reads::bigint, 100.0::float8 * hits / nullif(hits + reads, 0) AS hit_percent
FROM (
  SELECT 1 AS number, 'tables' AS what, sum(heap_blks_hit) AS hits, sum(heap_blks_read) AS reads
  FROM pg_statio_user_tables
  UNION ALL
  SELECT 2, 'indexes', sum(idx_blks_hit), sum(idx_blks_read) FROM pg_statio_user_indexes
) AS counted ORDER BY number""",
    none="no counters",
    note="Of blocks in shared_buffers; what is read may still come from the system's memory.",
)

INDEX_USE = Section(
    name="index-use",
    title="Index use",
    columns={
        "table": "text",
        "rows": "count",
        "by_index": "count",
        "by_scan": "count",
        "rows_scanned": "count",
        "by_index_percent": "percent",
    },
    sql="""SELECT root::regclass::text AS "table",
  sum(n_live_tup)::bigint AS rows,
  sum(idx_scan)::bigint AS by_index,
  sum(seq_scan)::bigint AS by_scan,
  sum(seq_tup_read)::bigint AS rows_scanned,
  100.0::float8 * sum(idx_scan) / nullif(sum(idx_scan) + sum(seq_scan), 0) AS by_index_percent
FROM (
  SELECT coalesce(pg_partition_root(relid), relid) AS root, n_live_tup, coalesce(idx_scan, 0) AS idx_scan, seq_scan,
    seq_tup_read
  FROM pg_stat_user_tables
) AS leaf
GROUP BY root ORDER BY rows_scanned DESC, 1""",
    none="no tables",
    note="A partitioned table is the sum of its partitions. Many rows_scanned: an index may lack.",
)

_KEPT = "i.indisunique OR i.indisexclusion OR i.indisreplident"

UNUSED_INDEXES = Section(
    name="unused-indexes",
    title="Unused indexes",
    columns={"index": "text", "table": "text", "size_bytes": "bytes"},
    sql=f"""WITH {LOCKED}, leaf AS MATERIALIZED (
  SELECT coalesce(pg_partition_root(i.indexrelid), i.indexrelid) AS root,
    coalesce(pg_partition_root(i.indrelid), i.indrelid) AS table_root,
    pg_stat_get_numscans(i.indexrelid) AS scans,
    CASE WHEN i.indrelid NOT IN (SELECT relation FROM locked) THEN pg_relation_size(i.indexrelid) END AS bytes
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'i' AND n.nspname {USER_SCHEMA} AND NOT ({_KEPT})
)
SELECT root::regclass::text AS index, table_root::regclass::text AS "table", sum(bytes)::bigint AS size_bytes
FROM leaf GROUP BY root, table_root HAVING sum(scans) = 0 ORDER BY 3 DESC NULLS FIRST, 1""",
    none="every index that guards nothing was used",
    note="Not used since the counters began, on this server: look at the replicas too. What keeps rows unique isn't"
    " listed; an index under a foreign key serves deletes.",
)

_SAME = """a.indkey::text = b.indkey::text AND a.indnkeyatts = b.indnkeyatts AND a.indclass::text = b.indclass::text
    AND a.indcollation::text = b.indcollation::text AND a.indoption::text = b.indoption::text"""
_BEGINS = """NOT a.indisunique AND NOT a.indisexclusion AND a.amname = 'btree' AND a.indexprs IS NULL
    AND a.indnatts = a.indnkeyatts AND a.indnkeyatts <= b.indnkeyatts
    AND b.indkey::text || ' ' LIKE a.indkey::text || ' %' AND b.indclass::text || ' ' LIKE a.indclass::text || ' %'
    AND b.indcollation::text || ' ' LIKE a.indcollation::text || ' %'
    AND b.indoption::text || ' ' LIKE a.indoption::text || ' %'"""

# Expressions are compared as the catalog has them: pg_get_expr would wait for the table's lock.
DUPLICATE_INDEXES = Section(
    name="duplicate-indexes",
    title="Duplicate indexes",
    columns={"index": "text", "table": "text", "because_of": "text", "how": "text", "size_bytes": "bytes"},
    sql=f"""WITH {LOCKED}, known AS MATERIALIZED (
  SELECT i.*, am.amname,
    regexp_replace(coalesce(i.indexprs::text, ''), ':location -?\\d+', '', 'g') AS expressions,
    regexp_replace(coalesce(i.indpred::text, ''), ':location -?\\d+', '', 'g') AS predicate,
    CASE WHEN i.indisprimary THEN 0 WHEN k.conindid IS NOT NULL THEN 1 WHEN i.indisunique THEN 2 ELSE 3 END AS rank
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN (SELECT DISTINCT conindid FROM pg_constraint WHERE contype IN ('p', 'u', 'x')) k
    ON k.conindid = i.indexrelid
  WHERE NOT c.relispartition AND i.indisvalid AND n.nspname {USER_SCHEMA}
), pair AS (
  SELECT DISTINCT ON (a.indexrelid) a.indexrelid, a.indrelid, b.indexrelid AS other, {_SAME} AS same
  FROM known a JOIN known b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid AND b.amname = a.amname
    AND b.predicate = a.predicate
  WHERE ({_SAME} AND a.expressions = b.expressions AND a.indisexclusion = b.indisexclusion
      AND (a.rank, a.indexrelid) > (b.rank, b.indexrelid))
    OR (NOT ({_SAME}) AND {_BEGINS})
  ORDER BY a.indexrelid, same DESC, b.rank, b.indexrelid
), sized AS (
  SELECT coalesce(pg_partition_root(i.indexrelid), i.indexrelid) AS root,
    sum(CASE WHEN i.indrelid NOT IN (SELECT relation FROM locked) THEN pg_relation_size(i.indexrelid) END) AS bytes
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
  WHERE coalesce(pg_partition_root(i.indexrelid), i.indexrelid) IN (SELECT indexrelid FROM pair)
  GROUP BY 1
)
SELECT p.indexrelid::regclass::text AS index, p.indrelid::regclass::text AS "table",
  p.other::regclass::text AS because_of, CASE WHEN p.same THEN 'same' ELSE 'its beginning' END AS how,
  sized.bytes::bigint AS size_bytes
FROM pair p LEFT JOIN sized ON sized.root = p.indexrelid ORDER BY 2, 1""",
    none="no index does what another does too",
    note="its beginning: because_of has the same columns first. Drop the first column's, with a migration.",
)
