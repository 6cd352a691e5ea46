"""What tests/conftest.py promises to all tests."""

from __future__ import annotations

import gc
import os


class _EndsWherePossible:
    """Like a model with threads: nobody but the process that made it can end it."""

    def __init__(self) -> None:
        self.home = os.getpid()
        self.myself = self  # garbage that only a collection finds

    def __del__(self) -> None:
        if os.getpid() != self.home:
            os._exit(1)


def test_forked_child_does_not_collect_the_garbage_of_its_parent() -> None:
    gc.disable()
    try:
        _EndsWherePossible()
        child = os.fork()
        if child == 0:
            gc.collect()
            os._exit(0)
    finally:
        gc.enable()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
