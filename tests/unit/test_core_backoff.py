"""Waiting between attempts: longer each time, never beyond the cap, never in step."""

from __future__ import annotations

import pytest

from cesar_watch.core.backoff import backoff_s
from cesar_watch.core.config import RetrySettings

RETRY = RetrySettings(backoff_s=10, backoff_max_s=1000)


@pytest.mark.parametrize(("attempt", "least_s"), [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160)])
def test_backoff_doubles_and_stays_within_its_jitter(attempt: int, least_s: float) -> None:
    waits = [backoff_s(attempt, RETRY) for _ in range(200)]

    assert all(least_s <= wait <= least_s + 2.5 for wait in waits)


def test_backoff_is_jittered_so_that_hosts_do_not_march_in_step() -> None:
    assert len({backoff_s(1, RETRY) for _ in range(50)}) > 40


@pytest.mark.parametrize("attempt", [8, 20, 10_000])
def test_backoff_never_exceeds_the_longest_wait(attempt: int) -> None:
    assert backoff_s(attempt, RETRY) == 1000


def test_backoff_of_a_first_attempt_above_the_cap_is_the_cap() -> None:
    assert backoff_s(1, RetrySettings(backoff_s=50, backoff_max_s=5)) == 5


def test_backoff_of_zero_does_not_wait() -> None:
    assert backoff_s(3, RetrySettings(backoff_s=0)) == 0
