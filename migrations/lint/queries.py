"""The catalog lint's queries: each gives the name of what is at fault, and what is wrong with it.

``%(schemas)s`` are ours. A partition is what is attached to a parent, or was: ``<parent>_YYYY_MM`` beside it.
"""

_PARTITIONS = """
WITH part AS (
    SELECT c.oid, c.relname, c.relacl, c.relowner, n.nspname, p.oid AS parent, p.relname AS parent_name,
           c.relispartition AS attached
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class p ON p.relnamespace = c.relnamespace AND p.relkind = 'p' AND p.oid <> c.oid
    WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p')
      AND (EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = p.oid)
           OR (NOT c.relispartition AND c.relname ~ ('^' || p.relname || '_[0-9]{4}_[0-9]{2}$')))
)
"""

_OUR_TABLES = """
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p') AND c.oid NOT IN (SELECT oid FROM part)
"""

FOREIGN_KEY_WITHOUT_INDEX = """
SELECT format('%%I.%%I', n.nspname, c.relname), format('has no index for foreign key %%I', k.conname)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND k.contype = 'f' AND k.conparentid = 0
  AND NOT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
      AND i.indnkeyatts >= cardinality(k.conkey)
      -- indkey counts from 0; the key's columns may come in any order.
      AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
"""

RLS_WITHOUT_POLICY = f"""
{_PARTITIONS}
SELECT format('%%I.%%I', n.nspname, c.relname), 'has row-level security and no policy'
{_OUR_TABLES} AND c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)
"""

POLICY_WITHOUT_RLS = """
SELECT format('%%I.%%I', n.nspname, c.relname), 'has policies, but row-level security is off'
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND NOT c.relrowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)
"""

DEFINER_SEARCH_PATH = """
SELECT p.oid::regprocedure::text,
       'is SECURITY DEFINER, but its search_path ' || coalesce('is ' || path.value, 'isn''t set')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN LATERAL (
    SELECT substr(setting, 13) AS value FROM unnest(p.proconfig) setting WHERE setting LIKE 'search\\_path=%%'
) path ON true
WHERE n.nspname = ANY(%(schemas)s) AND p.prosecdef
  AND (path.value IS NULL OR path.value !~ '^pg_catalog(, *[^,]+)*, *pg_temp$' OR path.value ~ 'pg_temp *,')
"""

EXECUTABLE_BY_PUBLIC = """
SELECT p.oid::regprocedure::text, 'may be called by PUBLIC'
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY(%(schemas)s)
  AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) WHERE grantee = 0)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
"""

# One index is made needless by another that has the same columns first, in the same order, with the same operators.
# Of two equal ones, the one that no constraint needs goes, else the later one.
REDUNDANT_INDEX = """
WITH index AS (
    SELECT i.*, n.nspname, c.relname, c.relam,
           (i.indkey::int2[])[0:i.indnkeyatts - 1] AS key, (i.indclass::oid[])[0:i.indnkeyatts - 1] AS class,
           (i.indoption::int2[])[0:i.indnkeyatts - 1] AS option,
           (i.indcollation::oid[])[0:i.indnkeyatts - 1] AS collation,
           coalesce(pg_get_expr(i.indexprs, i.indrelid), '') AS expressions,
           coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
           i.indisunique OR i.indisexclusion AS needed
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s) AND i.indisvalid AND NOT c.relispartition
)
SELECT format('%%I.%%I', a.nspname, a.relname), format('adds nothing to index %%I', b.relname)
FROM index a JOIN index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid AND b.relam = a.relam
WHERE NOT (a.needed AND (NOT b.needed OR cardinality(a.key) <> cardinality(b.key)))
  AND a.indnatts = a.indnkeyatts AND a.predicate = b.predicate AND a.expressions = b.expressions
  AND a.key = b.key[0:cardinality(a.key) - 1 + array_lower(b.key, 1)]
  AND a.class = b.class[0:cardinality(a.key) - 1 + array_lower(b.class, 1)]
  AND a.option = b.option[0:cardinality(a.key) - 1 + array_lower(b.option, 1)]
  AND a.collation = b.collation[0:cardinality(a.key) - 1 + array_lower(b.collation, 1)]
  AND (cardinality(a.key) = cardinality(b.key)
       OR (SELECT amname = 'btree' FROM pg_am WHERE pg_am.oid = a.relam))
  -- Of two equal indexes only one is at fault.
  AND (cardinality(a.key) < cardinality(b.key) OR (b.needed AND NOT a.needed)
       OR (a.needed = b.needed AND (b.indisprimary, -b.indexrelid::bigint) > (a.indisprimary, -a.indexrelid::bigint)))
"""

INVALID_INDEX = """
SELECT format('%%I.%%I', n.nspname, c.relname), format('is an invalid index of %%s', i.indrelid::regclass)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND NOT (i.indisvalid AND i.indisready AND i.indislive)
"""

WITHOUT_PRIMARY_KEY = f"""
{_PARTITIONS}
SELECT format('%%I.%%I', n.nspname, c.relname), 'has no primary key'
{_OUR_TABLES} AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
"""

VIEW_WITHOUT_INVOKER = """
SELECT format('%%I.%%I', n.nspname, c.relname),
       CASE c.relkind WHEN 'm' THEN 'is a materialized view, which knows no row-level security'
                      ELSE 'is a view without security_invoker' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('v', 'm')
  AND NOT EXISTS (SELECT FROM unnest(c.reloptions) o WHERE o ~* '^security_invoker=(true|on|yes|1)$')
"""

# One row a role: each is allowed by itself or not at all.
ALWAYS_TRUE = """
SELECT format('policy %%I ON %%I.%%I FOR %%s TO %%I', policyname, schemaname, tablename, cmd, role),
       'lets every row pass'
FROM pg_policies, unnest(roles) role
WHERE schemaname = ANY(%(schemas)s) AND permissive = 'PERMISSIVE' AND (qual = 'true' OR with_check = 'true')
"""

# tgtype holds when a trigger fires, for what, and whether for each row; a trigger that is disabled guards nothing.
PARTITION_WITHOUT_TRIGGERS = f"""
{_PARTITIONS}
SELECT format('%%I.%%I', part.nspname, part.relname),
       format('%%slacks trigger %%I of %%I', CASE WHEN part.attached THEN '' ELSE '(detached) ' END,
              t.tgname, part.parent_name)
FROM part JOIN pg_trigger t ON t.tgrelid = part.parent AND NOT t.tgisinternal AND t.tgenabled <> 'D'
WHERE (part.attached OR part.nspname = 'audit')
  AND NOT EXISTS (
    SELECT FROM pg_trigger own
    WHERE own.tgrelid = part.oid AND own.tgfoid = t.tgfoid AND own.tgenabled <> 'D' AND own.tgqual IS NULL
      -- Each event, at the same time. For each statement guards against as much as for each row does.
      AND own.tgtype & 66 = t.tgtype & 66 AND own.tgtype & 60 & t.tgtype = t.tgtype & 60
      OR own.tgrelid = part.oid AND own.tgparentid = t.oid AND own.tgenabled <> 'D')
"""

TABLE_WITHOUT_RLS = f"""
{_PARTITIONS}
SELECT format('%%I.%%I', n.nspname, c.relname), 'has no row-level security'
{_OUR_TABLES} AND NOT c.relrowsecurity
"""

# regclass, regtype and regrole can be upgraded: https://www.postgresql.org/docs/16/pgupgrade.html
REG_COLUMN = """
SELECT format('%%I.%%I.%%I', n.nspname, c.relname, a.attname), 'is of type ' || format_type(a.atttypid, a.atttypmod)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'm') AND NOT a.attisdropped
  AND (ARRAY[t.oid, t.typelem, t.typbasetype] && ARRAY['regproc', 'regprocedure', 'regoper', 'regoperator',
       'regconfig', 'regdictionary', 'regnamespace', 'regcollation']::regtype[]::oid[])
"""

DEFAULT_PARTITION = """
SELECT format('%%I.%%I', n.nspname, c.relname), format('is the default partition of %%s', p.partrelid::regclass)
FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partdefid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s)
"""

PARTITION_GRANTED = f"""
{_PARTITIONS}
SELECT DISTINCT format('%%I.%%I to %%s', part.nspname, part.relname, coalesce(r.rolname, 'PUBLIC')),
       'is granted on the partition itself'
FROM part, aclexplode(part.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE a.grantee <> part.relowner
"""
