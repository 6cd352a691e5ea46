"""How a job ends: files first, then the ledger.

Every ending is these steps, as far as it has them, each durable before the next, each repeatable after a crash:

1. outputs appear in the outbox, and the transcript is kept (completed only);
2. where the recording will rest is committed to the ledger (`moving_to`), behind what is said of it;
3. the reason file appears beside the resting place (failed, cancelled);
4. the sidecar gets its final state: for clients it is the commit marker;
5. the recording moves to its resting place, never replacing anything, and its settings file and marker follow; a copy
   whose source is still in the inbox, which is then the resting place, is removed (`service/sources.py`);
6. state and notices are committed together;
7. the job's folder, by now only a checkpoint, is removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cesar_watch.core.companions import beside, followers
from cesar_watch.core.durable import TEMPORARY_PREFIX, finish_move, sync_dir
from cesar_watch.core.errors import NameTaken, UsageError
from cesar_watch.core.humanize import count, duration
from cesar_watch.core.job import NO_DUPLICATE, TERMINAL, Event, Failure, Job, State, advance
from cesar_watch.core.notice import Notice
from cesar_watch.core.spool import Spool
from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery import kept
from cesar_watch.delivery.notices import notices_for
from cesar_watch.delivery.publish import publish
from cesar_watch.delivery.reason_file import reason_path, remove_reason, write_reason
from cesar_watch.delivery.sidecar import write_sidecar
from cesar_watch.service.announce import rebase
from cesar_watch.service.duplicates import pointers
from cesar_watch.service.house import House
from cesar_watch.service.sources import is_source, remove_copy, resting_source

log = logging.getLogger(__name__)


def complete(house: House, job: Job, transcript: Transcript) -> Job:
    """Publish a transcribed job, archive its recording, commit, and queue its notices.

    Raises:
        OSError, SpoolError: A room or the state directory can't be written. Repeating the call after any crash or error
            goes on.
    """
    job = _publish(house, job, transcript)
    kept.keep(house.settings.state_dir, job, transcript)
    job = house.ledger.update(job, house.clock.now(), message=_summary(job, transcript))
    done = _rest(house, job, "archive", Event.PUBLISHED, text=transcript.text)
    log.info("%s: %s", done.display_name, done.message)
    return done


def give_up(house: House, job: Job, failure: Failure) -> Job:
    """Move a recording to failed/ with its reason, commit, and queue its notices."""
    job = house.ledger.update(job, house.clock.now(), error=failure, message=failure.message)
    done = _rest(house, job, "failed", Event.GAVE_UP)
    log.warning("%s failed (%s): %s", done.display_name, failure.reason, failure.message)
    return done


def cancel(house: House, job: Job) -> Job:
    """Stop a job for good because a person asked for it; its recording rests in failed/."""
    failure = Failure("cancelled", "Cancelled by the user.")
    job = house.ledger.update(job, house.clock.now(), error=failure, message=failure.message)
    done = _rest(house, job, "failed", Event.CANCELLED)
    log.info("%s: cancelled", done.display_name)
    return done


def recognise(house: House, job: Job, twin: Job) -> Job:
    """End a job whose recording was transcribed before: it shares the outputs of its twin, which has them all.

    Raises:
        OSError, SpoolError: A room can't be written. `rest_as_duplicate` goes on after any crash or error.
    """
    outputs = pointers(twin, job.subfolder)
    first = os.path.normpath(os.path.join("outbox", job.subfolder.decode("utf-8", "replace"), next(iter(outputs))))
    job = house.ledger.update(
        job,
        house.clock.now(),
        duplicate_of=twin.job_id,
        outputs=list(outputs),
        outputs_sha256=outputs,
        message=f"The same recording was transcribed before, with the same settings: {first} (job {twin.job_id[:8]}).",
        **{name: getattr(twin, name) for name in ("duration_s", "language", "language_probability", "quality")},
    )
    return rest_as_duplicate(house, job)


def rest_as_duplicate(house: House, job: Job) -> Job:
    """Move a recording that was recognised to duplicates/, commit, and queue its notices."""
    done = _rest(house, job, "duplicates", Event.RECOGNISED)
    log.info("%s: %s", done.display_name, done.message)
    return done


def _publish(house: House, job: Job, transcript: Transcript) -> Job:
    """Write the outputs, under another base when somebody's file has taken the reserved one."""
    while True:
        try:
            hashes = publish(house.spool, job, transcript)
            job = house.ledger.update(job, house.clock.now(), outputs=list(hashes), outputs_sha256=hashes)
            if job.moving_to is None:
                # Written here to find out, before anything rests, whether the sidecar's name is ours; an ending that
                # was under way has found out, and its sidecar may have its final state already.
                write_sidecar(house.spool, job)
            return job
        except NameTaken as fault:
            job = rebase(house, job, fault)


def _rest(house: House, job: Job, room: str, event: Event, *, text: str = "") -> Job:
    """Carry out steps 2 to 7 of an ending."""
    spool, ledger = house.spool, house.ledger
    source = spool.absolute(job.source)
    while True:
        job, target = _resting_place(house, job, room)
        ending: dict[str, Any] = {"source": spool.relative(target), "moving_to": None, "lease": None, "request": None}
        ending |= {"completed_at": house.clock.now(), "estimated_completion_at": None, "not_before_at": None}
        if event in (Event.PUBLISHED, Event.RECOGNISED):
            ending |= {"progress": 100.0, "error": None}
        elif job.duplicate_of is not None:
            ending |= NO_DUPLICATE
        final = dataclasses.replace(job, state=advance(job.state, event), **ending)
        try:
            # Where the recording is gone there is nothing to lie beside, nor perhaps a folder: the sidecar tells.
            is_to_move = source != target and not is_source(final.source)
            if room == "failed" and final.error and is_to_move:
                write_reason(spool, final, target, final.error)
            _write_final_sidecar(house, final)
            if is_to_move:
                _move(spool, source, target)
                spool.carry(source, target, followers(job))
            if not is_source(final.source) or remove_copy(house, job, source):
                break
        except FileExistsError:
            # Somebody was faster with this name: ours beside it goes, and the next free one is tried.
            if room == "failed":
                remove_reason(target)
        except NameTaken as fault:
            log.warning("%s: %s", job.display_name, fault)
        job = ledger.update(job, house.clock.now(), moving_to=None)
    done = ledger.apply(
        job,
        event,
        house.clock.now(),
        notices=_notices(house, final, text),
        reason=final.error.reason if final.error else None,
        **ending,
    )
    with contextlib.suppress(OSError):  # the ending stands; what is left of the folder goes at the next start
        remove_job_dir(spool.job_dir(job.job_id))
    return done


def _resting_place(house: House, job: Job, room: str) -> tuple[Job, Path]:
    """Return where the recording rests or will rest, committed to the ledger before anything moves."""
    spool = house.spool
    source = spool.absolute(job.source)
    if job.moving_to is not None and _is_free_or_same(spool.absolute(job.moving_to), source):
        return job, spool.absolute(job.moving_to)
    if not spool.holds(source):
        return job, source
    if kept := resting_source(house, job):
        return house.ledger.update(job, house.clock.now(), moving_to=spool.relative(kept)), kept
    names: list[Callable[[Path], Path]] = [reason_path] if room == "failed" else []
    for ending in followers(job):
        if os.path.lexists(beside(source, ending)):
            names.append(functools.partial(beside, ending=ending))
    target = spool.resting_place(room, job, companions=names)
    return house.ledger.update(job, house.clock.now(), moving_to=spool.relative(target)), target


def _move(spool: Spool, source: Path, target: Path) -> None:
    """Move a recording to its resting place, or finish what an earlier life began; a vanished one moves nowhere."""
    if os.path.lexists(source):
        spool.move(source, target)
    elif spool.holds(target):
        finish_move(source, target)


def _is_free_or_same(target: Path, source: Path) -> bool:
    """Whether a move to `target` can be done, or was done, wholly or by half."""
    if not os.path.lexists(source) or not os.path.lexists(target):
        return True
    return os.path.samestat(os.lstat(source), os.lstat(target))


def _write_final_sidecar(house: House, final: Job) -> None:
    try:
        write_sidecar(house.spool, final)
    except NameTaken as fault:
        # A failed job has no outputs to move to another base: its reason file tells what the sidecar would.
        log.warning("%s: %s", final.display_name, fault)


def _notices(house: House, final: Job, text: str) -> Sequence[Notice]:
    if final.state is State.CANCELLED:
        return ()
    return notices_for(final, house.settings.notify, text=text)


def _summary(job: Job, transcript: Transcript) -> str:
    """Say what was transcribed, and how long that took at the pace of the last attempt.

    Not by the times of start and end: the wall clock may have been set in between, and the machine been off.
    """
    verdict = (job.quality or {}).get("verdict")
    partial = " The recording is cut short: this is not all of it." if verdict == "partial" else ""
    if not transcript.text.strip():
        return f"No speech was found in {duration(transcript.duration_s)} of sound.{partial}"
    words = count(len(transcript.text.split()), "word")
    took = "" if job.rtf is None else f" in {duration(job.rtf * transcript.duration_s)}"
    return f"Transcribed {duration(transcript.duration_s)}{took}: {words}.{partial}"


def clear_job_dir(house: House, job_id: str) -> None:
    """Remove the folder of a job that ended; a settings file that a lost ledger forgot goes to its recording first."""
    folder = house.spool.job_dir(job_id)
    with contextlib.suppress(UsageError, OSError):
        job = house.ledger.get(job_id)
        resting = house.spool.absolute(job.source)
        if job.state in TERMINAL and not is_source(job.source) and os.path.lexists(resting):
            house.spool.carry(folder / os.fsdecode(job.name), resting, followers(job))
    remove_job_dir(folder)


def remove_job_dir(folder: Path) -> None:
    """Remove a job's folder and our own files in it; a folder that holds anything else is left alone."""
    if not folder.is_dir() or any(not entry.name.startswith(TEMPORARY_PREFIX) for entry in folder.iterdir()):
        return
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
        sync_dir(folder.parent)
