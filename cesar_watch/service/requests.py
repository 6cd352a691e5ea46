"""Carry out what people asked for: cancel, retry, delete.

A request is a mark in the ledger. The running service sees to it within seconds; without one, the
command takes the instance lock and does the same by itself.
"""

from __future__ import annotations

import logging

from cesar_watch.core.errors import CesarError, Kind
from cesar_watch.core.job import Job, Request, State
from cesar_watch.service import endings
from cesar_watch.service.house import House

log = logging.getLogger(__name__)


def carry_out_requests(house: House) -> int:
    """See to every request that can be seen to now; returns how many were.

    A cancelled job that is being worked on is left to its attempt, which looks for the request itself.

    Raises:
        CesarError, OSError: A systemic fault; the request stays noted. A file that alone refuses to be moved or removed
            is none: that is told, and the request is forgotten.
    """
    done = 0
    for job in house.ledger.requested():
        if job.state in (State.PROCESSING, State.TRANSCRIBED, State.CLAIMING):
            continue
        try:
            _carry_out(house, job)
        except CesarError as fault:
            if fault.kind is Kind.SYSTEMIC:
                raise
            log.warning("%s: %s", job.display_name, fault)
            house.ledger.ask(job, None)
        except PermissionError as fault:
            house.prove()
            log.warning("%s: what was asked for is refused (%s): see who owns the file.", job.display_name, fault)
            house.ledger.ask(job, None)
        done += 1
    return done


def _carry_out(house: House, job: Job) -> None:
    if job.request is Request.CANCEL and job.state is State.PENDING:
        endings.cancel(house, job)
    elif job.request is Request.RETRY and job.state in (State.FAILED, State.CANCELLED):
        endings.requeue(house, job)
    elif job.request in (Request.DELETE, Request.DELETE_RECORDING):
        endings.delete(house, job, recording=job.request is Request.DELETE_RECORDING)
    else:
        # It ended, or began again, before its request was seen to.
        house.ledger.ask(job, None)
