"""Make rows for what the folders hold and the ledger does not know, because it was lost or deleted.

Folders tell which recordings are claimed, sidecars tell the rest. Finished work is recognised and not redone.
"""

from __future__ import annotations

import base64
import itertools
import logging
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from cesar_watch.core.durable import TEMPORARY_PREFIX
from cesar_watch.core.job import TERMINAL, Event, Failure, FileIdentity, State
from cesar_watch.core.ledger import Intent
from cesar_watch.delivery.names import base_key
from cesar_watch.delivery.sidecar import read_sidecar
from cesar_watch.service.announce import announce, free_bases
from cesar_watch.service.house import House

log = logging.getLogger(__name__)

Sidecar = dict[str, Any]


def adopt_unknown(house: House) -> None:
    """Adopt job folders without a row; beside a new ledger, finished jobs by their sidecars too."""
    known = house.ledger.ids(State)
    orphans = [folder for folder in house.spool.processing.iterdir() if folder.is_dir() and folder.name not in known]
    if not orphans and not house.ledger.is_new:
        return
    sidecars = _sidecars(house)
    for folder in orphans:
        recordings = [path for path in sorted(folder.iterdir()) if not path.name.startswith(TEMPORARY_PREFIX)]
        if recordings:
            _adopt_claimed(house, folder.name, recordings[0], sidecars.get(folder.name))
            known.add(folder.name)
    if house.ledger.is_new:
        for job_id, sidecar in sidecars.items():
            if job_id not in known:
                _adopt_finished(house, job_id, sidecar)


def _sidecars(house: House) -> dict[str, Sidecar]:
    """Return the sidecars of the outbox by job id; `_path` tells where each was found."""
    found = {}
    for path in sorted(house.spool.outbox.rglob("*.status.json")):
        fields = read_sidecar(path)
        if fields is not None:
            found[str(fields["job_id"])] = {**fields, "_path": path}
    return found


def _adopt_claimed(house: House, job_id: str, recording: Path, sidecar: Sidecar | None) -> None:
    """Queue a claimed recording again, under its own id and, where its sidecar tells, its own base."""
    where = house.spool.relative(recording)
    intent = Intent(
        job_id=job_id,
        name=os.fsencode(recording.name),
        subfolder=_subfolder(house, sidecar),
        source=where,
        moving_to=where,
        identity=FileIdentity.of(os.lstat(recording)),
        options=sidecar["options"] if sidecar else house.settings.job_options(),
    )
    now = house.clock.now()
    job = house.ledger.log_intent(intent, _bases(house, intent, sidecar), now)
    sha256 = sidecar["source"].get("sha256") if sidecar else None
    job = house.ledger.apply(job, Event.CLAIMED, now, reason="adopted", moving_to=None, sha256=sha256)
    announce(house, job)
    log.warning("%s: adopted from %s, which the ledger did not know", job.display_name, recording.parent)


def _adopt_finished(house: House, job_id: str, sidecar: Sidecar) -> None:
    """Restore the row of a finished job; a sidecar whose recording rests nowhere is left to `verify`."""
    state = State(sidecar["status"])
    if state not in TERMINAL:
        return
    told = sidecar["source"]
    name = base64.b64decode(told["name_b64"]) if "name_b64" in told else os.fsencode(told["name"])
    source = os.path.join(os.fsencode(os.path.dirname(told["path"])), name)
    path = house.spool.absolute(source)
    if not path.exists():
        path = house.spool.root / told["path"]
    if not path.exists():
        log.warning("%s tells of a recording at %s that is not there", sidecar["_path"], path)
        return
    intent = Intent(
        job_id=job_id,
        name=name,
        subfolder=_subfolder(house, sidecar),
        source=house.spool.relative(path),
        moving_to=house.spool.relative(path),
        identity=FileIdentity.of(os.lstat(path)),
        options=sidecar["options"],
    )
    house.ledger.log_intent(
        intent,
        _bases(house, intent, sidecar),
        _time(sidecar["created_at"]) or house.clock.now(),
        state=state,
        moving_to=None,
        **{key: sidecar[key] for key in _AS_TOLD},
        **{key: _time(sidecar[key]) for key in ("started_at", "updated_at", "completed_at")},
        sha256=told["sha256"],
        error=Failure(**sidecar["error"]) if sidecar["error"] else None,
    )


_AS_TOLD = (
    *("attempts", "progress", "message", "outputs"),
    *("duration_s", "language", "language_probability", "rtf", "quality"),
)


def _subfolder(house: House, sidecar: Sidecar | None) -> bytes:
    if sidecar is None:
        return b""
    relative = sidecar["_path"].parent.relative_to(house.spool.outbox)
    return b"" if relative == Path() else os.fsencode(relative)


def _bases(house: House, intent: Intent, sidecar: Sidecar | None) -> Iterator[tuple[str, str]]:
    """Yield the base that the sidecar bears, then free ones."""
    kept = [sidecar["_path"].name.removesuffix(".status.json")] if sidecar else []
    formats = intent.options["output"]["formats"]
    return itertools.chain(
        ((base, base_key(base)) for base in kept), free_bases(house.spool, intent.name, intent.subfolder, formats)
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
