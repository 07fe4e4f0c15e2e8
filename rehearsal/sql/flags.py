"""The database flags: which Cloud SQL has, what they may be, and what each becomes in a PostgreSQL configuration.

Names and limits are those of https://cloud.google.com/sql/docs/postgres/flags for PostgreSQL 16, written down without
the program's own table. What a parameter of PostgreSQL itself may be, and whether it takes a restart, the server says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.sql.errors import Refused
from rehearsal.sql.tiers import MIB, Tier


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What PostgreSQL says of one of its parameters (``pg_settings``)."""

    kind: str
    unit: str | None
    least: float | None
    most: float | None
    words: tuple[str, ...]
    context: str


Catalog = Mapping[str, Parameter]

_NAMES = """
    autovacuum autovacuum_analyze_scale_factor autovacuum_analyze_threshold autovacuum_freeze_max_age
    autovacuum_max_workers autovacuum_multixact_freeze_max_age autovacuum_naptime autovacuum_vacuum_cost_delay
    autovacuum_vacuum_cost_limit autovacuum_vacuum_insert_scale_factor autovacuum_vacuum_insert_threshold
    autovacuum_vacuum_scale_factor autovacuum_vacuum_threshold autovacuum_work_mem checkpoint_completion_target
    checkpoint_timeout checkpoint_warning client_connection_check_interval commit_delay commit_siblings
    constraint_exclusion cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction deadlock_timeout
    default_statistics_target default_tablespace default_toast_compression default_transaction_deferrable
    default_transaction_isolation default_transaction_read_only effective_cache_size effective_io_concurrency
    enable_async_append enable_bitmapscan enable_gathermerge enable_hashagg enable_hashjoin enable_incremental_sort
    enable_indexonlyscan enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop
    enable_parallel_append enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate
    enable_partitionwise_join enable_seqscan enable_sort enable_tidscan force_parallel_mode from_collapse_limit geqo
    geqo_effort geqo_generations geqo_pool_size geqo_seed geqo_selection_bias geqo_threshold gin_fuzzy_search_limit
    gin_pending_list_limit hash_mem_multiplier hot_standby_feedback huge_pages idle_in_transaction_session_timeout
    idle_session_timeout jit join_collapse_limit lock_timeout log_autovacuum_min_duration log_checkpoints
    log_connections log_disconnections log_duration log_error_verbosity log_executor_stats log_hostname
    log_line_prefix log_lock_waits log_min_duration_sample log_min_duration_statement log_min_error_statement
    log_min_messages log_parameter_max_length log_parameter_max_length_on_error log_parser_stats log_planner_stats
    log_recovery_conflict_waits log_replication_commands log_statement log_statement_sample_rate log_statement_stats
    log_temp_files log_timezone log_transaction_sample_rate logical_decoding_work_mem maintenance_io_concurrency
    maintenance_work_mem max_connections max_files_per_process max_locks_per_transaction
    max_logical_replication_workers max_parallel_maintenance_workers max_parallel_workers
    max_parallel_workers_per_gather max_pred_locks_per_page max_pred_locks_per_relation
    max_pred_locks_per_transaction max_prepared_transactions max_replication_slots max_slot_wal_keep_size
    max_standby_archive_delay max_standby_streaming_delay max_sync_workers_per_subscription max_wal_senders
    max_wal_size max_worker_processes min_parallel_index_scan_size min_parallel_table_scan_size min_wal_size
    old_snapshot_threshold parallel_leader_participation parallel_setup_cost parallel_tuple_cost password_encryption
    plan_cache_mode random_page_cost replacement_sort_tuples seq_page_cost session_replication_role shared_buffers
    ssl_max_protocol_version ssl_min_protocol_version standard_conforming_strings statement_timeout
    synchronize_seqscans synchronous_commit tcp_keepalives_count tcp_keepalives_idle tcp_keepalives_interval
    temp_buffers temp_file_limit timezone trace_notify trace_recovery_messages trace_sort track_activities
    track_activity_query_size track_commit_timestamp track_counts track_functions track_io_timing
    vacuum_cost_delay vacuum_cost_limit vacuum_cost_page_dirty vacuum_cost_page_hit vacuum_cost_page_miss
    vacuum_failsafe_age vacuum_freeze_min_age vacuum_freeze_table_age vacuum_multixact_failsafe_age
    vacuum_multixact_freeze_min_age vacuum_multixact_freeze_table_age wal_buffers wal_compression wal_keep_size
    wal_receiver_timeout wal_sender_timeout work_mem
    """
OF_POSTGRES = frozenset(_NAMES.split())
"""Those that are parameters of PostgreSQL."""

_SWITCH = ("on", "off")
_SWITCHES = """
    cloudsql.allow_passwordless_local_connections cloudsql.enable_anon cloudsql.enable_auto_explain
    cloudsql.enable_index_advisor cloudsql.enable_maintenance_mode cloudsql.enable_pg_bigm
    cloudsql.enable_pg_cron cloudsql.enable_pg_hint_plan cloudsql.enable_pg_squeeze cloudsql.enable_pg_wait_sampling
    cloudsql.enable_pgaudit cloudsql.enable_pglogical cloudsql.iam_authentication cloudsql.logical_decoding
    auto_explain.log_analyze auto_explain.log_buffers auto_explain.log_nested_statements auto_explain.log_timing
    auto_explain.log_triggers auto_explain.log_verbose auto_explain.log_wal pg_stat_statements.save
    pg_stat_statements.track_utility pgaudit.log_catalog pgaudit.log_client pgaudit.log_parameter
    pgaudit.log_relation pgaudit.log_rows pgaudit.log_statement_once
    """
OF_CLOUD_SQL: dict[str, tuple[str, ...] | None] = {
    **dict.fromkeys(_SWITCHES.split(), _SWITCH),
    "auto_explain.log_format": ("text", "xml", "json", "yaml"),
    "auto_explain.log_level": ("debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning", "log"),
    "auto_explain.log_min_duration": None,
    "auto_explain.sample_rate": None,
    "cloudsql.max_failed_attempts_user": None,
    "cloudsql.pg_shadow_select_role": None,
    "cloudsql.supported_extensions": None,
    "cron.database_name": None,
    "cron.log_run": _SWITCH,
    "cron.log_statement": _SWITCH,
    "cron.max_running_jobs": None,
    "pg_stat_statements.max": None,
    "pg_stat_statements.track": ("none", "top", "all"),
    "pgaudit.log": None,
    "pgaudit.log_level": None,
    "pgaudit.role": None,
}
"""Those of Google and of extensions: this PostgreSQL only shows them. None: any text."""

RESTART = frozenset(name for name in OF_CLOUD_SQL if name.startswith(("cloudsql.", "cron.")))
"""Which of these restart the server: https://cloud.google.com/sql/docs/postgres/flags#list-flags"""

PGAUDIT_CLASSES = frozenset({"read", "write", "function", "role", "ddl", "misc", "misc_set", "all", "none"})
"""https://github.com/pgaudit/pgaudit#settings; each may have a minus before it."""

_LEAST = {"max_connections": 14, "max_wal_size": 2, "shared_buffers": 16}
"""Where Cloud SQL's lower limit is its own."""
_SHARES = {"shared_buffers": (0.0, 0.6), "effective_cache_size": (0.1, 0.7)}
"""Parts of the machine's memory that a size may be; a shared core's are not looked at from below."""
_BYTES = {"B": 1, "kB": 1024, "8kB": 8192, "MB": MIB}


def check(flags: Mapping[str, str], tier: Tier, catalog: Catalog) -> None:
    """Raise Refused for the first flag that Cloud SQL has not, or that may not be this."""
    for name, value in flags.items():
        if name in OF_CLOUD_SQL:
            _check_own(name, value)
        elif name in OF_POSTGRES and name in catalog:
            _check_parameter(name, value, catalog[name], tier)
        else:
            # Seen by its reason alone; the words are ours.
            raise Refused(f"Invalid flag name: {name}.", reason="invalidFlagName")


def _check_own(name: str, value: str) -> None:
    allowed = OF_CLOUD_SQL[name]
    if allowed is not None and value not in allowed:
        raise _value(f"Failed to set {name}: {value} was not an expected string.")
    if name == "pgaudit.log":
        for part in value.split(","):
            if part.strip().removeprefix("-").lower() not in PGAUDIT_CLASSES:
                raise _value(f"Failed to set {name}: {value} was not an expected string.")


def _check_parameter(name: str, value: str, known: Parameter, tier: Tier) -> None:
    if known.kind == "bool" and value not in _SWITCH:
        raise _value(f"Failed to set {name}: {value} was not an expected string.")
    if known.kind == "enum" and value not in known.words:
        raise _value(f"Failed to set {name}: {value} was not an expected string.")
    if known.kind not in ("integer", "real"):
        return
    try:
        # Cloud SQL counts in the parameter's own unit: a value with a unit isn't taken.
        number = float(int(value)) if known.kind == "integer" else float(value)
    except ValueError:
        raise _value(f"Failed to set {name}: {value} was not a number.") from None
    least, most = _limits(name, known, tier)
    if not least <= number <= most:
        raise _value("")


def _limits(name: str, known: Parameter, tier: Tier) -> tuple[float, float]:
    least, most = known.least, known.most
    assert least is not None and most is not None
    least = max(least, _LEAST.get(name, least))
    if name in _SHARES and known.unit is not None:
        low, high = _SHARES[name]
        memory = tier.memory_mb * MIB / _BYTES[known.unit]
        least = least if tier.shared_core else max(least, low * memory)
        most = min(most, high * memory)
    return least, most


def _value(more: str) -> Refused:
    """Words of google/exposure-notifications-server#746 and wandb/terraform-google-wandb#183."""
    return Refused(f"Value requested is not valid. {more}".rstrip(), reason="invalidFlagValue")


def needs_restart(before: Mapping[str, str], after: Mapping[str, str], catalog: Catalog) -> list[str]:
    """The flags whose change restarts the server."""
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return [n for n in changed if n in RESTART or (n in catalog and catalog[n].context == "postmaster")]


def described(catalog: Catalog) -> list[dict[str, Any]]:
    """Every flag, as ``sql.flags.list`` has it."""
    items = []
    for name in sorted({*OF_POSTGRES, *OF_CLOUD_SQL}):
        if name not in OF_CLOUD_SQL and name not in catalog:
            continue
        item: dict[str, Any] = {"kind": "sql#flag", "name": name, "appliesTo": ["POSTGRES_16"]}
        known, own = catalog.get(name), OF_CLOUD_SQL.get(name)
        if known is not None and known.kind == "integer" and known.least is not None and known.most is not None:
            item |= {"type": "INTEGER", "minValue": str(int(known.least)), "maxValue": str(int(known.most))}
        elif known is not None and known.kind == "real":
            item |= {"type": "FLOAT"}
        elif (known is not None and known.kind == "bool") or own == _SWITCH:
            item |= {"type": "BOOLEAN"}
        else:
            item |= {"type": "STRING"}
            words = known.words if known is not None else own or ()
            item |= {"allowedStringValues": list(words)} if words else {}
        item["requiresRestart"] = bool(needs_restart({}, {name: ""}, catalog))
        items.append(item)
    return items


def parameters(flags: Mapping[str, str], tier: Tier) -> dict[str, Any]:
    """The lines of the configuration: what the machine gives by itself, and the flags above that."""
    # A third of the memory: https://cloud.google.com/sql/docs/postgres/flags#postgres-s
    own = {
        "max_connections": tier.connections,
        "shared_buffers": f"{tier.memory_mb // 3}MB",
        "effective_cache_size": f"{tier.memory_mb * 2 // 5}MB",
    }
    return {**own, **flags}
