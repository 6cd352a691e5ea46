"""How many windows at once, and with how many threads each: by the settings, or by the machine. Nothing heavy."""

from __future__ import annotations

import os

from cesar_watch.core.config import EngineSettings

MOST_WORKERS = 4
"""More windows at once than this take memory faster than they save time: threads are then the better use of cores."""


def plan(settings: EngineSettings, *, cores: int | None = None) -> tuple[int, int]:
    """Return how many windows are worked on at once, and how many threads work on each.

    One thread a window uses cores best, since Whisper's decoder has little to divide between threads.

    Args:
        cores: Left out: those that this process may use.
    """
    cores = cores or len(os.sched_getaffinity(0))
    workers = settings.workers or max(1, min(cores // (settings.threads or 1), MOST_WORKERS))
    return workers, settings.threads or max(1, cores // workers)
