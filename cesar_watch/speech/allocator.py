"""How the engine process takes memory from the kernel. Nothing heavy."""

from __future__ import annotations

import contextlib
import ctypes
import os

TUNABLES = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=16777216:glibc.malloc.hugetlb=1"
"""For glibc, before the process begins (`GLIBC_TUNABLES`, ld.so(8)); other C libraries pass it over.

Whisper's encoder takes and frees some fifty megabytes in each of its layers. Mapped anew each time in pages of 4 KB, as
glibc does by itself, that is an eighth of the whole computing time; kept in the heap it leaves holes, a quarter more
memory after some hours. In huge pages it costs little, and goes back at once. One arena for all threads: what one of
them frees is of use to the others.
"""


def environment() -> dict[str, str]:
    """Return this process's environment with `TUNABLES`; what it says itself counts more."""
    own = os.environ.get("GLIBC_TUNABLES", "")
    return {**os.environ, "GLIBC_TUNABLES": f"{TUNABLES}:{own}" if own else TUNABLES}


def give_back() -> None:
    """Give all memory of the heap that is free back to the kernel, where the C library can (malloc_trim(3)).

    It takes milliseconds. What is freed between what is still used would stay until the end of the process, and the
    holes grow with the hours.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
