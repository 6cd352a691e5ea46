"""Take a copy of a recording whose inbox belongs to somebody else; its source is read and never touched.

The order, and why:

1. intent row, committed: from here on a crash leaves a trace that says where to look for a copy;
2. the job folder is made, durably;
3. the content is copied under a temporary name and hashed on the way; the source must be the same file, unchanged,
   before and after; then it is fsynced: a copy never has its own name before it is whole and durable;
4. rename to its own name; then the job folder is synced;
5. its sidecar appears, before any worker can have written a later one;
6. `pending`, committed together with what was taken: source, state of it, content.

Before 4 a crash leaves nothing that counts, and the source is found again; behind it the claim is finished.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from cesar_watch.core.durable import TEMPORARY_PREFIX, make_dirs, sync_dir
from cesar_watch.core.errors import AttemptError, Unfinished, folder_fault
from cesar_watch.core.job import Event, Failure, FileIdentity, Job, State, new_job_id
from cesar_watch.core.ledger import Intent, Ledger
from cesar_watch.core.spool import Spool
from cesar_watch.core.taken import Stamp, Taken
from cesar_watch.intake.scan import Candidate
from cesar_watch.intake.whole import NOT_THE_FILES_FAULT, not_readable, open_unchanged, shown

Poll = Callable[[], None]
"""Called after each block that was read, to show life; what it raises ends the reading, and nothing stays of it."""

_FICLONE = 0x40049409
"""ioctl_ficlone(2): share the blocks of another file, where the filesystem can (btrfs, XFS)."""
_BLOCK_BYTES = 1 << 20


def claim_copy(
    candidate: Candidate,
    spool: Spool,
    ledger: Ledger,
    *,
    options: dict[str, Any],
    fault: Failure | None = None,
    bases: Iterable[tuple[str, str]],
    announce: Callable[[Job], Job],
    now: datetime,
    poll: Poll,
) -> Job | None:
    """Copy a settled candidate into this instance's processing folder and queue the copy.

    Args:
        fault: Why it will be given up as soon as it is claimed.
        announce: Shows the world the job as it will be, pending; may give it another output base.

    Returns:
        The pending job; None when the source is gone.

    Raises:
        AttemptError: The source is being written, changed while it was copied, or is not readable: try again later.
            Nothing remembers it, and nothing stays of the copy.
        SpoolError: A room can't be written, or has no space for the copy. As before; or the copy is in its job folder
            with a `claiming` row, which recovery finishes.
    """
    stamp = Stamp.of(candidate.stat)
    intent = _intent(candidate, spool, options)
    target = spool.absolute(intent.moving_to)
    job = ledger.log_intent(intent, bases, now, error=fault)
    try:
        make_dirs(target.parent, below=spool.processing)
        sha256 = copy_source(candidate.path, stamp, target, poll, rename=spool.rename)
        identity = FileIdentity.of(os.lstat(target))
    except (OSError, AttemptError) as refusal:
        # While the share is away, this raises: recovery will find out whether there is a copy.
        if not spool.holds(target):
            with contextlib.suppress(OSError):
                target.parent.rmdir()
            ledger.withdraw(job)
        if isinstance(refusal, FileNotFoundError) and not os.path.lexists(candidate.path):
            return None
        if isinstance(refusal, OSError) and refusal.errno == errno.ENAMETOOLONG:
            refusal = AttemptError(
                f"{shown(candidate.path)} can't be copied: the spool's filesystem takes no name so long. Shorten it.",
                reason="name_too_long",
            )
        raise refusal if isinstance(refusal, AttemptError) else folder_fault(refusal) from None
    claimed: dict[str, Any] = {"moving_to": None, "identity": identity, "sha256": sha256}
    announce(dataclasses.replace(job, state=State.PENDING, **claimed))
    return ledger.apply(job, Event.CLAIMED, now, taken=Taken.by(job, stamp, sha256), **claimed)


def _intent(candidate: Candidate, spool: Spool, options: dict[str, Any]) -> Intent:
    """Return the intent; the identity in it is that of the source until the copy is there."""
    job_id = new_job_id()
    target = spool.relative(spool.job_dir(job_id) / os.fsdecode(candidate.name))
    return Intent(
        job_id=job_id,
        name=candidate.name,
        subfolder=candidate.subfolder,
        source=target,
        moving_to=target,
        identity=FileIdentity.of(candidate.stat),
        options=options,
    )


def copy_source(source: Path, stamp: Stamp, target: Path, poll: Poll, *, rename: Callable[[Path, Path], None]) -> str:
    """Make a durable copy appear under `target`, whole or not at all; return its SHA-256.

    Raises:
        AttemptError: The source is not as `stamp` says, before or behind the copying, or can't be read. No copy.
        OSError: The target can't be written, or there is no space for it; or the source is gone. No copy.
    """
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        with open_source(source, stamp) as descriptor, temporary.open("xb") as copy:
            sha256 = _copy(source, descriptor, copy.fileno(), poll)
            # Ours may be all that is left one day.
            os.utime(copy.fileno(), ns=(stamp.identity.mtime_ns, stamp.identity.mtime_ns))
            os.fsync(copy.fileno())
        rename(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_dir(target.parent)
    return sha256


def hash_source(source: Path, stamp: Stamp, poll: Poll) -> str:
    """Return the SHA-256 of a source.

    Raises:
        AttemptError, OSError: As `copy_source`.
    """
    digest = hashlib.sha256()
    with open_source(source, stamp) as descriptor:
        for block in _blocks(source, descriptor, poll):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def open_source(source: Path, stamp: Stamp) -> Iterator[int]:
    """Open a source for reading, and see before and afterwards that it is in the state that was seen.

    Raises:
        AttemptError: It is not (`changed`), or can't be opened.
        OSError: It is gone.
    """
    with open_unchanged(source, stamp.identity) as descriptor:
        _see_unchanged(source, descriptor, stamp)
        yield descriptor
        _see_unchanged(source, descriptor, stamp)


def _see_unchanged(source: Path, descriptor: int, stamp: Stamp) -> None:
    if Stamp.of(os.fstat(descriptor)) != stamp:
        raise Unfinished(f"{shown(source)} waits: it changed while it was read.", reason="changed")


def _copy(source: Path, descriptor: int, copy: int, poll: Poll) -> str:
    """Copy and hash in one pass, or share the blocks and hash them.

    Not by copy_file_range(2): the content has to be read for its hash, so copying it in the kernel would read it twice.
    """
    digest = hashlib.sha256()
    is_shared = _is_shared(descriptor, copy)
    if not is_shared:
        _see_space(copy, os.fstat(descriptor).st_size)
    for block in _blocks(source, descriptor, poll):
        digest.update(block)
        if not is_shared:
            _write(copy, block)
    return digest.hexdigest()


def _is_shared(descriptor: int, copy: int) -> bool:
    try:
        fcntl.ioctl(copy, _FICLONE, descriptor)
    except OSError:
        return False  # whatever the reason, copying will tell
    return True


def _see_space(copy: int, needed_bytes: int) -> None:
    there = os.fstatvfs(copy)
    if there.f_bavail * there.f_frsize < needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _blocks(source: Path, descriptor: int, poll: Poll) -> Iterator[bytes]:
    while block := _read(source, descriptor):
        yield block
        poll()


def _read(source: Path, descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _BLOCK_BYTES)
    except OSError as fault:
        if fault.errno in NOT_THE_FILES_FAULT:
            raise
        raise not_readable(source, fault) from None


def _write(copy: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(copy, view) :]
