"""Whose is it? With `spool.claim = "copy"` the recordings in the inbox belong to somebody else, and stay as they are.

What was taken is remembered (`core/taken.py`). The copy lives in its job's folder and no longer than the job is
unfinished: at the end the recording rests where it always was, in the inbox. Only where it is not there any more, or is
not as it was taken, the copy may be the last one, and rests like every other recording.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cesar_watch.core.durable import make_dirs, sync_dir
from cesar_watch.core.errors import AttemptError, SpoolError, UsageError
from cesar_watch.core.job import UNFINISHED, FileIdentity, Job
from cesar_watch.core.spool import INBOX
from cesar_watch.core.taken import Stamp, Taken, mark
from cesar_watch.intake.copying import Poll, copy_source, hash_source
from cesar_watch.intake.scan import Candidate, Rejected
from cesar_watch.service.house import House

AHEAD = 8
"""So many copies wait for the worker at most: a whole library would fill the disk long before it is transcribed."""


class Sources:
    """What is known of the files in the inbox. Owned by one thread; where claims move, it knows of none.

    Args:
        poll: Called again and again while a file is read.
    """

    def __init__(self, house: House, poll: Poll = lambda: None) -> None:
        self._house = house
        self._poll = poll
        self._known = house.ledger.taken.marks() if house.spool.is_inbox_foreign else set()
        self._ahead = 0

    def look(self) -> None:
        """Begin a look at the inbox: count the copies that wait, and see that an inbox elsewhere is mounted.

        Raises:
            SpoolError: It is empty, though recordings were taken from it. Its mount point would be.
        """
        spool = self._house.spool
        if not spool.is_inbox_foreign:
            return
        counts = self._house.ledger.counts()
        self._ahead = sum(counts[state] for state in UNFINISHED)
        if self._known and spool.inbox_elsewhere and _is_empty(spool.inbox):
            raise SpoolError(
                f"The inbox {spool.inbox} is empty, though recordings were taken from it: mount it. If it is meant to "
                "be empty, put a folder of any name into it.",
                reason="inbox_gone",
            )

    def knows(self, found: Candidate | Rejected) -> bool:
        """Whether a file was taken and has not changed since, as far as `lstat` tells."""
        return bool(self._known) and isinstance(found, Candidate) and mark(_path(found), found.stat) in self._known

    def must_wait(self, candidate: Candidate) -> bool:
        """Whether a recording stays in the inbox until the worker has caught up with the copies that there are."""
        if not self._house.spool.is_inbox_foreign or not self._ahead:
            return False
        there = os.statvfs(self._house.spool.processing)
        return self._ahead >= AHEAD or there.f_bavail * there.f_frsize < 2 * candidate.stat.st_size

    def took(self, candidate: Candidate) -> None:
        """Take note of a claim."""
        self._ahead += 1
        self._known.add(mark(_path(candidate), candidate.stat))

    def recognises(self, candidate: Candidate) -> bool:
        """Whether a file that looks new has content that was taken: as itself, touched or come back, or moved here.

        Not where another file, still there, has the same content: this is then a duplicate. Only files of a size that
        was taken are read.

        Raises:
            AttemptError: It changed while it was read, or can't be read.
            OSError: It is gone.
        """
        if not self._house.spool.is_inbox_foreign:
            return False
        path, stamp = _path(candidate), Stamp.of(candidate.stat)
        alike = self._house.ledger.taken.of_size(stamp.identity.size_bytes)
        # Its own name first; then names that nothing has any more.
        alike = [taken for taken in alike if taken.path == path] or [taken for taken in alike if self._is_gone(taken)]
        same = next((taken for taken in alike if taken.stamp.identity == stamp.identity and taken.path != path), None)
        if alike and same is None:
            sha256 = hash_source(candidate.path, stamp, self._poll)
            same = next((taken for taken in alike if taken.sha256 == sha256), None)
        if same is None:
            return False
        self._house.ledger.taken.recognise(same, path, stamp)
        self._known.add(mark(path, candidate.stat))
        return True

    def _is_gone(self, taken: Taken) -> bool:
        return not os.path.lexists(self._house.spool.inbox / os.fsdecode(taken.path))


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _path(candidate: Candidate) -> bytes:
    return os.path.join(candidate.subfolder, candidate.name)


# --- how a copy ends ----------------------------------------------------------------------------


def is_source(path: bytes) -> bool:
    """Whether a place, relative to the root, is one in the inbox: only the source of a copy rests there."""
    return path.startswith(os.fsencode(INBOX) + b"/")


def resting_source(house: House, job: Job) -> Path | None:
    """Return where the source of a copied job is, if it is there as it was taken; None for every other job.

    Where `lstat` tells otherwise, as behind a mount that numbers its files anew, its content decides.
    """
    taken = house.ledger.taken.of_job(job.job_id) if job.is_copied else None
    path = taken and house.spool.inbox / os.fsdecode(taken.path)
    return path if taken and path and _is_as_taken(path, taken) else None


def _is_as_taken(path: Path, taken: Taken) -> bool:
    try:
        stamp = Stamp.of(os.lstat(path))
        if stamp.without_device == taken.stamp.without_device:
            return True
        if stamp.identity.size_bytes != taken.stamp.identity.size_bytes:
            return False
        return hash_source(path, stamp, poll=lambda: None) == taken.sha256
    except (OSError, AttemptError):
        return False


def remove_copy(house: House, job: Job, copy: Path) -> bool:
    """Remove a copy because its source is there, as it was taken; False: it is not, and the copy stays."""
    if os.path.lexists(copy):
        if resting_source(house, job) is None:
            return False
        copy.unlink()
        sync_dir(copy.parent)
    return True


def copy_again(house: House, job: Job, target: Path, poll: Poll = lambda: None) -> FileIdentity:
    """Take another copy of an ended job's source into its folder; one that a crash left there is replaced.

    Raises:
        UsageError: The source is not there, or has other content by now: then it is another job. No copy stays.
    """
    source = house.spool.absolute(job.source)
    make_dirs(target.parent, below=house.spool.processing)
    target.unlink(missing_ok=True)
    try:
        sha256 = copy_source(source, Stamp.of(os.lstat(source)), target, poll, rename=house.spool.rename)
    except FileNotFoundError:
        sha256 = ""
    except AttemptError as fault:
        raise UsageError(str(fault), reason=fault.reason) from None
    if sha256 != job.sha256:
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            target.parent.rmdir()
        raise UsageError(
            f"The recording of job {job.job_id} is no longer at {source} as it was: somebody moved or changed it. What "
            "it is now is a job of its own.",
            reason="source_missing",
        )
    return FileIdentity.of(os.lstat(target))
