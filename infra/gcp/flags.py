"""The database flags: those the stack sets, in Cloud SQL's units, and which ones Cloud SQL takes.

The names and ranges are those of https://cloud.google.com/sql/docs/postgres/flags for PostgreSQL 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from infra.gcp import tiers
from infra.setting_types import size_in_bytes, time_in_ms

if TYPE_CHECKING:
    from infra.gcp.settings import Gcp, Instance
    from infra.settings import Tuning

_PAGE = 8192
_MOST = 2**31 - 1
CONNECTION_BYTES = 8 * 1024**2
"""What one connection takes of the server's own memory, by PostgreSQL's rule of thumb."""

AUDIT = {
    "log_connections": "on",
    "log_disconnections": "on",
    "log_checkpoints": "on",
    "log_lock_waits": "on",
    "log_statement": "ddl",
    "log_temp_files": "0",
    "log_min_duration_statement": "-1",
    "log_error_verbosity": "default",
    "log_min_messages": "warning",
    "log_min_error_statement": "error",
    "cloudsql.enable_pgaudit": "on",
}
"""What the CIS benchmark (6.2) wants. All stand there although some are defaults: an absent value proves nothing."""

SSD_ONLY = ("random_page_cost", "effective_io_concurrency")
"""Values of the document that it gives for SSDs: on an HDD they would mislead the planner."""

OWN = (
    *AUDIT,
    *SSD_ONLY,
    "max_connections",
    "shared_buffers",
    "effective_cache_size",
    "idle_in_transaction_session_timeout",
    "pgaudit.log",
    "cloudsql.iam_authentication",
)
"""Flags that have settings of their own, or that nobody may change."""


def database_flags(gcp: Gcp, tuning: Tuning) -> dict[str, str]:
    """Every flag of the instance, by name; sorted, so that a plan doesn't change by itself."""
    flags = {
        **AUDIT,
        "max_connections": str(tuning.max_connections),
        "shared_buffers": str(size_in_bytes(tuning.shared_buffers) // _PAGE),
        "effective_cache_size": str(size_in_bytes(tuning.effective_cache_size) // _PAGE),
        "idle_in_transaction_session_timeout": str(time_in_ms(tuning.idle_in_transaction_session_timeout)),
        "pgaudit.log": ",".join(gcp.instance.audit),
        "cloudsql.iam_authentication": "on" if gcp.instance.iam_authentication else "off",
        **gcp.instance.flags,
    }
    if gcp.instance.disk_type == "SSD":
        flags["random_page_cost"] = f"{tuning.random_page_cost:g}"
        flags["effective_io_concurrency"] = str(tuning.effective_io_concurrency)
    return dict(sorted(flags.items()))


def faults(instance: Instance) -> list[str]:
    """What is wrong with ``instance.flags``, each with its key."""
    found = ((name, _fault(name, value)) for name, value in instance.flags.items())
    return [f"gcp.instance.flags.{name}: {fault}" for name, fault in found if fault]


def memory_faults(instance: Instance, tuning: Tuning) -> list[str]:
    """Which values the machine's memory can't hold."""
    memory = tiers.memory_bytes(instance.tier)
    found = []
    shares = (
        ("shared_buffers", tuning.shared_buffers, 0.6),
        ("effective_cache_size", tuning.effective_cache_size, 0.7),
    )
    for name, size, share in shares:
        if size_in_bytes(size) > share * memory:
            found.append(
                f"database.tuning.{name}: {size} is more than {share:.0%} of the {memory / 2**30:.1f} GB that "
                f"{instance.tier} has; make it smaller, or choose a larger gcp.instance.tier"
            )
    needed = size_in_bytes(tuning.shared_buffers) + tuning.max_connections * CONNECTION_BYTES
    if not found and needed > memory:
        found.append(
            f"database.tuning.max_connections: {tuning.max_connections} connections and {tuning.shared_buffers} of "
            f"shared_buffers need {needed / 2**30:.1f} GB, but {instance.tier} has {memory / 2**30:.1f} GB; "
            "allow fewer, or choose a larger gcp.instance.tier"
        )
    return found


def _fault(name: str, value: str) -> str | None:
    if name in OWN:
        return "has a setting of its own, or is fixed by the audit; take it out"
    known = KNOWN.get(name)
    if known is None:
        return f"Cloud SQL for PostgreSQL 16 has no such flag; its list: {DOCS}"
    if known is not None and isinstance(known[0], str):
        return None if value in known else f"{value!r} must be one of {', '.join(map(str, known))}"
    least, most = float(known[0]), float(known[1])
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    return None if least <= number <= most else f"{value!r} must be a number from {known[0]} to {known[1]}"


DOCS = "https://cloud.google.com/sql/docs/postgres/flags"
_SWITCH = ("on", "off")
_Allowed = tuple[str, ...] | tuple[float, float]


def _known() -> Mapping[str, _Allowed]:
    switches = (
        "autovacuum default_transaction_read_only enable_bitmapscan enable_hashagg enable_hashjoin"
        " enable_indexonlyscan enable_indexscan enable_material enable_mergejoin enable_nestloop enable_seqscan"
        " enable_sort enable_tidscan enable_partitionwise_aggregate enable_partitionwise_join hot_standby_feedback jit"
        " log_duration log_executor_stats log_hostname log_parser_stats log_planner_stats log_statement_stats"
        " pg_stat_statements.track_utility pgaudit.log_relation track_activities track_commit_timestamp track_counts"
        " track_io_timing cloudsql.logical_decoding cloudsql.enable_pg_cron cloudsql.enable_pglogical"
        " cloudsql.enable_pg_squeeze cloudsql.enable_pg_wait_sampling cloudsql.enable_auto_explain"
        " cloudsql.enable_index_advisor cloudsql.enable_anon auto_explain.log_analyze"
    )
    return {**dict.fromkeys(switches.split(), _SWITCH), **_NUMBERS, **_CHOICES}


_NUMBERS: dict[str, tuple[float, float]] = {
    "auto_explain.log_min_duration": (-1, _MOST),
    "autovacuum_analyze_scale_factor": (0, 100),
    "autovacuum_analyze_threshold": (0, _MOST),
    "autovacuum_freeze_max_age": (100_000, 2_000_000_000),
    "autovacuum_max_workers": (1, 262_143),
    "autovacuum_naptime": (1, 2_147_483),
    "autovacuum_vacuum_cost_delay": (-1, 100),
    "autovacuum_vacuum_cost_limit": (-1, 10_000),
    "autovacuum_vacuum_scale_factor": (0, 100),
    "autovacuum_vacuum_threshold": (0, _MOST),
    "autovacuum_work_mem": (-1, _MOST),
    "checkpoint_completion_target": (0, 1),
    "checkpoint_timeout": (30, 86_400),
    "deadlock_timeout": (1, _MOST),
    "default_statistics_target": (1, 10_000),
    "hash_mem_multiplier": (1, 1000),
    "idle_session_timeout": (0, _MOST),
    "lock_timeout": (0, _MOST),
    "log_autovacuum_min_duration": (-1, _MOST),
    "maintenance_work_mem": (1024, _MOST),
    "max_locks_per_transaction": (10, _MOST),
    "max_parallel_maintenance_workers": (0, 1024),
    "max_parallel_workers": (0, 1024),
    "max_parallel_workers_per_gather": (0, 1024),
    "max_prepared_transactions": (0, 262_143),
    "max_replication_slots": (0, 262_143),
    "max_standby_archive_delay": (-1, _MOST),
    "max_standby_streaming_delay": (-1, _MOST),
    "max_wal_senders": (0, 262_143),
    "max_wal_size": (2, _MOST),
    "max_worker_processes": (8, 262_143),
    "min_wal_size": (32, _MOST),
    "pg_stat_statements.max": (100, _MOST),
    "seq_page_cost": (0, _MOST),
    "statement_timeout": (0, _MOST),
    "temp_buffers": (100, 1_073_741_823),
    "temp_file_limit": (-1, _MOST),
    "track_activity_query_size": (100, 1_048_576),
    "wal_buffers": (-1, 262_143),
    "work_mem": (64, _MOST),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "default_transaction_isolation": ("serializable", "repeatable read", "read committed", "read uncommitted"),
    "pg_stat_statements.track": ("none", "top", "all"),
    "plan_cache_mode": ("auto", "force_custom_plan", "force_generic_plan"),
    "synchronous_commit": ("local", "on", "off", "remote_apply", "remote_write"),
    "track_functions": ("none", "pl", "all"),
    "wal_compression": ("on", "off", "pglz", "lz4", "zstd"),
}
KNOWN: Mapping[str, _Allowed] = _known()
"""The flags that a stack file may add: allowed words, or the least and the most of a number."""
