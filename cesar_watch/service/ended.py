"""What a person may still want of a job that has ended: that it begins again, or that it is forgotten."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cesar_watch.core.companions import beside, companions, followers
from cesar_watch.core.durable import finish_move, make_dirs, sync_dir
from cesar_watch.core.errors import UsageError
from cesar_watch.core.job import NO_DUPLICATE, TERMINAL, Event, Job, State, advance
from cesar_watch.delivery import kept
from cesar_watch.delivery.reason_file import remove_reason
from cesar_watch.intake.overrides import Resolved, resolve
from cesar_watch.intake.ready import announced_by
from cesar_watch.service.announce import announce, withdraw
from cesar_watch.service.house import House
from cesar_watch.service.sources import copy_again, is_source

_NEW: Mapping[str, Any] = {
    "moving_to": None,
    "lease": None,
    "request": None,
    "not_before_at": None,
    "completed_at": None,
    "attempts": 0,
    "interruptions": 0,
    "done_s": 0.0,
    "progress": 0.0,
    "message": "",
    **NO_DUPLICATE,
}
"""What a job is that nothing was done for yet."""


def requeue(house: House, job: Job) -> Job:
    """Queue a failed or cancelled job again, with all its attempts; what its checkpoint holds is gone.

    A duplicate too: what a person asks for is transcribed, whatever there is already. Its options are resolved anew:
    what was mended since, in the settings or in its settings file, counts.

    Raises:
        UsageError: Its recording is no longer where it was put. Nothing was changed.
        AttemptError: A settings file can't be read. Nothing was changed.
    """
    advance(job.state, Event.REQUEUED)
    spool = house.spool
    resting, target = spool.absolute(job.source), spool.job_dir(job.job_id) / os.fsdecode(job.name)

    def resolved_beside(recording: Path) -> Resolved:
        return resolve(house.settings, spool.inbox, job.subfolder, job.name, recording)

    # Before anything moves, since a settings file may not be readable.
    resolved = resolved_beside(resting) if spool.holds(resting) else None
    copied: dict[str, Any] = {}
    if is_source(job.source):
        copied = {"identity": copy_again(house, job, target)}
    else:
        job = _brought_back(house, job, resting, target)
    resolved = resolved or resolved_beside(target)
    if job.state is not State.DUPLICATE and not copied:  # those have none: a file of that name is somebody's
        # Before the commit: should the job fail again, an old reason would take the name of the new one.
        remove_reason(resting)
    ways = {"on_duplicate": "transcribe", "claim": "copy" if job.is_copied else "move"}
    options = announced_by(job.ready_marker, {**resolved.options, **ways})
    anew = {**_NEW, **copied, "source": spool.relative(target), "options": options, "error": resolved.fault}
    return announce(house, house.ledger.apply(job, Event.REQUEUED, house.clock.now(), **anew))


def _brought_back(house: House, job: Job, resting: Path, target: Path) -> Job:
    """Move a recording, and what lies beside it, into its job's folder, or finish what an earlier life began.

    Raises:
        UsageError: It is in neither place.
    """
    spool = house.spool
    if spool.holds(resting):
        make_dirs(target.parent, below=spool.processing)
        job = house.ledger.update(job, house.clock.now(), moving_to=spool.relative(target))
        spool.move(resting, target)
    elif spool.holds(target):
        finish_move(resting, target)
    else:
        raise UsageError(
            f"The recording of job {job.job_id} is no longer at {resting}: drop it into the inbox again.",
            reason="source_missing",
        )
    spool.carry(resting, target, followers(job))
    return job


def delete(house: House, job: Job, *, recording: bool) -> None:
    """Remove a finished job's transcripts, sidecar and row; its recording only when asked.

    The transcripts that a duplicate points at are another job's, and stay.

    Raises:
        UsageError: The job is not finished. Nothing was changed.
    """
    if job.state not in TERMINAL:
        raise UsageError(
            f"Job {job.job_id} is {job.state.shown}: cancel it first, then delete it.", reason="not_finished"
        )
    folder = house.spool.output_dir(job)
    withdraw(house, job)  # first: whoever sees it may rely on the outputs
    for name in () if job.duplicate_of else job.outputs:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        sync_dir(folder)
    kept.forget(house.settings.state_dir, job.job_id)
    if recording and not is_source(job.source):  # what lies in the inbox of somebody else's stays
        source = house.spool.absolute(job.source)
        if job.state is not State.DUPLICATE:
            remove_reason(source)
        for ending in companions(job):
            beside(source, ending).unlink(missing_ok=True)
        source.unlink(missing_ok=True)
        if source.parent.is_dir():
            sync_dir(source.parent)
    house.spool.check()  # on a share that is away, there was nothing to remove
    # Last, so that a power cut brings no file back that nothing knows of.
    house.ledger.forget(job)
