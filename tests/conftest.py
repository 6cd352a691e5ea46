"""What holds for all tests: how far hypothesis searches, and what is done about garbage.

A run of the suite tries the same few examples each time; `pytest --hypothesis-profile=thorough FILE` searches for
minutes, and prints how to repeat what it finds.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# No deadline: the cores are shared, and no test is about speed.
_COMMON = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("quick", _COMMON, derandomize=True, max_examples=25, stateful_step_count=30)
settings.register_profile("thorough", _COMMON, max_examples=1000, stateful_step_count=60, print_blob=True)
settings.load_profile("quick")

# A forked child leaves alone what its parent has dropped: the end of a model waits for threads that no child has.
os.register_at_fork(after_in_child=gc.freeze)


@pytest.fixture(scope="module")
def little_garbage() -> Iterator[None]:
    """Closing a recording collects garbage; let it not go through all that pytest has loaded every time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
