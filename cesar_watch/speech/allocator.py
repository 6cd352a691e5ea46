"""How the engine process takes memory from the kernel. Nothing heavy."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""glibc's numbers for mallopt(3)."""
_NEVER = 1 << 30


def keep_memory() -> None:
    """Let all threads use freed memory again, instead of giving it back; call it before the first thread begins.

    Whisper's encoder takes and frees some fifty megabytes in each of its layers. glibc maps so much anew each time, and
    the kernel fills it with zeros, which takes an eighth of the whole time; and each thread has an arena of its own,
    whose holes are of no use to the others. Without glibc everything is as it was.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, _NEVER), (_M_TRIM_THRESHOLD, _NEVER), (_M_ARENA_MAX, 1)):
            mallopt(option, value)
