"""Is it new? A recording is not when another job of this instance has the same content and the same settings.

The content is known by its SHA-256, taken before anything is decoded; the settings are all that shapes the outputs, and
those that profiles and settings files chose for it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from cesar_watch.core.job import Job, State
from cesar_watch.core.recording_settings import MACHINE_KEYS
from cesar_watch.core.spool import Spool
from cesar_watch.delivery.formats.about import Style
from cesar_watch.service.house import House


def find_twin(house: House, job: Job) -> Job | None:
    """Return the job that makes this one a duplicate, or else the one that will, if all goes well; None: it is new.

    The first is completed, and its outputs are there as they were published; the second is being worked on, or was
    claimed earlier. The ledger holds no jobs of other instances, so those are not looked at.

    Args:
        job: With its hash. One that a person queued again is new, whatever there is.

    Raises:
        OSError, SpoolError: The outbox can't be read.
    """
    if job.sha256 is None or job.options.get("on_duplicate") != "link":
        return None
    twins = [twin for twin in house.ledger.same_content(job.sha256) if _has_same_settings(twin, job)]
    completed = (twin for twin in twins if twin.state is State.COMPLETED)
    ready = next((twin for twin in completed if _is_whole(house.spool, twin) and pointers(twin, job.subfolder)), None)
    first = (twin for twin in twins if twin.state in _AT_WORK or (twin.state is State.PENDING and twin.seq < job.seq))
    return ready or next((twin for twin in first if twin.job_id != job.job_id), None)


_AT_WORK = (State.PROCESSING, State.TRANSCRIBED)


def pointers(twin: Job, subfolder: bytes) -> dict[str, str]:
    """Return where a job's outputs are, seen from `outbox/<subfolder>/`, and the hash of each as it was published.

    Nothing where the way leads through a folder whose name is not UTF-8: a sidecar can't spell it.
    """
    here, there = os.path.join(b"/", subfolder), os.path.join(b"/", twin.subfolder)
    try:
        return {
            os.path.relpath(os.path.join(there, os.fsencode(name)), here).decode(): sha256
            for name, sha256 in twin.outputs_sha256.items()
        }
    except UnicodeDecodeError:
        return {}


def _has_same_settings(one: Job, other: Job) -> bool:
    return _shaping(one) == _shaping(other)


def _shaping(job: Job) -> tuple[dict[str, Any], Any, Style]:
    """Return what of a job's options shapes its outputs; an override may have put more among them."""
    engine, output = job.options.get("engine", {}), job.options.get("output", {})
    shaping = {key: value for key, value in engine.items() if key not in MACHINE_KEYS}
    return shaping, output.get("formats"), Style.of(output)


def _is_whole(spool: Spool, twin: Job) -> bool:
    """Whether nobody has asked to delete the job, and each of its outputs is there and unchanged."""
    folder = spool.output_dir(twin)
    return twin.request is None and all(
        spool.holds(folder / name) and _sha256(folder / name) == sha256 for name, sha256 in twin.outputs_sha256.items()
    )


def _sha256(path: Path) -> str | None:
    """Return the hash of an output; None where a person put something else, or forbade us to read it."""
    try:
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, PermissionError):
        return None
