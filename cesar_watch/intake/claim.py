"""Take a settled recording out of the inbox, so that exactly one instance owns it.

The order, and why:

1. intent row, committed: from here on a crash leaves a trace that says what to look for;
2. the recording itself is fsynced, and its settings file: what their sender never synced must not be ours by name only;
3. its job folder is made, durably;
4. rename into it, without replacing: whoever's rename succeeds owns the file; then the inbox is
   synced, then the job folder (`core/durable.py` says why in this order); a recording that its
   sender replaced or changed since step 2 is fsynced again;
5. the settings file that was read for it follows, in the same way, and the marker that announced it;
6. its sidecar appears, before any worker can have written a later one;
7. `pending`, committed.
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

from cesar_watch.core.companions import companions, settings_path
from cesar_watch.core.durable import make_dirs, sync_file
from cesar_watch.core.errors import AttemptError, CesarError, SpoolError, folder_fault
from cesar_watch.core.job import Event, Failure, FileIdentity, Job, State, new_job_id
from cesar_watch.core.ledger import Intent, Ledger
from cesar_watch.core.spool import Spool
from cesar_watch.intake.scan import Candidate
from cesar_watch.intake.whole import BUSY, NOT_THE_FILES_FAULT, being_written, not_readable, open_unchanged, shown

_REFUSED = {errno.EPERM, errno.EACCES, errno.EXDEV}
"""What a rename says of an immutable file, one in somebody else's sticky folder, one in a folder of the inbox on which
something is mounted; and of rooms that are not ours, or not on one mount."""


def claim(
    candidate: Candidate,
    spool: Spool,
    ledger: Ledger,
    *,
    options: dict[str, Any],
    fault: Failure | None = None,
    bases: Iterable[tuple[str, str]],
    announce: Callable[[Job], Job],
    now: datetime,
) -> Job | None:
    """Move a settled candidate into this instance's processing folder and queue it.

    Args:
        fault: Why it will be given up as soon as it is claimed.
        announce: Shows the world the job as it will be, pending; may give it another output base.

    Returns:
        The pending job; None when the file is gone, because its sender or another instance took it.

    Raises:
        AttemptError: The file is being written, changed since it was looked at, not readable or not movable: try again
            later.
            It still lies in the inbox and nothing remembers it.
        SpoolError: A room can't be written. The recording is in the inbox and forgotten, or in its job folder with a
            `claiming` row, which recovery finishes.
    """
    intent = _intent(candidate, spool, options)
    target = spool.absolute(intent.moving_to)
    job = ledger.log_intent(intent, bases, now, error=fault)
    try:
        with open_unchanged(candidate.path, intent.identity) as descriptor:
            _sync(candidate, descriptor)
        if job.has_settings_file:
            _sync_settings(settings_path(candidate.path))
        make_dirs(target.parent, below=spool.processing)
        spool.take_in(candidate.path, target)
        identity = FileIdentity.of(os.lstat(target))
        if identity != intent.identity:
            # Its sender replaced or changed it behind our back: then it is this content that must not be lost.
            sync_file(target)
        spool.carry(candidate.path, target, companions(job))
    except (OSError, AttemptError) as refusal:
        # While the share is away, this raises: recovery will find out where the recording is.
        if not spool.holds(target):
            _undo(ledger, job, target.parent)
        if isinstance(refusal, FileNotFoundError) and not os.path.lexists(candidate.path):
            return None
        raise _judged(candidate, spool, refusal) from None
    claimed: dict[str, Any] = {"source": intent.moving_to, "moving_to": None, "identity": identity}
    announce(dataclasses.replace(job, state=State.PENDING, **claimed))
    return ledger.apply(job, Event.CLAIMED, now, **claimed)


def _intent(candidate: Candidate, spool: Spool, options: dict[str, Any]) -> Intent:
    job_id = new_job_id()
    return Intent(
        job_id=job_id,
        name=candidate.name,
        subfolder=candidate.subfolder,
        source=spool.relative(candidate.path),
        moving_to=spool.relative(spool.job_dir(job_id) / os.fsdecode(candidate.name)),
        identity=FileIdentity.of(candidate.stat),
        options=options,
    )


def _sync(candidate: Candidate, descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as fault:
        if fault.errno in NOT_THE_FILES_FAULT:
            raise
        raise not_readable(candidate.path, fault) from None


def _sync_settings(path: Path) -> None:
    """Fsync the settings file that was read; one that its sender took away since has done its work.

    A link, pipe or folder of that name was not read, and stays: it is told as the recording's fault.

    Raises:
        AttemptError: It can't be read now.
    """
    if path.is_symlink() or not path.is_file():
        return
    try:
        sync_file(path)
    except OSError as fault:
        if fault.errno in NOT_THE_FILES_FAULT:
            raise
        if os.path.lexists(path):
            raise (being_written(path) if fault.errno in BUSY else not_readable(path, fault)) from None


def _undo(ledger: Ledger, job: Job, folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
    ledger.withdraw(job)


def _judged(candidate: Candidate, spool: Spool, fault: OSError | AttemptError) -> CesarError:
    """Return the error to raise: this file's, to be tried again, or the spool's."""
    if isinstance(fault, AttemptError):
        return fault
    if fault.errno in BUSY:
        return being_written(candidate.path)
    if fault.errno not in _REFUSED:
        return folder_fault(fault)
    try:
        spool.prove()
    except SpoolError as systemic:
        return systemic
    if fault.errno == errno.EXDEV:
        return AttemptError(
            f"{shown(candidate.path)} can't be moved out of the inbox, since a folder there is a mount of its own: "
            "drop recordings into a folder of the spool's mount.",
            reason="not_movable",
        )
    return AttemptError(
        f"{candidate.name.decode('utf-8', 'replace')} can't be moved out of the inbox ({fault.strerror}), though other "
        "files can: see who owns it and its folder, and whether it is immutable (lsattr).",
        reason="not_movable",
    )
