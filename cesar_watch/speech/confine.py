"""What the engine process gives up before it opens anything: the network, and what the settings ask for.

It reads recordings of strangers with libraries written in C. Nothing here is heavy, nor can it be undone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
from collections.abc import Callable
from functools import partial

from cesar_watch.speech.protocol import Setup

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Its number on the machines that CTranslate2 is built for; the C library has no function for it."""
_IOPRIO_WHO_PROCESS, _IOPRIO_IDLE = 1, 3 << 13

_libc = ctypes.CDLL(None, use_errno=True)


def confine(setup: Setup) -> list[str]:
    """Give up the network and what the setup says; return what the kernel keeps this process from giving up, in words.

    For this process's whole life and all its threads, if it is called before the first of them begins.
    """
    steps: list[tuple[str, Callable[[], object]]] = [("the network", leave_network)]
    if setup.nice:
        steps.append(("its priority", partial(os.nice, setup.nice)))
    if setup.io_idle:
        steps.append(("its turn at the disk", wait_for_idle_disk))
    if setup.memory_limit_bytes:
        steps.append(("memory", partial(limit_memory, setup.memory_limit_bytes)))
    kept = []
    for what, give_up in steps:
        try:
            give_up()
        except (OSError, ValueError) as fault:
            kept.append(f"{what} ({fault})")
    return kept


def leave_network() -> None:
    """Go into a network namespace of its own, in which not even loopback is up (unshare(2)).

    Whoever has capabilities, as root does, keeps them: they are what lets it read recordings of others. Who has none
    needs a user namespace, which gives and takes nothing else here: files go on being judged by this process's real
    user and groups, and what it might do inside is given up.

    Raises:
        OSError: The kernel refuses. A network is there as before.
    """
    if any(_capabilities()):
        _call("unshare", _CLONE_NEWNET)
        return
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)
    # Refused only by a service manager's filter, which refuses what they are good for as well.
    with contextlib.suppress(OSError):
        _call("capset", _capability_header(), (ctypes.c_uint32 * 6)())


def wait_for_idle_disk() -> None:
    """Read from a disk only when nobody else does, where its scheduler knows priorities (ioprio_set(2))."""
    number = _IOPRIO_SET.get(platform.machine())
    if number is None:
        raise OSError(f"not known on {platform.machine()}")
    _call("syscall", number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)


def limit_memory(limit_bytes: int) -> None:
    """Let allocations beyond a limit fail: this process shall run out of memory, and not the machine (RLIMIT_DATA)."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _capabilities() -> tuple[int, int]:
    """Return the two halves of the capabilities in force (capget(2))."""
    words = (ctypes.c_uint32 * 6)()
    _call("capget", _capability_header(), words)
    return words[0], words[3]


def _capability_header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
