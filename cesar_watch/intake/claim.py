"""Take a settled recording out of the inbox, so that exactly one instance owns it.

The order, and why:

1. intent row, committed: from here on a crash leaves a trace that says what to look for;
2. the recording itself is fsynced: what its sender never synced must not be ours by name only;
3. its job folder is made, durably;
4. rename into it, without replacing: whoever's rename succeeds owns the file; then the inbox is
   synced, then the job folder (`core/durable.py` says why in this order);
5. its sidecar appears, before any worker can have written a later one;
6. `pending`, committed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from cesar_watch.core.durable import make_dirs
from cesar_watch.core.errors import AttemptError, folder_fault
from cesar_watch.core.job import Event, FileIdentity, Job, State, new_job_id
from cesar_watch.core.ledger import Intent, Ledger
from cesar_watch.core.spool import Spool
from cesar_watch.intake.scan import Candidate

_BUSY = {errno.EBUSY, errno.ETXTBSY, errno.EAGAIN}
"""What a rename says of a file that a Windows or Samba client holds open."""
_NOT_THE_FILES_FAULT = {errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
"""What an open says when the share is gone or this process has no file handle left."""


def claim(
    candidate: Candidate,
    spool: Spool,
    ledger: Ledger,
    *,
    options: dict[str, Any],
    bases: Iterable[tuple[str, str]],
    announce: Callable[[Job], Job],
    now: datetime,
) -> Job | None:
    """Move a settled candidate into this instance's processing folder and queue it.

    Args:
        announce: Shows the world the job as it will be, pending; may give it another output base.

    Returns:
        The pending job; None when the file is gone, because its sender or another instance took it.

    Raises:
        AttemptError: The file is busy, changed since it was looked at, or not readable: try again later.
            It still lies in the inbox and nothing remembers it.
        SpoolError: A room can't be written. The recording is in the inbox and forgotten, or in its job folder with a
            `claiming` row, which recovery finishes.
    """
    job_id = new_job_id()
    folder = spool.job_dir(job_id)
    target = folder / os.fsdecode(candidate.name)
    identity = FileIdentity.of(candidate.stat)
    intent = Intent(
        job_id=job_id,
        name=candidate.name,
        subfolder=candidate.subfolder,
        source=spool.relative(candidate.path),
        moving_to=spool.relative(target),
        identity=identity,
        options=options,
    )
    job = ledger.log_intent(intent, bases, now)
    try:
        _sync_unchanged(candidate.path, identity)
    except (OSError, AttemptError) as fault:
        _undo(ledger, job, folder)
        if isinstance(fault, OSError) and fault.errno in _NOT_THE_FILES_FAULT:
            raise folder_fault(fault) from None
        _gone_or_busy(candidate, fault)
        return None
    try:
        make_dirs(folder)
        spool.move(candidate.path, target)
    except OSError as fault:
        if not os.path.lexists(target):
            _undo(ledger, job, folder)
        if isinstance(fault, FileNotFoundError) or fault.errno in _BUSY:
            _gone_or_busy(candidate, fault)
            return None
        raise folder_fault(fault) from None
    claimed: dict[str, Any] = {
        "source": intent.moving_to,
        "moving_to": None,
        "identity": FileIdentity.of(os.lstat(target)),
    }
    announce(dataclasses.replace(job, state=State.PENDING, **claimed))
    return ledger.apply(job, Event.CLAIMED, now, **claimed)


def _sync_unchanged(path: Path, identity: FileIdentity) -> None:
    """Fsync the recording if it is still the file that settled; never follow a link or wait on a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if FileIdentity.of(os.fstat(descriptor)) != identity:
            raise AttemptError("it changed since it was looked at", reason="changed")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _undo(ledger: Ledger, job: Job, folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
    ledger.withdraw(job)


def _gone_or_busy(candidate: Candidate, fault: Exception) -> None:
    """Return when the recording is gone; raise when it is there and can't be taken yet."""
    if isinstance(fault, FileNotFoundError):
        return
    name = candidate.name.decode("utf-8", "replace")
    if isinstance(fault, AttemptError):
        raise AttemptError(f"{name} waits: {fault}.", reason=fault.reason)
    what = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    raise AttemptError(
        f"{name} can't be taken ({what}): let the service's user read it, and close it where it is open.",
        reason="not_readable",
    )
