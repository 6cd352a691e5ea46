"""Are outputs, sidecars and reasons there, whole, unchanged, and one to one with the rows?"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

from cesar_watch.verify.finding import Finding, shown
from cesar_watch.verify.folders import Folders
from cesar_watch.verify.ledger import Book, Entry
from cesar_watch.verify.recordings import Reads
from cesar_watch.verify.terms import (
    CLAIMING,
    COMPLETED,
    DUPLICATE,
    FAILED_ROOM,
    MAY_BE_EMPTY,
    OUTBOX,
    PROCESSING,
    REASON_ENDING,
    RESTING_ROOM,
    SHOWN_STATES,
    SIDECAR_ENDING,
    SIDECAR_SCHEMA,
    TEMPORARY,
)

Sidecar = dict[str, Any]


# --- outputs --------------------------------------------------------------------------------------


def check_outputs(entry: Entry, folders: Folders, reads: Reads) -> Iterator[Finding]:
    """Look at the transcripts of a completed job, and for those at which a duplicate's sidecar points."""
    if entry.state == DUPLICATE:
        yield from _dangling(entry, folders)
    if entry.state != COMPLETED:
        return
    if not entry.duration_s or entry.duration_s <= 0:
        yield Finding("nothing_decoded", entry.source, entry.job_id)
    expected = tuple(f"{entry.base}.{ending}" for ending in entry.formats)
    if set(expected) != set(entry.outputs):
        detail = f"{', '.join(entry.outputs) or 'none'} instead of {', '.join(expected)}"
        yield Finding("outputs_incomplete", _outbox(entry), entry.job_id, detail)
    for name in entry.outputs:
        path = os.path.join(_outbox(entry), os.fsencode(name))
        seen = folders.find(path)
        if seen is None:
            yield Finding("output_missing", path, entry.job_id)
        elif not seen.is_file:
            yield Finding("output_replaced", path, entry.job_id, seen.kind)
        elif seen.size_bytes == 0 and name.rpartition(".")[2] not in MAY_BE_EMPTY:
            yield Finding("output_empty", path, entry.job_id)
        elif reads(entry.job_id):
            yield from _output_content(entry, name, path, folders)


def _dangling(entry: Entry, folders: Folders) -> Iterator[Finding]:
    """Yield what a duplicate points at and is not there; whether it is unchanged is a question to its own job."""
    for name in entry.outputs:
        path = os.path.normpath(os.path.join(_outbox(entry), os.fsencode(name)))
        seen = folders.find(path) if path.startswith(OUTBOX + b"/") else None
        if seen is None or not seen.is_file:
            yield Finding("duplicate_dangling", path, entry.job_id, str(entry.duplicate_of)[:8])


def _output_content(entry: Entry, name: str, path: bytes, folders: Folders) -> Iterator[Finding]:
    content = folders.content(path)
    known = entry.outputs_sha256.get(name)
    if content is None:
        yield Finding("unreadable", path, entry.job_id)
    elif known and hashlib.sha256(content).hexdigest() != known:
        yield Finding("output_changed", path, entry.job_id)
    elif name.endswith(".json") and _parsed(content) is None:
        yield Finding("output_damaged", path, entry.job_id)


# --- sidecars ---------------------------------------------------------------------------------------


def sidecar_path(entry: Entry) -> bytes:
    """Return where the job's sidecar belongs."""
    return os.path.join(_outbox(entry), os.fsencode(entry.base) + SIDECAR_ENDING)


def check_sidecar(entry: Entry, folders: Folders) -> Iterator[Finding]:
    """Compare a job's sidecar with its row.

    That of an unfinished job may be one step behind its row, or one before it: it follows at once, or at the next
    attempt. The final one is the commit mark, and has to agree.
    """
    if entry.state == CLAIMING:
        return
    path = sidecar_path(entry)
    seen = folders.find(path)
    if seen is None:
        yield Finding("sidecar_missing", path, entry.job_id)
        return
    fields = _sidecar(folders, path) if seen.is_file else None
    if fields is None:
        yield Finding("sidecar_foreign", path, entry.job_id, "not a sidecar")
    elif fields["job_id"] != entry.job_id:
        yield Finding("sidecar_foreign", path, entry.job_id, f"the sidecar of job {fields['job_id'][:8]}")
    else:
        differences = list(_differences(entry, fields))
        if differences:
            yield Finding("sidecar_differs", path, entry.job_id, ", ".join(differences))


def _differences(entry: Entry, fields: Sidecar) -> Iterator[str]:
    told = fields.get("source")
    if not isinstance(told, dict) or fields.get("status") not in SHOWN_STATES:
        yield "it has no status or no source that is known"
    elif entry.state in RESTING_ROOM and entry.moving_to is None:
        ledger = {
            "status": entry.state,
            "source.sha256": entry.sha256,
            "source.path": entry.source,
            "outputs": list(entry.outputs),
            "outputs_sha256": entry.outputs_sha256,
            "duplicate_of": entry.duplicate_of,
        }
        says = {
            **{key: fields.get(key) for key in ("status", "outputs", "duplicate_of")},
            "source.sha256": told.get("sha256"),
            "source.path": _told_place(fields),
            "outputs_sha256": fields.get("outputs_sha256", {}),
        }
        yield from (key for key in ledger if ledger[key] != says[key])
    elif fields["status"] == COMPLETED and entry.moving_to is None:
        yield f"it says completed, the job is {entry.state}"


def check_stray_sidecars(book: Book, folders: Folders, instance: bytes | None, *, alone: bool) -> Iterator[Finding]:
    """Look at the sidecars that are at no job's place.

    Args:
        alone: No other instance serves this spool. Beside others a sidecar that does not say whose it is is theirs.
    """
    places = {sidecar_path(entry) for entry in book.entries.values()}
    for path, seen in folders.below(OUTBOX):
        if not path.endswith(SIDECAR_ENDING) or path in places or not seen.is_file:
            continue
        fields = _sidecar(folders, path)
        if fields is None:
            continue  # a file of somebody's that happens to have this ending
        job_id, owner = fields["job_id"], fields.get("instance")
        entry = book.entries.get(job_id)
        is_ours = alone if owner is None else str(owner).encode() == instance
        if entry is not None and entry.state != CLAIMING:
            yield Finding("sidecar_twice", path, job_id, shown(sidecar_path(entry)))
        elif job_id not in book.rows and is_ours:
            yield from _orphan(folders, instance, path, fields)


def _orphan(folders: Folders, instance: bytes | None, path: bytes, fields: Sidecar) -> Iterator[Finding]:
    job_id = fields["job_id"]
    folder = os.path.join(PROCESSING, instance or b"", job_id.encode("utf-8", "replace"))
    if any(not name.startswith(TEMPORARY) for name in folders.names(folder)):
        return  # told of as a folder without a row
    place = _told_place(fields)
    rests = fields.get("status") in RESTING_ROOM and place is not None and folders.find(place) is not None
    yield Finding("row_missing" if rests else "sidecar_orphan", path, job_id)


def _told_place(fields: Sidecar) -> bytes | None:
    """Return where a sidecar says its recording is, relative to the root; None if it says nothing that can be."""
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        told = fields["source"]
        path = base64.b64decode(told["path_b64"]) if "path_b64" in told else told["path"].encode()
        return path if path and not path.startswith(b"/") else None
    return None


def _sidecar(folders: Folders, path: bytes) -> Sidecar | None:
    fields = _parsed(folders.content(path) or b"")
    is_ours = isinstance(fields, dict) and fields.get("schema") == SIDECAR_SCHEMA
    return fields if is_ours and isinstance(fields.get("job_id"), str) else None


# --- reasons ------------------------------------------------------------------------------------------


def check_reason(entry: Entry, folders: Folders) -> Iterator[Finding]:
    """See that a recording in failed/ has its reason beside it."""
    if RESTING_ROOM.get(entry.state) != FAILED_ROOM or entry.moving_to or entry.is_source(entry.source):
        return
    if not folders.find(entry.source):
        return
    path = folders.beside(entry.source, REASON_ENDING)
    seen = folders.find(path)
    if seen is None:
        yield Finding("reason_missing", path, entry.job_id)
    elif not seen.is_file or f"job_id: {entry.job_id}\n".encode() not in (folders.content(path) or b""):
        yield Finding("reason_foreign", path, entry.job_id)


def _outbox(entry: Entry) -> bytes:
    return os.path.join(OUTBOX, entry.folder) if entry.folder else OUTBOX


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
