"""Which recording it is that a worker was given: whole or cut short, known by its hash, and unchanged ever since."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from cesar_watch.core.errors import AttemptError, RecordingError, Unfinished
from cesar_watch.core.humanize import size
from cesar_watch.core.job import FileIdentity, Job
from cesar_watch.core.mounts import is_remote
from cesar_watch.intake.probe import Short
from cesar_watch.intake.whole import examine
from cesar_watch.service.house import House


def identified(house: House, job: Job, source: Path, poll: Callable[[], None]) -> tuple[Job, bool]:
    """Return the job with the hash of its recording, and whether that is cut short and the settings take it even so.

    Args:
        poll: Called often while the file is read; what it raises comes out.

    Raises:
        Unfinished: Its writer, whom a rename does not stop, is still at it.
        RecordingError: It is gone, or it is cut short, and stays so.
        AttemptError: It can't be read.
    """
    seen = _seen(source)
    cut_short = _is_cut_short(house, job, source, seen)
    if not job.sha256 or seen != job.identity:
        digest = _sha256(source, poll)
        job = house.ledger.update(job, house.clock.now(), sha256=digest, identity=seen)
    return job, cut_short


def see_unchanged(source: Path, identity: FileIdentity) -> None:
    """Refuse what was found out of a file that its writer was still changing, or may go on to change.

    Raises:
        Unfinished: That is so.
    """
    if FileIdentity.of(os.lstat(source)) != identity:
        raise Unfinished(
            "The recording changed while it was worked on: it is worked on again.", reason="source_changed"
        )
    examine(source, identity, is_remote=is_remote(source))


def _seen(source: Path) -> FileIdentity:
    try:
        return FileIdentity.of(os.lstat(source))
    except FileNotFoundError:
        raise RecordingError(
            f"The recording is gone from {source}: drop it into the inbox again.", reason="source_missing"
        ) from None


def _is_cut_short(house: House, job: Job, source: Path, seen: FileIdentity) -> bool:
    """Return whether the recording's own header says that a part is missing, and the settings take it even so."""
    verdict = examine(source, seen, is_remote=is_remote(source))
    if not isinstance(verdict, Short):
        return False
    if seen != job.identity:
        # It has been waited for in the inbox, but not since it changed.
        house.ledger.update(job, house.clock.now(), sha256=None, identity=seen)
        raise Unfinished("The recording grew after its claim and is not whole yet: it is waited for.", reason="short")
    if house.settings.spool.short == "fail":
        raise RecordingError(
            f"{job.display_name} is cut short: {_missing(verdict)}. Drop the whole recording; or set "
            'spool.short = "transcribe" and retry this one.',
            reason="truncated",
        )
    return True


def _missing(verdict: Short) -> str:
    if verdict.declared_bytes is None:
        return f"of its {size(verdict.actual_bytes)} the end is missing"
    return f"its header promises {verdict.declared_bytes} bytes, and {verdict.actual_bytes} are there"


def _sha256(source: Path, poll: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    try:
        # No link is followed, and a pipe doesn't make us wait.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                poll()
    except OSError as fault:
        raise AttemptError(
            f"The recording can't be read ({fault.strerror}): see that its disk is well.",
            reason="source_unreadable",
        ) from None
    return digest.hexdigest()
