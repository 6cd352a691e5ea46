"""Ask the kernel whether anybody has a file open for writing: a read lease, taken and given back at once.

The answer covers every process of this kernel, those in other containers too, and nothing beyond it: on a network or
user-space filesystem there may be writers that this kernel has never heard of, and a client without a delegation
refuses every lease, so there the question is not asked at all (fcntl(2), F_SETLEASE).
"""

from __future__ import annotations

import errno
import fcntl
import signal

_HARMLESS = signal.SIGURG
"""The kernel tells a lease's holder of a writer that knocks by SIGIO, which by default kills the process. On this
descriptor it uses a signal that by default is ignored; so no thread has to change what signals do to the process."""


def is_being_written(descriptor: int) -> bool | None:
    """Return whether some process has this regular file open for writing; None where the kernel won't say.

    It says nothing of another user's file unless we hold CAP_LEASE, nor on filesystems without leases. A writer that
    opens the file in the instant of the question waits until it is over.

    Args:
        descriptor: Open for reading only. Any thread may ask.
    """
    try:
        _take(descriptor)
    except OSError as fault:
        return True if fault.errno == errno.EAGAIN else None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _take(descriptor: int) -> None:
    # Each time anew, since giving a lease back forgets the signal.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, _HARMLESS)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
