"""Mend what `verify` found, as far as adopting mends it: nothing is deleted, no file is replaced.

Rows are made again from folders and sidecars, sidecars and reasons from rows. What a person changed stays as it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os

from cesar_watch.core.job import TERMINAL, Job, State
from cesar_watch.delivery.names import base_key
from cesar_watch.delivery.reason_file import reason_path, write_reason
from cesar_watch.delivery.sidecar import sidecar_path, write_sidecar
from cesar_watch.service import recovery
from cesar_watch.service.house import House
from cesar_watch.service.restored import find_resting, finished_job
from cesar_watch.service.sources import is_source
from cesar_watch.service.told import Sidecar, read_told


def mend(house: House) -> None:
    """Bring ledger and folders together, as a start does; then mend what a start does not look for.

    Every step can be repeated: after a crash the next call goes on.

    Raises:
        CesarError, OSError: A room or the ledger can't be written.
    """
    recovery.recover(house)
    correct_ended(house)
    for job in house.ledger.jobs():
        write_what_is_missing(house, job)


def correct_ended(house: House) -> None:
    """Correct the rows of ended jobs whose recording is gone while their sidecars know where it rests.

    So it is when a ledger comes back that is older than a retry.
    """
    told = (_as_told(house, job) for job in _without_recording(house))
    found = [(job, base_key(job.base)) for job in told if job is not None]
    if found:
        house.ledger.rebuild.restore(found, house.clock.now())


def write_what_is_missing(house: House, job: Job) -> None:
    """Write a job's sidecar, and the reason beside a recording in failed/, from its row; what is there stays.

    Raises:
        OSError: The room can't be written.
    """
    spool = house.spool
    if not os.path.lexists(sidecar_path(spool, job)):
        write_sidecar(spool, job)
    source = spool.absolute(job.source)
    if job.state not in (State.FAILED, State.CANCELLED) or job.error is None:
        return
    if is_source(job.source) or not source.exists():
        return
    if not os.path.lexists(reason_path(source)):
        write_reason(spool, job, source, job.error)


def _without_recording(house: House) -> list[Job]:
    ended = house.ledger.jobs(TERMINAL)
    ours = (job for job in ended if job.moving_to is None and not is_source(job.source))
    return [job for job in ours if not os.path.lexists(house.spool.absolute(job.source))]


def _as_told(house: House, job: Job) -> Job | None:
    """Return the job as its sidecar tells of it, if that leads to its recording."""
    told = read_told(sidecar_path(house.spool, job), house.spool.outbox, house.spool.instance)
    if told is None or told.told.job_id != job.job_id or not _leads_to_recording(house, told):
        return None
    further = finished_job(house, told)
    return further and dataclasses.replace(further, seq=job.seq, subfolder=job.subfolder, base=job.base)


def _leads_to_recording(house: House, told: Sidecar) -> bool:
    path, source = find_resting(house, told), told.told.source
    if path is None or path.is_symlink() or not path.is_file() or path.stat().st_size != source.size_bytes:
        return False
    with path.open("rb") as stream:
        return source.sha256 in (None, hashlib.file_digest(stream, "sha256").hexdigest())
