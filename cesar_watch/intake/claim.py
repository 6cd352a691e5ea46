"""Take a settled recording out of the inbox, so that exactly one instance owns it.

The order, and why:

1. intent row, committed: from here on a crash leaves a trace that says what to look for;
2. the recording itself is fsynced: what its sender never synced must not be ours by name only;
3. its job folder is made, durably;
4. rename into it, without replacing: whoever's rename succeeds owns the file; then the inbox is
   synced, then the job folder (`core/durable.py` says why in this order);
5. `pending`, committed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from cesar_watch.core.durable import make_dirs
from cesar_watch.core.errors import AttemptError, folder_fault
from cesar_watch.core.job import Event, FileIdentity, Job, new_job_id
from cesar_watch.core.ledger import Intent, Ledger
from cesar_watch.core.spool import Spool
from cesar_watch.intake.scan import Candidate


def claim(
    candidate: Candidate,
    spool: Spool,
    ledger: Ledger,
    *,
    options: dict[str, Any],
    bases: Iterable[tuple[str, str]],
    now: datetime,
) -> Job | None:
    """Move a settled candidate into this instance's processing folder and queue it.

    Returns:
        The pending job; None when the file is gone, because its sender or another instance took it.

    Raises:
        AttemptError: The file is busy, changed since it was looked at, or not readable: try again later.
            It still lies in the inbox and nothing remembers it.
        SpoolError: A room can't be written. The row, if any, is found and mended by recovery.
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
        make_dirs(folder)
        spool.move(candidate.path, target)
    except FileNotFoundError:
        _undo(ledger, job, folder)
        return None
    except (AttemptError, PermissionError, BlockingIOError) as fault:
        _undo(ledger, job, folder)
        raise _busy(candidate, fault) from None
    except OSError as fault:
        raise folder_fault(fault) from None
    return ledger.apply(
        job, Event.CLAIMED, now, source=job.moving_to, moving_to=None, identity=FileIdentity.of(os.lstat(target))
    )


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


def _busy(candidate: Candidate, fault: Exception) -> AttemptError:
    name = candidate.name.decode("utf-8", "replace")
    if isinstance(fault, AttemptError):
        return AttemptError(f"{name} waits: {fault}.", reason=fault.reason)
    return AttemptError(
        f"{name} can't be taken: {fault}. Let the service's user read it and write to the inbox.", reason="not_readable"
    )
