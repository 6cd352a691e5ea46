"""Say, beside a recording in failed/, why it lies there and what brings it back."""

from __future__ import annotations

import os
from datetime import UTC
from pathlib import Path

from cesar_watch.core.companions import beside
from cesar_watch.core.durable import sync_dir, write_new, write_replace
from cesar_watch.core.errors import NameTaken
from cesar_watch.core.job import Failure, Job
from cesar_watch.core.spool import Spool

REASON_ENDING = ".reason.txt"


def reason_path(source_at: Path) -> Path:
    """Return where the reason for a recording lies: `<name>.reason.txt`, cut to 255 bytes."""
    return beside(source_at, REASON_ENDING)


def write_reason(spool: Spool, job: Job, source_at: Path, failure: Failure) -> Path:
    """Write the reason file for a recording that lies, or will lie, at `source_at`; return its path.

    Survives a power cut after return; an earlier reason of the same job is replaced.

    Raises:
        NameTaken: The name is that of another job's reason, or of a stranger's file; it is left alone.
        OSError: Disk full, read-only, share gone. An earlier reason file stays as it was.
    """
    given_up_at = (job.completed_at or job.updated_at).astimezone(UTC)
    recording = os.path.join(job.subfolder, job.name).decode("utf-8", "replace")
    lines = {
        "reason": failure.reason,
        "message": failure.message,
        "job_id": job.job_id,
        "recording": recording,
        "attempts": str(job.attempts),
        "given up at": given_up_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "to try again": f"cesar-watch retry {job.job_id}",
    }
    text = "".join(f"{label}: {' '.join(value.split())}\n" for label, value in lines.items())
    folder = spool.job_dir(job.job_id)
    target = reason_path(source_at)
    staging = folder if folder.is_dir() else spool.processing
    content = text.encode("utf-8", "replace")
    if not os.path.lexists(target):
        # Another instance may be giving up a recording of the same name in this moment.
        write_new(target, [content], staging=staging, rename=spool.rename)
    elif f"job_id: {job.job_id}" in _lines(target):
        write_replace(target, content, staging=staging)
    else:
        raise NameTaken(f"{target} exists already and is not this job's; move it away.")
    return target


def remove_reason(source_at: Path) -> None:
    """Take away the reason file of a recording that is tried again; none there is fine.

    Raises:
        OSError: Read-only or share gone; the reason file may still be there.
    """
    target = reason_path(source_at)
    try:
        target.unlink()
    except FileNotFoundError:
        return
    sync_dir(target.parent)


def _lines(path: Path) -> list[str]:
    if path.is_symlink() or not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
