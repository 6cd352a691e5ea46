"""How many windows at once, and with how many threads each: by the settings, what was measured, or the machine.

Nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.measured import Figure, best

MOST_WORKERS = 4
"""More windows at once than this take memory faster than they save time: threads are then the better use of cores."""


def plan(settings: EngineSettings, measured: Iterable[Figure] = (), *, cores: int | None = None) -> tuple[int, int]:
    """Return how many windows are worked on at once, and how many threads work on each.

    What the settings say holds; what they leave open is as it was fastest when it was measured. Where nothing was,
    each window gets one thread, since Whisper's decoder has little to divide between several.

    Args:
        cores: Left out: those that this process may use.
    """
    fastest = best(measured, settings)
    if fastest is not None:
        return fastest.workers, fastest.threads
    cores = cores or len(os.sched_getaffinity(0))
    workers = settings.workers or max(1, min(cores // (settings.threads or 1), MOST_WORKERS))
    return workers, settings.threads or max(1, cores // workers)


def divisions(settings: EngineSettings, *, cores: int | None = None) -> list[tuple[int, int]]:
    """Return the ways that are worth measuring: one window with all cores, two with half of them each, and so on.

    What the settings say holds. Arguments and values as in `plan`.
    """
    cores = cores or len(os.sched_getaffinity(0))
    most = max(1, cores // (settings.threads or 1))
    doubled = [2**power for power in range((most - 1).bit_length())]
    numbers = [settings.workers] if settings.workers else [*doubled, most]
    return [(workers, settings.threads or max(1, cores // workers)) for workers in numbers]
