"""Put right what an earlier life left half-way; each case is a line of the crash table in docs/architecture.md.

This process owns the state directory, so every lease of an earlier life is known to be dead: nobody
waits for a timeout. Every step can be repeated, so a crash in here is recovered by running it again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from cesar_watch.core.durable import TEMPORARY_PREFIX, sync_dir
from cesar_watch.core.job import Event, Failure, FileIdentity, Job, Request, State
from cesar_watch.service import endings
from cesar_watch.service.adoption import adopt_unknown
from cesar_watch.service.announce import announce
from cesar_watch.service.house import House
from cesar_watch.speech.checkpoint import NAME as CHECKPOINT_NAME
from cesar_watch.speech.checkpoint import Checkpoint, fingerprint


def recover(house: House) -> None:
    """Bring ledger and folders together after a start."""
    recover_claims(house)
    adopt_unknown(house)
    recover_attempts(house, counted=True)
    sweep_leftovers(house)


def recover_claims(house: House) -> None:
    """Finish or forget every claim that was under way."""
    for job in house.ledger.jobs([State.CLAIMING]):
        assert job.moving_to is not None
        target = house.spool.absolute(job.moving_to)
        if os.path.lexists(target):
            _finish_rename(house.spool.absolute(job.source), target)
            identity = FileIdentity.of(os.lstat(target))
            now = house.clock.now()
            done = house.ledger.apply(
                job, Event.CLAIMED, now, reason="recovered", source=job.moving_to, moving_to=None, identity=identity
            )
            announce(house, done)
        else:
            endings.remove_job_dir(house.spool.job_dir(job.job_id))
            house.ledger.withdraw(job)


def _finish_rename(source: Path, target: Path) -> None:
    """Take away the old name where the move died between its link and its unlink (`durable.link_noreplace`)."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.lstat(source), os.lstat(target)):
            source.unlink()
            sync_dir(source.parent)


def recover_attempts(house: House, *, counted: bool) -> None:
    """Take up every job that somebody was working on.

    Args:
        counted: The attempt stays counted (the process died in it). False after a systemic fault.
    """
    for job in house.ledger.jobs([State.TRANSCRIBED]):
        _finish_transcribed(house, job)
    for job in house.ledger.jobs([State.PROCESSING]):
        if job.request is Request.CANCEL:
            endings.cancel(house, job)
        elif job.moving_to is not None and job.error is not None:
            endings.give_up(house, job, job.error)
        elif counted and job.attempts >= house.settings.retry.max_attempts:
            endings.give_up(house, job, _poison(job))
        else:
            attempts = job.attempts if counted else max(0, job.attempts - 1)
            now = house.clock.now()
            changes: dict[str, Any] = {"lease": None, "attempts": attempts, "estimated_completion_at": None}
            announce(house, house.ledger.apply(job, Event.RELEASED, now, reason="recovered", **changes))


def _poison(job: Job) -> Failure:
    return Failure(
        "poison",
        f"The service died {job.attempts} times in a row while it worked on this recording, without finishing a single "
        "window: look into its log and at the memory, then retry it.",
    )


def _finish_transcribed(house: House, job: Job) -> None:
    """Publish what was transcribed; decode again only if the checkpoint is not whole."""
    source = job.source_path(house.spool.root)
    folder = house.spool.job_dir(job.job_id)
    transcript = None
    if folder.is_dir():
        transcript = Checkpoint.open(folder, fingerprint(job.options["engine"], job.sha256 or "")).transcript
    if transcript is not None:
        endings.complete(house, job, transcript)
    elif source.exists():
        house.ledger.apply(job, Event.RELEASED, house.clock.now(), reason="recovered", lease=None)
    else:
        failure = Failure("source_missing", "Recording and checkpoint are gone from processing/: drop it again.")
        endings.give_up(house, job, failure)


def sweep_leftovers(house: House) -> None:
    """Remove our temporary files and the folders of finished jobs, which hold nothing but our own files."""
    live = house.ledger.ids([State.PENDING, State.PROCESSING, State.TRANSCRIBED])
    for entry in house.spool.processing.iterdir():
        if entry.name.startswith(TEMPORARY_PREFIX) and entry.is_file():
            entry.unlink()
        elif entry.name not in live:
            endings.remove_job_dir(entry)
        else:
            for temporary in entry.glob(f"{TEMPORARY_PREFIX}*"):
                if temporary.name != CHECKPOINT_NAME:
                    temporary.unlink()
