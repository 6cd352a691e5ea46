"""What this instance lost to another one that was told to take it over, while this one gave no sign of life.

Whoever has a job's folder has the job. So a host that comes back, or was only cut off from the share, finds out by
itself, and touches nothing of what is no longer its own: its rows of those jobs go.
"""

from __future__ import annotations

import logging
import os

from cesar_watch.core.job import UNFINISHED, Job
from cesar_watch.delivery.sidecar import read_sidecar, sidecar_path
from cesar_watch.service.house import House

log = logging.getLogger(__name__)


def is_taken_over(house: House, job: Job) -> bool:
    """Whether another instance has the job's folder, or had it and finished the job, as the sidecar tells.

    Raises:
        OSError: The share can't be read.
    """
    spool = house.spool
    if spool.job_dir(job.job_id).is_dir():
        return False
    if any((other / job.job_id).is_dir() for other in spool.processing.parent.iterdir()):
        return True
    told = read_sidecar(sidecar_path(spool, job))
    return told is not None and told["job_id"] == job.job_id and told.get("instance", spool.instance) != spool.instance


def forget_taken_over(house: House) -> None:
    """Forget every unfinished job that another instance has; its files are theirs.

    Raises:
        OSError, LedgerError: The share can't be read, or the ledger not written.
    """
    unfinished = house.ledger.ids(UNFINISHED)
    for job_id in sorted(unfinished - set(os.listdir(house.spool.processing))):
        job = house.ledger.get(job_id)
        if is_taken_over(house, job):
            log.warning("%s: another instance took it over; it is theirs.", job.display_name)
            house.ledger.forget(job)
