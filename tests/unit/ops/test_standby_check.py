"""What ``verify`` says of a standby."""

from __future__ import annotations

import pytest

from infra.local.replication import Seen
from ops.verify import standby_check


@pytest.mark.parametrize("lag_s", [None, 0.0, 60.0])
def test_a_standby_that_streams_and_is_near_is_fine_also_where_nothing_was_written(lag_s: float | None) -> None:
    assert standby_check(Seen(status="streaming", lag_bytes=0, lag_s=lag_s)).ok


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Seen(status="stopped"), "it is stopped: run ./gaia up"),
        (Seen(status="streaming", lag_bytes=1, lag_s=61.0), "it is 61 s behind"),
    ],
)
def test_one_that_is_not_is_told_with_the_way_out(seen: Seen, said: str) -> None:
    check = standby_check(seen)
    assert not check.ok and said in check.hint
