"""Cloud SQL's machines: which edition sells them, their memory, and how many connections they have by themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rehearsal.sql.errors import invalid

MIB = 1024**2
ENTERPRISE, PLUS = "ENTERPRISE", "ENTERPRISE_PLUS"
_SHARED = {"db-f1-micro": 614, "db-g1-small": 1740}
"""Memory in MiB: https://cloud.google.com/sql/docs/postgres/instance-settings#machine-type-2ndgen (0.6 and 1.7 GB)."""
_PLUS = re.compile(r"db-perf-optimized-N-(2|4|8|16|32|48|64|80|96|128)")
_CUSTOM = re.compile(r"db-custom-(\d+)-(\d+)")
_CONNECTIONS = (
    (600, 25),
    (1700, 50),
    (3840, 100),
    (6144, 200),
    (7680, 400),
    (15360, 500),
    (30720, 600),
    (61440, 800),
    (122880, 1000),
)
"""From so many MiB on: https://cloud.google.com/sql/docs/postgres/flags#postgres-m, ``max_connections``."""
_LEARN = "Learn more at https://cloud.google.com/sql/docs/postgres/create-instance#machine-types."


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A machine."""

    name: str
    memory_mb: int
    shared_core: bool

    @property
    def connections(self) -> int:
        """``max_connections`` where no flag sets it."""
        return [most for least, most in _CONNECTIONS if least <= self.memory_mb][-1]


def tier(name: str, edition: str) -> Tier:
    """The machine of this name; raises Refused where the edition doesn't sell it.

    The words are those of hashicorp/terraform-provider-google#20498; the sizes of custom machines those of
    https://cloud.google.com/sql/docs/postgres/instance-settings.
    """
    plus, custom = _PLUS.fullmatch(name), _CUSTOM.fullmatch(name)
    if edition == PLUS and not plus:
        raise invalid(
            f"Invalid Tier ({name}) for (ENTERPRISE_PLUS) Edition. Use a predefined Tier like db-perf-optimized-N-* "
            f"instead. {_LEARN}"
        )
    if edition == ENTERPRISE and plus:
        raise invalid(f"Invalid Tier ({name}) for (ENTERPRISE) Edition. {_LEARN}")
    if plus:
        return Tier(name=name, memory_mb=int(plus[1]) * 8 * 1024, shared_core=False)
    if name in _SHARED:
        return Tier(name=name, memory_mb=_SHARED[name], shared_core=True)
    if custom:
        _check_custom(name, int(custom[1]), int(custom[2]))
        return Tier(name=name, memory_mb=int(custom[2]), shared_core=False)
    # The words for a machine that no PostgreSQL has: serverpod/serverpod#2373.
    raise invalid("Only custom or shared-core instance Billing Tier type allowed for PostgreSQL database.")


def _check_custom(name: str, cpus: int, memory_mb: int) -> None:
    if not (cpus == 1 or (cpus % 2 == 0 and 2 <= cpus <= 96)):
        raise invalid(f"Invalid Tier ({name}): the number of CPUs must be 1 or an even number up to 96.")
    least = max(3840, -(-cpus * 9 * 1024 // 10))
    if memory_mb % 256 or not least <= memory_mb <= cpus * 6656:
        raise invalid(
            f"Invalid Tier ({name}): the memory must be a multiple of 256 MB, at least 3840 MB, and 0.9 to 6.5 GB per "
            "vCPU."
        )
