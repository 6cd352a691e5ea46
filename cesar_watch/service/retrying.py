"""What becomes of a job whose attempt did not end it: queued again, at once or after a wait, or given up.

An attempt counts when it failed for a reason that may lie in the recording. What a person, the power or another
program did to the service does not; the column `interruptions` remembers it.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from cesar_watch.core.backoff import backoff_s
from cesar_watch.core.errors import AttemptError, CesarError, EngineLost, Kind, ModelError, RecordingError, Unfinished
from cesar_watch.core.humanize import count, duration
from cesar_watch.core.job import Event, Failure, Job, State
from cesar_watch.service import endings
from cesar_watch.service.announce import announce
from cesar_watch.service.house import House

log = logging.getLogger(__name__)

MODEL_KEYS = {"model", "device", "compute_type", "threads"}
"""Options that choose the engine; an override may choose them too."""
_MAY_PASS = {"model_unreachable", "engine_not_started"}
"""What goes wrong with a model and may be over at the next attempt."""

POISON_FACTOR = 10
"""How many times `retry.max_attempts` the service may die over one recording before it is given up."""


def release(house: House, job: Job, reason: str) -> Job:
    """Queue a job again without counting the attempt."""
    return _queue_again(house, job, Event.RELEASED, reason, attempts=max(0, job.attempts - 1))


def wait_for(house: House, job: Job, twin: Job) -> Job:
    """Queue a job again, uncounted, until another one with the same content and settings is finished."""
    message = f"It is the same recording as {twin.display_name} (job {twin.job_id[:8]}), and waits until that is done."
    log.info("%s: %s", job.display_name, message)
    return _queue_again(
        house,
        job,
        Event.RELEASED,
        "same_content",
        attempts=max(0, job.attempts - 1),
        duplicate_of=twin.job_id,
        message=message,
    )


def try_later(house: House, job: Job, failure: Failure) -> Job:
    """Queue a job again after a wait, or give it up when its attempts are used up."""
    retry = house.settings.retry
    if job.attempts >= retry.max_attempts:
        return endings.give_up(house, job, _poison(job, failure) if failure.reason == "engine_crashed" else failure)
    wait = timedelta(seconds=backoff_s(job.attempts, retry))
    log.warning("%s: %s Next attempt in %s.", job.display_name, failure.message, duration(wait.total_seconds()))
    return _queue_again(
        house,
        job,
        Event.RETRY_LATER,
        failure.reason,
        not_before_at=house.clock.now() + wait,
        error=failure,
        message=failure.message,
    )


def wait_for_writer(house: House, job: Job, failure: Failure) -> Job:
    """Queue a job again whose recording is still being written, without counting the attempt, for ever.

    It waits as long again as it has been ours, so each wait is about twice the one before: at least
    `retry.backoff_s`, or `spool.short_grace_s` where a part is known to be missing; at most `retry.backoff_max_s`.
    """
    settings, now = house.settings, house.clock.now()
    least_s = settings.spool.short_grace_s if failure.reason == "short" else settings.retry.backoff_s
    age_s = (now - job.created_at).total_seconds()
    wait = timedelta(seconds=min(max(least_s, age_s), settings.retry.backoff_max_s))
    log.info("%s: %s Looked at again in %s.", job.display_name, failure.message, duration(wait.total_seconds()))
    return _queue_again(
        house,
        job,
        Event.RELEASED,
        failure.reason,
        attempts=max(0, job.attempts - 1),
        not_before_at=now + wait,
        error=failure,
        message=failure.message,
    )


def fail_attempt(house: House, job: Job, fault: CesarError) -> Job:
    """End a leased job's attempt by what its error means for the recording; it is not a systemic one."""
    failure = Failure(fault.reason, str(fault))
    if isinstance(fault, EngineLost):
        log.warning("%s: %s", job.display_name, fault)
        return release(house, job, fault.reason)
    if isinstance(fault, Unfinished):
        return wait_for_writer(house, job, failure)
    return endings.give_up(house, job, failure) if fault.kind is Kind.PERMANENT else try_later(house, job, failure)


def as_own_fault(job: Job, fault: CesarError) -> CesarError:
    """Return a model's error as the recording's own where an override chose the model, or how it runs.

    What somebody wished for one recording must not stop all others.
    """
    origin = job.chosen_by(MODEL_KEYS)
    if origin is None or not isinstance(fault, ModelError):
        return fault
    kind = AttemptError if fault.reason in _MAY_PASS else RecordingError
    return kind(f"{fault} It was asked for by {origin}.", reason=fault.reason)


def interrupted(house: House, job: Job) -> Job:
    """Queue a job again whose attempt the service did not survive, though another process did the decoding.

    A power cut or a kill is not the recording's failure: the attempt is handed back. Yet after more than
    `retry.max_attempts` interruptions in a row without a durable window the job waits, so that the others go
    on first, and then goes on alone (`service/worker.py`); and after `POISON_FACTOR` times as many it is given up: it
    may bring the whole machine down.
    """
    retry = house.settings.retry
    times = job.interruptions + 1
    if times >= POISON_FACTOR * retry.max_attempts:
        return endings.give_up(house, job, _deadly(times))
    changes: dict[str, Any] = {"attempts": max(0, job.attempts - 1), "interruptions": times}
    if times > retry.max_attempts:
        wait = timedelta(seconds=backoff_s(times - retry.max_attempts, retry))
        message = f"The service died {times} times in a row while it worked on this recording: others go first."
        log.warning("%s: %s Next attempt in %s.", job.display_name, message, duration(wait.total_seconds()))
        changes |= {"not_before_at": house.clock.now() + wait, "message": message}
    return _queue_again(house, job, Event.RELEASED, "recovered", **changes)


def died_decoding(house: House, job: Job) -> Job:
    """Queue a job again whose attempt killed the service that did the decoding itself; it stays counted."""
    if job.attempts >= house.settings.retry.max_attempts:
        return endings.give_up(house, job, _deadly(job.attempts))
    return _queue_again(house, job, Event.RELEASED, "recovered")


def _deadly(times: int) -> Failure:
    return Failure(
        "poison",
        f"The service died {times} times in a row while it worked on this recording, and finished no window in "
        "between: look into its log and at the memory, then retry it.",
    )


def _poison(job: Job, last: Failure) -> Failure:
    return Failure(
        "poison",
        f"{last.message} This was the last of {count(job.attempts, 'attempt')} in a row: the recording may be damaged, "
        "or too much for the memory. Retry it when you have seen to that.",
    )


def _queue_again(house: House, job: Job, event: Event, reason: str, **changes: Any) -> Job:
    assert job.state in (State.PROCESSING, State.TRANSCRIBED)
    done = house.ledger.apply(
        job, event, house.clock.now(), reason=reason, lease=None, estimated_completion_at=None, **changes
    )
    return announce(house, done)
