"""Make the ledger know what the folders hold and it does not: because it is new, was lost, or is older than they are.

Folders tell which recordings are claimed, sidecars tell the rest. Finished work is recognised and not redone;
work that was under way goes on behind its checkpoint. All that is found is committed at once, so that a death
half-way changes nothing. On an ordinary start only names are compared, and nothing unknown is found.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cesar_watch.core.companions import name_limit
from cesar_watch.core.durable import sync_filesystem
from cesar_watch.core.errors import NameTaken
from cesar_watch.core.humanize import count
from cesar_watch.core.job import TERMINAL, Job, State
from cesar_watch.core.rebuild import Place
from cesar_watch.delivery.names import SIDECAR_ENDING, base_key, collides, output_bases, taken_keys
from cesar_watch.delivery.sidecar import sidecar, sidecar_path, write_sidecar
from cesar_watch.service.announce import withdraw
from cesar_watch.service.house import House
from cesar_watch.service.instances import job_folders
from cesar_watch.service.restored import find_recording, find_resting, finished_job, is_final, live_job
from cesar_watch.service.told import Sidecar, read_told, sidecar_place

log = logging.getLogger(__name__)

Places = dict[str, Place]


def adopt_unknown(house: House) -> None:
    """Adopt every job of this instance of which folders or sidecars know more than the ledger.

    Raises:
        OSError, LedgerError: A room can't be read, or the ledger written. The ledger is as it was.
    """
    places = house.ledger.rebuild.places()
    folders = job_folders(house.spool.processing)
    sidecars = _unknown_sidecars(house, places, folders)
    jobs = [*_unknown(house, places, folders, sidecars), *_outdated(house, places, folders)]
    if not jobs and not house.ledger.rebuild.is_needed:
        return
    named = _take_up(house, places, jobs, sidecars)
    if named:
        log.warning("The ledger did not know, or not so far, %s; folders and sidecars told it.", _counted(named))


def adopt_folders(house: House) -> int:
    """Adopt every recording in a job folder of ours that has no row; returns how many. Actors may run beside it.

    Raises:
        OSError, LedgerError: As `adopt_unknown`.
    """
    # In this order: a claim logs its intent before it makes its folder.
    folders = job_folders(house.spool.processing)
    places = house.ledger.rebuild.places()
    unknown = {job_id for job_id in folders - places.keys() if house.spool.job_dir(job_id).is_dir()}
    if not unknown:
        return 0
    told = _unknown_sidecars(house, places, unknown)
    sidecars = {job_id: told[job_id] for job_id in told.keys() & unknown}
    return len(_take_up(house, places, list(_in_folders(house, unknown, sidecars)), sidecars))


def _take_up(house: House, places: Places, jobs: list[Job], sidecars: dict[str, Sidecar]) -> Sequence[tuple[Job, str]]:
    named = _named(house, places, jobs)
    # What a dead process moved is only now sure to stay where it is, and may be relied on.
    sync_filesystem(house.spool.root)
    for job, _ in named:
        _show(house, job, sidecars.get(job.job_id))
    house.ledger.rebuild.restore(named, house.clock.now())
    for job, _ in named:
        told = sidecars.get(job.job_id)
        if told is not None and (told.subfolder, told.base) != (job.subfolder, job.base):
            # Its name was ours for another job already, so its sidecar is written under another.
            withdraw(house, dataclasses.replace(job, subfolder=told.subfolder, base=told.base))
    return named


def _counted(named: Sequence[tuple[Job, str]]) -> str:
    numbers = Counter(job.state.shown for job, _ in named)
    return f"{count(len(named), 'job')} ({', '.join(f'{numbers[state]} {state}' for state in sorted(numbers))})"


# --- what there is ----------------------------------------------------------------------------


def _unknown_sidecars(house: House, places: Places, folders: set[str]) -> dict[str, Sidecar]:
    """Return the sidecars of jobs that have no row, by job id: this instance's, and those of the folders that it has.

    Whoever has a job's folder has the job: its sidecar may still name the instance that it was taken over from.
    Where no folder is unknown, those at the places of known jobs are passed over unread.
    """
    outbox, instance = house.spool.outbox, house.spool.instance
    known = {(place.subfolder, place.base) for place in places.values()}
    unknown_folders = folders - places.keys()
    found: dict[str, Sidecar] = {}
    for folder, _, names in os.walk(outbox):
        for name in sorted(name for name in names if name.endswith(f".{SIDECAR_ENDING}")):
            path = Path(folder, name)
            is_known_place = sidecar_place(path, outbox) in known
            if is_known_place and not unknown_folders:
                continue
            seen = read_told(path, outbox, None)
            if seen is None or seen.told.job_id in places:
                continue
            is_ours = seen.told.instance in (None, instance) and not is_known_place
            if is_ours or seen.told.job_id in unknown_folders:
                found.setdefault(seen.told.job_id, seen)
    return found


def _unknown(house: House, places: Places, folders: set[str], sidecars: dict[str, Sidecar]) -> Iterator[Job]:
    """Yield the jobs that have no row: those whose recording lies in their folder, and finished ones."""
    live = set()
    for found in _in_folders(house, folders - places.keys(), sidecars):
        live.add(found.job_id)
        yield found
    for job_id in sidecars.keys() - live:
        told = sidecars[job_id]
        job = finished_job(house, told)
        if job is not None:
            yield job
        else:
            log.warning("The recording of job %s is not at %s, where its sidecar says.", job_id, told.told.source.path)


def _in_folders(house: House, unknown: set[str], sidecars: dict[str, Sidecar]) -> Iterator[Job]:
    for job_id in unknown:
        folder, marker = house.spool.job_dir(job_id), house.settings.spool.ready_marker
        recording = find_recording(folder, sidecars.get(job_id), marker)
        if recording is not None:
            yield live_job(house, job_id, recording, sidecars.get(job_id))


def _outdated(house: House, places: Places, folders: set[str]) -> Iterator[Job]:
    """Yield the jobs that went further than their rows tell, as when the ledger's last commits were lost.

    Of the many that wait, only those are looked at whose folder is gone.
    """
    for job_id, place in places.items():
        has_folder = job_id in folders
        if (place.state in TERMINAL and not has_folder) or (place.state is State.PENDING and has_folder):
            continue
        job = house.ledger.get(job_id)
        whereabouts = [where for where in (job.source, job.moving_to) if where is not None]
        if any(os.path.lexists(house.spool.absolute(where)) for where in whereabouts):
            continue
        further = _further(house, job)
        if further is not None:
            yield dataclasses.replace(further, seq=job.seq, subfolder=job.subfolder, base=job.base)


def _further(house: House, job: Job) -> Job | None:
    """Return a job that is not where its row says as its sidecar and its folder have it, if they do."""
    told = read_told(sidecar_path(house.spool, job), house.spool.outbox, house.spool.instance)
    if told is not None and told.told.job_id != job.job_id:
        told = None
    folder = house.spool.job_dir(job.job_id)
    marker = house.settings.spool.ready_marker
    recording = find_recording(folder, told, marker) if folder.is_dir() else None
    if recording is not None:
        return live_job(house, job.job_id, recording, told)
    return finished_job(house, told) if told and is_final(told) and find_resting(house, told) else None


# --- how it is taken up -----------------------------------------------------------------------


def _named(house: House, places: Places, jobs: list[Job]) -> list[tuple[Job, str]]:
    """Return the jobs in the order of their claims, each with an output base that nobody else has, and its key.

    The sidecars' seconds do not tell jobs claimed together apart; the inode's last change, our own move, does not
    either once it was copied, but then nothing does.
    """
    reserved = {(place.subfolder, place.base_key) for place in places.values()}
    in_outbox: dict[bytes, set[str]] = {}
    named = []
    for found in sorted(jobs, key=lambda job: not job.base):  # those that have a base first
        job, key = found, places[found.job_id].base_key if found.seq else base_key(found.base)
        if not job.seq and (not job.base or (job.subfolder, key) in reserved):
            if job.state in TERMINAL:
                log.warning("Job %s is passed over: another has its name %s in the outbox.", job.job_id, job.base)
                continue
            if job.subfolder not in in_outbox:
                in_outbox[job.subfolder] = taken_keys(house.spool.output_dir(job))
            base = _free_base(job, reserved, in_outbox[job.subfolder], name_limit(house.spool.outbox))
            job, key = dataclasses.replace(job, base=base), base_key(base)
        reserved.add((job.subfolder, key))
        named.append((job, key))
    return sorted(named, key=lambda pair: _claimed(house, pair[0]))


def _free_base(job: Job, reserved: set[tuple[bytes, str]], in_outbox: set[str], limit_bytes: int) -> str:
    formats = job.options["output"]["formats"]
    candidates = output_bases(job.name, limit_bytes)
    bases = (base for base in candidates if (job.subfolder, base_key(base)) not in reserved)
    return next(base for base in bases if not collides(base, formats, in_outbox))


def _claimed(house: House, job: Job) -> tuple[float, int]:
    try:
        moved_ns = os.lstat(house.spool.absolute(job.source)).st_ctime_ns
    except FileNotFoundError:
        moved_ns = 0
    return job.created_at.timestamp(), moved_ns


def _show(house: House, job: Job, told: Sidecar | None) -> None:
    """Let a waiting job's sidecar say so, where it says anything else; those of the others are as they should be."""
    if job.state is not State.PENDING:
        return
    instance = house.spool.instance
    if told is None or {"instance": instance, **told.fields} != sidecar(job, instance=instance):
        try:
            write_sidecar(house.spool, job)
        except NameTaken as fault:
            log.warning("%s: %s", job.display_name, fault)  # its attempt finds another name
