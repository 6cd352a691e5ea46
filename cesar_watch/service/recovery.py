"""Put right what an earlier life left half-way; each case is a line of the crash table in docs/architecture.md.

This process owns the state directory, so every lease of an earlier life is known to be dead: nobody
waits for a timeout. Every step can be repeated, so a crash in here is recovered by running it again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from pathlib import Path
from typing import Any

from cesar_watch.core.companions import companions
from cesar_watch.core.durable import TEMPORARY_PREFIX, finish_move, sync_file
from cesar_watch.core.job import UNFINISHED, Event, Failure, FileIdentity, Job, Request, State
from cesar_watch.core.sign_of_life import SIGN
from cesar_watch.core.taken import Stamp, Taken
from cesar_watch.service import endings, retrying
from cesar_watch.service.adoption import adopt_unknown
from cesar_watch.service.announce import announce
from cesar_watch.service.house import House
from cesar_watch.service.taken_over import forget_taken_over
from cesar_watch.speech.checkpoint import Checkpoint, fingerprint


def recover(house: House) -> None:
    """Bring ledger and folders together after a start."""
    recover_claims(house)
    adopt_unknown(house)
    recover_attempts(house, died=True)
    sweep_leftovers(house)


def recover_claims(house: House) -> None:
    """Finish or forget every claim that was under way."""
    for job in house.ledger.jobs([State.CLAIMING]):
        assert job.moving_to is not None
        target = house.spool.absolute(job.moving_to)
        if house.spool.holds(target):
            _finish_claim(house, job, target)
        else:
            endings.remove_job_dir(house.spool.job_dir(job.job_id))
            house.ledger.withdraw(job)


def _finish_claim(house: House, job: Job, target: Path) -> None:
    """Do what a claim does behind its rename, in the same order (`intake/claim.py`, `intake/copying.py`).

    What the dead process moved may still be lost in a power cut, while a ledger on another disk would remember it.
    """
    sync_file(target)
    finish_move(house.spool.absolute(job.source), target)
    house.spool.carry(house.spool.absolute(job.source), target, companions(job))
    claimed: dict[str, Any] = {
        "source": job.moving_to,
        "moving_to": None,
        "identity": FileIdentity.of(os.lstat(target)),
    }
    taken = None
    if job.is_copied:
        with target.open("rb") as stream:
            claimed["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
        taken = Taken.by(job, Stamp(job.identity, ctime_ns=0), claimed["sha256"])
    announce(house, dataclasses.replace(job, state=State.PENDING, **claimed))
    house.ledger.apply(job, Event.CLAIMED, house.clock.now(), reason="recovered", taken=taken, **claimed)


def recover_attempts(house: House, *, died: bool, lease: str | None = None) -> None:
    """Take up every job that somebody was working on.

    Args:
        died: The service died in the attempt. False after a systemic fault, which is nobody's attempt.
        lease: Only the job that has this one; others are being worked on.
    """
    forget_taken_over(house)
    for state, take_up in (
        (State.TRANSCRIBED, _finish_transcribed),
        (State.PROCESSING, functools.partial(recover_attempt, died=died)),
    ):
        for job in house.ledger.jobs([state]):
            if lease in (None, job.lease):
                take_up(house, job)


def recover_attempt(house: House, job: Job, *, died: bool) -> None:
    """Take up one job that somebody was working on; `died` as for `recover_attempts`."""
    if job.duplicate_of is not None:
        endings.rest_as_duplicate(house, job)
    elif job.request is Request.CANCEL:
        endings.cancel(house, job)
    elif job.moving_to is not None and job.error is not None:
        endings.give_up(house, job, job.error)
    elif not died:
        retrying.release(house, job, "recovered")
    elif house.settings.engine.isolation == "process":
        retrying.interrupted(house, job)
    else:
        retrying.died_decoding(house, job)


def _finish_transcribed(house: House, job: Job) -> None:
    """Publish what was transcribed; decode again only if the checkpoint is not whole."""
    source = job.source_path(house.spool.root)
    folder = house.spool.job_dir(job.job_id)
    transcript = None
    if folder.is_dir():
        transcript = Checkpoint.open(folder, fingerprint(job.options["engine"], job.sha256 or "")).transcript
    if transcript is not None:
        endings.complete(house, job, transcript)
    elif house.spool.holds(source):
        house.ledger.apply(job, Event.RELEASED, house.clock.now(), reason="recovered", lease=None)
    else:
        failure = Failure("source_missing", "Recording and checkpoint are gone from processing/: drop it again.")
        endings.give_up(house, job, failure)


def sweep_leftovers(house: House) -> None:
    """Remove our temporary files and the folders of finished jobs, which hold nothing but our own files.

    What lies in the folder of a live job goes with it at the job's end: thousands may wait.
    """
    live = house.ledger.ids(UNFINISHED)
    processing = house.spool.processing
    for name in set(os.listdir(processing)) - live:
        if name == SIGN:
            continue
        if name.startswith(TEMPORARY_PREFIX) and (processing / name).is_file():
            (processing / name).unlink()
        else:
            endings.clear_job_dir(house, name)
    for temporary in house.settings.state_dir.glob(f"{TEMPORARY_PREFIX}*"):
        temporary.unlink()
