"""Take over what a dead instance left, when a person asks: `cesar-watch adopt INSTANCE`.

1. Each of its job folders that holds a recording is renamed into our own part of processing/: from then on it is ours.
2. Rows are made from the recording, its sidecar and its checkpoint, as after a lost ledger (`service/adoption.py`).
3. What had died in an attempt is taken up as after a death of our own (`service/recovery.py`).

The request stays in the ledger until all is done, so a crash anywhere in between is gone on from. What the dead
instance had finished, and folders without a recording, stay as they are: should it come back, it ends those itself.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from cesar_watch.core.durable import sync_dir
from cesar_watch.core.humanize import count
from cesar_watch.core.job import State
from cesar_watch.core.sign_of_life import Life, Look, look
from cesar_watch.service.adoption import adopt_folders
from cesar_watch.service.house import House
from cesar_watch.service.instances import folders_with_recordings
from cesar_watch.service.recovery import recover_attempt

log = logging.getLogger(__name__)


def carry_out_adoptions(house: House) -> int:
    """Take over every instance that somebody asked for and that has given no sign since; returns how many recordings.

    Raises:
        CesarError, OSError: A room or the ledger can't be written. What was moved is ours, the rest theirs; the request
            stays, and the next call goes on.
    """
    taken = 0
    for instance, token in house.ledger.adoptions.asked().items():
        sign = look(house.spool.processing.parent / instance)
        if _has_shown_life(sign, token):
            log.warning("Instance %s gives signs of life again: nothing more is taken over.", instance)
        else:
            taken += _take_over(house, instance)
        house.ledger.adoptions.done(instance)
    return taken


def _has_shown_life(sign: Look, token: str) -> bool:
    return sign.life is Life.ALIVE or sign.token != token


def _take_over(house: House, instance: str) -> int:
    spool = house.spool
    for folder in folders_with_recordings(spool, instance):
        _move_folder(folder, spool.job_dir(folder.name))
    # As for a file: the folder that it came out of first.
    sync_dir(spool.processing.parent / instance)
    sync_dir(spool.processing)
    taken = adopt_folders(house)
    for job in house.ledger.jobs([State.PROCESSING]):
        if job.lease is None:
            recover_attempt(house, job, died=True)
    log.info("Took over %s of instance %s.", count(taken, "recording"), instance)
    return taken


def _move_folder(source: Path, target: Path) -> None:
    """Rename a job's folder; rename(2) replaces no folder that holds anything, and no other job has this id."""
    try:
        os.rename(source, target)
    except FileNotFoundError:
        # On a network mount the answer may have been lost, and the second try finds it done.
        if not target.is_dir():
            raise
