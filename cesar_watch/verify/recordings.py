"""Is every recording where its row says, once, and unchanged? And does nothing else lie in processing/?"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from cesar_watch.verify.finding import Finding, shown
from cesar_watch.verify.folders import Folders, Seen
from cesar_watch.verify.ledger import Book, Entry
from cesar_watch.verify.terms import (
    CHECKPOINT,
    CLAIMING,
    PROBE,
    PROCESSING,
    RESTING_ROOM,
    ROOMS,
    SETTINGS_ENDING,
    SIGN,
    TEMPORARY,
    UNFINISHED,
)

Reads = Callable[[str], bool]
"""Whether the files of a job are read and hashed in this look."""

_INSTANCE = re.compile(rb"[0-9a-f]{8}")
_JOB = re.compile(rb"[0-9a-f]{16}")


def check_recording(entry: Entry, folders: Folders, reads: Reads) -> Iterator[Finding]:
    """Compare one job's recording with its row.

    A row that names a second place is of a job that is being moved: the recording lies in one of the two. Of a copy
    whose source stayed in the inbox nothing is left at the end.
    """
    if entry.state == CLAIMING:
        return  # until the claim is committed, its sender may take a recording back
    if entry.state in RESTING_ROOM and entry.is_source(entry.source):
        return
    seen, path = folders.find(entry.source), entry.source
    if seen is None and entry.moving_to is not None:
        seen, path = folders.find(entry.moving_to), entry.moving_to
    if entry.state not in RESTING_ROOM and entry.is_source(path):
        return
    if seen is None:
        yield _missing(entry)
    elif not seen.is_file:
        yield Finding("recording_replaced", path, entry.job_id, seen.kind)
    else:
        if not _is_in_its_room(entry):
            yield Finding("recording_misplaced", entry.source, entry.job_id, entry.state)
        yield from _content(entry, path, seen, folders, reads)


def _missing(entry: Entry) -> Finding:
    rested = RESTING_ROOM.get(entry.state) == entry.source.split(b"/")[0]
    code = "recording_gone" if rested else "recording_lost"
    return Finding(code, entry.source, entry.job_id, entry.state)


def _is_in_its_room(entry: Entry) -> bool:
    parts = entry.source.split(b"/")
    if entry.state in UNFINISHED:
        return len(parts) == 4 and parts[0] == PROCESSING and parts[2] == entry.job_id.encode()
    return parts[0] == RESTING_ROOM[entry.state]


def _content(entry: Entry, path: bytes, seen: Seen, folders: Folders, reads: Reads) -> Iterator[Finding]:
    code = "recording_changing" if entry.state in UNFINISHED else "recording_changed"
    if seen.size_bytes != entry.size_bytes:
        detail = f"{seen.size_bytes} bytes, not {entry.size_bytes}"
        yield Finding(code, path, entry.job_id, detail)
    elif entry.sha256 and (reads(entry.job_id) or seen.mtime_ns != entry.mtime_ns):
        found = folders.sha256(path)
        if found is None:
            yield Finding("unreadable", path, entry.job_id)
        elif found != entry.sha256:
            yield Finding(code, path, entry.job_id, f"SHA-256 {found[:12]}..., not {entry.sha256[:12]}...")


def check_names(book: Book, folders: Folders) -> Iterator[Finding]:
    """See that no recording has two names in the spool, and no two jobs have one recording."""
    owners: dict[bytes, str] = {}
    entries = [entry for entry in book.entries.values() if not entry.is_source(entry.source)]
    for entry in entries:
        if entry.source in owners:
            yield Finding("recording_shared", entry.source, entry.job_id, owners[entry.source][:8])
        owners.setdefault(entry.source, entry.job_id)
    for entry in entries:
        if entry.moving_to is not None and not entry.is_source(entry.moving_to):
            owners.setdefault(entry.moving_to, entry.job_id)
    for names in folders.linked():
        ours = [name for name in names if name in owners]
        for name in names:
            if ours and name != ours[0]:
                yield Finding("recording_twice", name, owners[ours[0]], shown(ours[0]))


def check_processing(book: Book, folders: Folders, instance: bytes | None, *, running: bool) -> Iterator[Finding]:
    """See that processing/ holds the folders of our unfinished jobs, and nothing that nobody knows.

    Folders of other instances are theirs, and are not looked into.
    """
    for name in folders.names(PROCESSING):
        path = os.path.join(PROCESSING, name)
        if not (_INSTANCE.fullmatch(name) and _is_folder(folders, path)) and not name.startswith(TEMPORARY):
            yield Finding("file_foreign", path)
    if instance is None:
        return
    own = os.path.join(PROCESSING, instance)
    for name in folders.names(own):
        path = os.path.join(own, name)
        if name.startswith(TEMPORARY):
            continue  # told of with those of the other rooms
        if _JOB.fullmatch(name) and _is_folder(folders, path):
            yield from _job_folder(book, folders, path, running=running)
        else:
            yield Finding("file_foreign", path)


def _job_folder(book: Book, folders: Folders, path: bytes, *, running: bool) -> Iterator[Finding]:
    job_id = os.path.basename(path).decode()
    others = [name for name in folders.names(path) if not name.startswith(TEMPORARY)]
    entry = book.entries.get(job_id)
    if entry is None and others and job_id not in book.rows:
        yield Finding("folder_unknown", path, job_id)
    elif entry is not None:
        companions = (SETTINGS_ENDING, os.fsencode(entry.ready_marker))
        known = {entry.source, entry.moving_to, *(folders.beside(entry.source, ending) for ending in companions)}
        foreign = [name for name in others if os.path.join(path, name) not in known]
        yield from (Finding("file_foreign", os.path.join(path, name), job_id) for name in foreign)
    is_live = entry is not None and entry.state not in RESTING_ROOM
    if not others and not is_live and not running:
        yield Finding("temporary_left", path, job_id)


def check_temporary(folders: Folders, instance: bytes | None) -> Iterator[Finding]:
    """Tell of the temporary files that a service which ended left; those of other instances may be in use."""
    for room in ROOMS:
        for path, seen in folders.below(room):
            name = os.path.basename(path)
            if not seen.is_file or not name.startswith(TEMPORARY) or name in (CHECKPOINT, SIGN):
                continue
            if room == PROCESSING and path.split(b"/")[1] != instance:
                continue
            if room != PROCESSING and not name.startswith(PROBE + (instance or b"?")):
                continue  # the probe of another instance
            yield Finding("temporary_left", path)


def other_instances(folders: Folders, instance: bytes | None) -> list[str]:
    """Return the instances that also work on this spool, or did once."""
    names = (name for name in folders.names(PROCESSING) if name != instance and _INSTANCE.fullmatch(name))
    return [name.decode() for name in names]


def _is_folder(folders: Folders, path: bytes) -> bool:
    seen = folders.find(path)
    return seen is not None and seen.kind == "a folder"
