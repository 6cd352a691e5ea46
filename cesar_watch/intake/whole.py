"""Look into a recording before it is touched: does anybody write it, and does its own structure say that it is whole?

Nothing here blocks, follows a link, or holds the file for longer than the look.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from cesar_watch.core.errors import AttemptError, Unfinished
from cesar_watch.core.job import FileIdentity
from cesar_watch.intake.lease import is_being_written
from cesar_watch.intake.probe import Verdict, probe

BUSY = {errno.EBUSY, errno.ETXTBSY, errno.EAGAIN}
"""What open and rename say of a file that a Windows or Samba client holds open."""
NOT_THE_FILES_FAULT = {errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
"""What an open says when the share is gone or this process has no file handle left."""


def examine(path: Path, identity: FileIdentity, *, is_remote: bool) -> Verdict:
    """Return what the recording's own structure proves, if nobody is writing it.

    Args:
        identity: What the caller saw; it is another file, or a changed one, if this differs.
        is_remote: It lies on a network or user-space filesystem, where the kernel does not know the writers.

    Raises:
        Unfinished: `being_written` or `changed`; its writer has not finished.
        AttemptError: `not_readable`, for a reason that lies in this file.
        OSError: The file is gone, or something greater than it is wrong.
    """
    with open_unchanged(path, identity) as descriptor:
        if not is_remote and is_being_written(descriptor):
            raise being_written(path)
        try:
            return probe(descriptor, identity.size_bytes)
        except OSError as fault:
            raise not_readable(path, fault) from None


@contextlib.contextmanager
def open_unchanged(path: Path, identity: FileIdentity) -> Iterator[int]:
    """Open a recording for reading if it is still the file that was seen; never follow a link or wait on a pipe.

    Raises:
        Unfinished, AttemptError, OSError: As `examine`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as fault:
        if fault.errno in NOT_THE_FILES_FAULT:
            raise
        raise (being_written(path) if fault.errno in BUSY else not_readable(path, fault)) from None
    try:
        if FileIdentity.of(os.fstat(descriptor)) != identity:
            raise Unfinished(f"{shown(path)} waits: it changed since it was looked at.", reason="changed")
        yield descriptor
    finally:
        os.close(descriptor)


def being_written(path: Path) -> Unfinished:
    """Return the error for a file that another program holds open."""
    return Unfinished(f"{shown(path)} waits until the program that has it open for writing closes it.")


def not_readable(path: Path, fault: OSError) -> AttemptError:
    """Return the error for a file that refuses us."""
    return AttemptError(
        f"{shown(path)} can't be taken ({fault.strerror or fault}): let the service's user read it, and close it "
        "where it is open.",
        reason="not_readable",
    )


def shown(path: Path) -> str:
    """Return the file's name as valid text."""
    return os.fsencode(path.name).decode("utf-8", "replace")
