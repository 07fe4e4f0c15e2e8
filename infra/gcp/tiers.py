"""Cloud SQL's machines: how much memory they have, and which edition sells them."""

from __future__ import annotations

import re

GIB = 1024**3
_MB = 1024**2
_SHARED_CORE = {"db-f1-micro": int(0.6 * GIB), "db-g1-small": int(1.7 * GIB)}


def memory_bytes(tier: str) -> int:
    """The machine's memory."""
    if tier in _SHARED_CORE:
        return _SHARED_CORE[tier]
    if custom := re.fullmatch(r"db-custom-(\d+)-(\d+)", tier):
        return int(custom[2]) * _MB
    cpus = int(tier.rsplit("-", 1)[1])
    return cpus * (16 if "memory" in tier else 8) * GIB


def edition_of(tier: str) -> str:
    """The only edition that has this machine."""
    return "ENTERPRISE" if tier in _SHARED_CORE or tier.startswith("db-custom-") else "ENTERPRISE_PLUS"


def fault(tier: str) -> str | None:
    """What is wrong with a custom machine, by Cloud SQL's own limits."""
    custom = re.fullmatch(r"db-custom-(\d+)-(\d+)", tier)
    if not custom:
        return None
    cpus, mb = int(custom[1]), int(custom[2])
    if not (cpus == 1 or (2 <= cpus <= 96 and cpus % 2 == 0)):
        return f"{cpus} CPUs: must be 1 or an even number up to 96"
    least = max(3840, 256 * -(-int(cpus * 0.9 * 1024) // 256))
    if mb % 256 or not least <= mb <= cpus * 6656:
        return f"{mb} MB: must be a multiple of 256 from {least} to {cpus * 6656} for {cpus} CPUs"
    return None
