"""Carry out what people asked for: cancel, retry, delete.

A request is a mark in the ledger. The running service sees to it within seconds; without one, the
command takes the instance lock and does the same by itself.
"""

from __future__ import annotations

import logging

from cesar_watch.core.errors import CesarError, Kind
from cesar_watch.core.job import REQUEUABLE, Job, Request, State
from cesar_watch.service import ended, endings
from cesar_watch.service.house import House

log = logging.getLogger(__name__)


def carry_out_requests(house: House) -> int:
    """See to every request that can be seen to now; returns how many were.

    A cancelled job that is being worked on is left to its attempt, which looks for the request itself.

    Raises:
        CesarError, OSError: A systemic fault; the request stays noted. A file that alone refuses to be moved or removed
            is none: that is told, and the request is forgotten, unless it may have been carried out by half.
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
            _refused(house, job, fault)
        done += 1
    return done


def _refused(house: House, job: Job, fault: PermissionError) -> None:
    """Tell, once, that one file refuses. What may have been carried out by half stays asked for.

    Raises:
        CesarError: Everything refuses: a systemic fault.
    """
    refusal = f"What was asked for is refused ({fault}): see who owns the file."
    is_told = job.message == refusal
    if not is_told:
        house.prove()
        log.warning("%s: %s", job.display_name, refusal)
    left = house.ledger.get(job.job_id)
    if left.moving_to is not None or job.request in (Request.DELETE, Request.DELETE_RECORDING):
        if left.message != refusal:
            house.ledger.update(left, house.clock.now(), message=refusal)
    else:
        house.ledger.update(left, house.clock.now(), error=job.error, message=job.message)
        house.ledger.ask(job, None)


def _carry_out(house: House, job: Job) -> None:
    if job.request is Request.CANCEL and job.state is State.PENDING:
        endings.cancel(house, job)
    elif job.request is Request.RETRY and job.state in REQUEUABLE:
        ended.requeue(house, job)
    elif job.request in (Request.DELETE, Request.DELETE_RECORDING):
        ended.delete(house, job, recording=job.request is Request.DELETE_RECORDING)
    else:
        # It ended, or began again, before its request was seen to.
        house.ledger.ask(job, None)
