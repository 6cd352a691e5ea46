"""The parts of processing/, one for each instance: what lies in them, and whether its owner seems to live."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cesar_watch.core.companions import SETTINGS_ENDING
from cesar_watch.core.durable import TEMPORARY_PREFIX
from cesar_watch.core.humanize import count
from cesar_watch.core.sign_of_life import Life, look
from cesar_watch.core.spool import Spool

SILENT_S = 300.0
"""A sign that is older, by the clock of this host, is worth telling a person of. To adopt takes a better proof."""

_INSTANCE = re.compile(r"[0-9a-f]{8}")
_JOB = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Left:
    """Recordings that an instance has in processing/, and seems not to work on."""

    instance: str
    recordings: int
    host: str

    def __str__(self) -> str:
        """Say so in a sentence that names the remedy."""
        whose = f"instance {self.instance}{f' (host {self.host})' if self.host else ''}"
        return (
            f"processing/ holds {count(self.recordings, 'recording')} of {whose}, which gives no sign of life: "
            f"if it is gone for good, `cesar-watch adopt {self.instance}` takes over what it left."
        )


def other_instances(spool: Spool) -> list[str]:
    """Return the other instances that have, or had, a part of processing/.

    Raises:
        OSError: It can't be read.
    """
    with os.scandir(spool.processing.parent) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in names if _INSTANCE.fullmatch(name) and name != spool.instance)


def job_folders(processing: Path) -> set[str]:
    """Return the names of the job folders in an instance's part of processing/.

    Raises:
        OSError: It can't be read.
    """
    with os.scandir(processing) as entries:
        return {entry.name for entry in entries if _JOB.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)}


def folders_with_recordings(spool: Spool, instance: str) -> list[Path]:
    """Return the job folders of an instance that hold a recording.

    Raises:
        OSError: They can't be read.
    """
    theirs = spool.processing.parent / instance
    found = []
    for name in sorted(job_folders(theirs)):
        with contextlib.suppress(FileNotFoundError):  # it may end meanwhile
            if _has_recording(theirs / name):
                found.append(theirs / name)
    return found


def _has_recording(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(
            entry.is_file(follow_symlinks=False)
            and not entry.name.startswith(TEMPORARY_PREFIX)
            and not entry.name.casefold().endswith(SETTINGS_ENDING)
            for entry in entries
        )


def left_behind(spool: Spool, now: datetime) -> list[Left]:
    """Return what other instances seem to have left; beside those that live, nothing.

    Raises:
        OSError: processing/ can't be read.
    """
    found = []
    for instance in other_instances(spool):
        theirs = spool.processing.parent / instance
        sign = look(theirs)
        # A claim, and the end of a job, change their folder.
        changed_s = max(sign.mtime_ns, theirs.stat().st_mtime_ns) / 1e9
        is_fresh = abs(now.timestamp() - changed_s) < SILENT_S
        if sign.life is Life.ALIVE or (sign.life is Life.UNKNOWN and is_fresh):
            continue
        if number := len(folders_with_recordings(spool, instance)):
            found.append(Left(instance, number, sign.host))
    return found
