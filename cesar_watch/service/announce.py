"""Show the world where a job stands: its sidecar, under another base where somebody's file took the name."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator

from cesar_watch.core.companions import name_limit
from cesar_watch.core.durable import sync_dir
from cesar_watch.core.errors import NameTaken
from cesar_watch.core.job import Job
from cesar_watch.core.spool import Spool
from cesar_watch.delivery.names import base_key, is_taken, output_bases
from cesar_watch.delivery.sidecar import read_sidecar, sidecar_path, write_sidecar
from cesar_watch.service.house import House

log = logging.getLogger(__name__)


def announce(house: House, job: Job) -> Job:
    """Write the job's sidecar durably; return the job, with another base if that had to be.

    Raises:
        OSError: The outbox can't be written; an earlier sidecar stays as it was.
    """
    while True:
        try:
            write_sidecar(house.spool, job)
        except NameTaken as fault:
            job = rebase(house, job, fault)
        else:
            return job


def rebase(house: House, job: Job, fault: NameTaken) -> Job:
    """Give the job a base that nobody's file has in the outbox; its sidecar under the old one goes."""
    # With two instances on one outbox it is an everyday matter that the other one was faster with a name.
    level = logging.INFO if read_sidecar(sidecar_path(house.spool, job)) else logging.WARNING
    log.log(level, "%s: %s Another name is used.", job.display_name, fault)
    withdraw(house, job)
    formats = job.options["output"]["formats"]
    named = house.ledger.reserve_base(job, free_bases(house.spool, job.name, job.subfolder, formats))
    # Only the base is taken over: at the claim, and at the end, the job shown is ahead of the ledger.
    return dataclasses.replace(job, base=named.base)


def withdraw(house: House, job: Job) -> None:
    """Remove the job's own sidecar; another job's, or a stranger's file of that name, is left alone."""
    path = sidecar_path(house.spool, job)
    known = read_sidecar(path)
    if known is not None and known.get("job_id") == job.job_id:
        path.unlink(missing_ok=True)
        sync_dir(path.parent)


def free_bases(spool: Spool, name: bytes, subfolder: bytes, formats: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (base, key) pairs, best first, whose files nobody has in the outbox.

    The ledger then picks the first whose key no other job has reserved.
    """
    folder = spool.outbox / os.fsdecode(subfolder)
    for base in output_bases(name, name_limit(spool.outbox)):
        if not is_taken(folder, base, formats):
            yield base, base_key(base)
