"""Jobs as folders and sidecars tell of them; nothing here writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cesar_watch.core.companions import SETTINGS_ENDING, beside
from cesar_watch.core.durable import TEMPORARY_PREFIX
from cesar_watch.core.errors import AttemptError
from cesar_watch.core.job import NO_DUPLICATE, TERMINAL, Failure, FileIdentity, Job, Request, State
from cesar_watch.intake.overrides import Resolved, resolve
from cesar_watch.intake.ready import announced_by
from cesar_watch.service.house import House
from cesar_watch.service.told import Sidecar

_TAKEN_UP = {
    "pending": State.PENDING,
    "processing": State.PROCESSING,
    "completed": State.PENDING,
    "duplicate": State.PENDING,
    "failed": State.PROCESSING,
    "cancelled": State.PROCESSING,
}
"""The state in which a job goes on whose recording still lies in its folder, by what its sidecar says. What had
died in an attempt, or on its way into failed/, is finished by recovery; what had died on its way into the archive
has its transcript in the checkpoint, and what was on its way into duplicates/ is recognised once more."""


def is_final(sidecar: Sidecar) -> bool:
    """Whether the sidecar tells of a job's end."""
    return sidecar.told.status in TERMINAL


def find_recording(folder: Path, sidecar: Sidecar | None, ready_marker: str) -> Path | None:
    """Return the recording in a job's folder: the one that the sidecar names, or else the first.

    Args:
        ready_marker: The ending of ready markers, which lie beside recordings.
    """
    told = str(sidecar.told.options.get("ready_marker", "")) if sidecar else ""
    endings = tuple(ending.casefold() for ending in (SETTINGS_ENDING, ready_marker, told) if ending)
    with os.scandir(folder) as entries:
        names = sorted(
            os.fsencode(entry.name)
            for entry in entries
            if not entry.name.startswith(TEMPORARY_PREFIX)
            and not entry.name.casefold().endswith(endings)
            and entry.is_file(follow_symlinks=False)
        )
    if not names:
        return None
    wanted = sidecar.told.source.name_bytes if sidecar else names[0]
    return folder / os.fsdecode(wanted if wanted in names else names[0])


def live_job(house: House, job_id: str, recording: Path, sidecar: Sidecar | None) -> Job:
    """Return the job whose recording lies in its folder. Without a sidecar it has no base yet.

    Raises:
        OSError: The recording can't be looked at.
    """
    identity = FileIdentity.of(os.lstat(recording))
    fields = _told(sidecar) if sidecar else _untold(house, recording)
    if sidecar:
        told = sidecar.told
        fields["state"] = _TAKEN_UP[told.status]
        if told.source.size_bytes != identity.size_bytes:
            fields["sha256"] = None
        if told.status in ("failed", "cancelled") and told.error:
            fields["moving_to"] = sidecar.told.source.path_bytes
            fields["request"] = Request.CANCEL if told.status == "cancelled" else None
        if told.duplicate_of is not None:
            fields |= NO_DUPLICATE
    fields |= {"job_id": job_id, "source": house.spool.relative(recording), "identity": identity, "completed_at": None}
    return Job(**fields)


def finished_job(house: House, sidecar: Sidecar) -> Job | None:
    """Return the job that a final sidecar tells of; None when it is not final.

    A recording that was taken away since does not unmake the job; but a sidecar that does not say whose it is
    counts only with its recording.
    """
    if not is_final(sidecar):
        return None
    source = find_resting(house, sidecar)
    if source is None and sidecar.told.instance is None:
        return None
    size_bytes = sidecar.told.source.size_bytes
    identity = FileIdentity.of(os.lstat(source)) if source else FileIdentity(0, 0, size_bytes, 0)
    where = house.spool.relative(source) if source else sidecar.told.source.path_bytes
    return Job(**_told(sidecar) | {"state": State(sidecar.told.status), "source": where, "identity": identity})


def find_resting(house: House, sidecar: Sidecar) -> Path | None:
    """Return where the recording rests, if it is there."""
    told = sidecar.told.source
    places = [told.path_bytes]
    if told.path_b64 is None and told.name_b64 is not None:
        # Written before paths had their bytes told: the name's are known.
        places.append(os.path.join(os.path.dirname(told.path_bytes), told.name_bytes))
    paths = [house.spool.absolute(place) for place in places]
    return next((path for path in paths if os.path.lexists(path)), None)


def _told(sidecar: Sidecar) -> dict[str, Any]:
    told = sidecar.told
    fields = _BLANK | {name: getattr(told, name) for name in _AS_TOLD}
    fields |= {"name": told.source.name_bytes, "subfolder": sidecar.subfolder, "base": sidecar.base}
    fields["error"] = Failure(told.error.reason, told.error.message) if told.error else None
    return fields | {"sha256": told.source.sha256}


def _untold(house: House, recording: Path) -> dict[str, Any]:
    now, marker = house.clock.now(), house.settings.spool.ready_marker
    try:
        name = os.fsencode(recording.name)
        resolved = resolve(house.settings, house.spool.inbox, b"", name, recording)
    except AttemptError:  # a settings file that can't be read is no reason not to start
        resolved = Resolved(house.settings.job_options())
    return _BLANK | {
        "state": State.PENDING,
        "name": os.fsencode(recording.name),
        "options": announced_by(marker if os.path.lexists(beside(recording, marker)) else "", resolved.options),
        "error": resolved.fault,
        "created_at": now,
        "updated_at": now,
    }


_AS_TOLD = (
    *("job_id", "progress", "message", "created_at", "started_at", "updated_at", "completed_at", "attempts"),
    *("language", "language_probability", "duration_s", "options", "outputs", "outputs_sha256", "rtf", "quality"),
    "duplicate_of",
)
_BLANK: dict[str, Any] = {
    "seq": 0,
    "subfolder": b"",
    "base": "",
    "moving_to": None,
    "sha256": None,
    "attempts": 0,
    "lease": None,
    "request": None,
    "not_before_at": None,
    "started_at": None,
    "completed_at": None,
    "estimated_completion_at": None,
    "progress": 0.0,
    "message": "",
    "duration_s": None,
    "language": None,
    "language_probability": None,
    "rtf": None,
    "quality": None,
}
