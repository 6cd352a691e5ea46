"""How long to wait before trying again; jobs and notices wait by the same rule."""

from __future__ import annotations

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from cesar_watch.core.config import RetrySettings


def backoff_s(attempt: int, retry: RetrySettings) -> float:
    """Return the seconds to wait after `attempt` (counted from 1): exponential, jittered, capped.

    The waiting itself is a time in the ledger, so that it outlives the process and blocks nobody.
    """
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    wait = wait_exponential(multiplier=retry.backoff_s, max=retry.backoff_max_s) + wait_random(0, retry.backoff_s / 4)
    return min(wait(state), retry.backoff_max_s)
