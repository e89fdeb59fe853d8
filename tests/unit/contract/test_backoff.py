from __future__ import annotations

import pytest
from reram_fleet.processes.backoff import Backoff


@pytest.mark.parametrize(("failures", "longest_s"), [(1, 0.5), (2, 1.0), (4, 4.0), (5, 8.0), (40, 8.0)])
def test_backoff_doubles_up_to_its_limit_and_is_spread(failures: int, longest_s: float) -> None:
    backoff = Backoff(first_s=0.5, longest_s=8.0)
    delays = [backoff.delay_s(failures) for _ in range(50)]
    assert all(longest_s / 2 <= delay <= longest_s for delay in delays)
    assert len(set(delays)) > 1


def test_full_jitter_may_wait_no_time_at_all() -> None:
    backoff = Backoff(first_s=4.0, longest_s=60.0, least=0.0)
    assert [backoff.delay_s(1, jitter) for jitter in (0.0, 0.5)] == [0.0, 2.0]


def test_very_many_failures_do_not_overflow() -> None:
    assert Backoff(first_s=1.0, longest_s=60.0).delay_s(100_000, 1.0) == 60.0
