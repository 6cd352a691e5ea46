"""The checkpoint beside a recording: every window that is done, so that no work is done twice.

A file of JSON lines: a header (schema, fingerprint), a line per window, at the end one with the length.
Whatever was returned from `append` survives a power cut. Nothing here knows of engines.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ValidationError

from cesar_watch.core import durable
from cesar_watch.core.transcript import Transcript, Value, Window

NAME = ".cesar-checkpoint.jsonl"
"""The checkpoint's file name in the job's folder."""


def fingerprint(engine_options: Mapping[str, Any], source_sha256: str) -> str:
    """Return what must be equal for windows of an earlier attempt to be used again."""
    canonical = json.dumps(
        {"engine": engine_options, "source_sha256": source_sha256}, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


class _Header(Value):
    schema_version: Literal[1] = 1
    fingerprint: str


class _Done(Value):
    duration_s: float
    declared_s: float | None = None
    skipped_packets: int


class _Line(Value):
    window: Window | None = None
    finished: _Done | None = None


class StoredWindows(Collection[Window]):
    """Windows of a checkpoint in the order of time; some may be missing in between.

    Only their places are held in memory: each time they are gone through they are read again, one after the other,
    from the file, which has to be there still.

    Raises:
        OSError: While they are gone through, if the file can't be read.
    """

    def __init__(self, path: Path, places: Mapping[int, int]) -> None:
        self._path = path
        self._places = places

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._places)

    def __iter__(self) -> Iterator[Window]:
        """Yield them, each a new object."""
        if not self._places:
            return
        with _opened(self._path) as stream:
            for index in sorted(self._places):
                stream.seek(self._places[index])
                window = _Line.model_validate_json(stream.readline()).window
                assert window is not None, "there is one at each place"
                yield window

    def __contains__(self, window: object) -> bool:
        """Whether an equal window is among them."""
        return any(window == stored for stored in self)


class Checkpoint:
    """The durable windows of one job; made by `open`. Owned by the worker that holds the lease.

    After an OSError of its own methods the object must not be used again: open the file anew, which throws away what
    the failed write may have left.
    """

    def __init__(self, path: Path, found: _Found) -> None:
        self._path = path
        self._places = found.places
        self._size_bytes = found.good_bytes
        self._finished = None if found.finished is None else self._whole(found.finished)
        self._broken = False

    @classmethod
    def open(cls, folder: Path, fingerprint: str) -> Checkpoint:
        """Read a job folder's checkpoint, or begin one; what is returned survives a power cut.

        A torn or damaged line, and all behind it, is cut off. With another fingerprint or a damaged
        header everything begins anew.

        Raises:
            OSError: The folder can't be read or written. An old checkpoint is as it was.
        """
        path = folder / NAME
        header = _Header(fingerprint=fingerprint).model_dump_json().encode() + b"\n"
        found = _read(path, header)
        if found is None:
            durable.write_replace(path, header, staging=folder)
            return cls(path, _Found(good_bytes=len(header)))
        if found.good_bytes < found.size_bytes:
            os.truncate(path, found.good_bytes)
        # Read back from the page cache, a line may have been written but never made durable.
        durable.sync_file(path)
        durable.sync_dir(folder)
        return cls(path, found)

    @property
    def windows(self) -> StoredWindows:
        """The windows that are durable by now."""
        return StoredWindows(self._path, dict(self._places))

    @property
    def transcript(self) -> Transcript | None:
        """The whole transcript once `finish` has returned, in this life or an earlier one; its windows are stored."""
        return self._finished

    def append(self, window: Window) -> None:
        """Add a window, in any order; it survives a power cut after return.

        Raises:
            OSError: It may or may not be durable; open the checkpoint anew.
        """
        assert window.index not in self._places, "a window is worked on once"
        place = self._size_bytes
        self._write(_Line(window=window))
        self._places[window.index] = place

    def finish(self, *, duration_s: float, declared_s: float | None, skipped_packets: int) -> Transcript:
        """Mark the recording as wholly transcribed and return it; durable after return.

        Raises:
            OSError: It may or may not be durable; open the checkpoint anew.
        """
        assert self._places.keys() == set(range(len(self._places))), "no window is missing"
        done = _Done(duration_s=duration_s, declared_s=declared_s, skipped_packets=skipped_packets)
        self._write(_Line(finished=done))
        self._finished = self._whole(done)
        return self._finished

    def _whole(self, done: _Done) -> Transcript:
        return Transcript(done.duration_s, done.declared_s, done.skipped_packets, self.windows)

    def _write(self, line: _Line) -> None:
        assert not self._broken, "a checkpoint is not used again after a failed write"
        self._broken = True
        content = line.model_dump_json(exclude_none=True).encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        self._size_bytes += len(content)
        self._broken = False


@dataclass
class _Found:
    """What a file holds: where each window's line begins, the finish if there is one, how many bytes are good."""

    good_bytes: int
    size_bytes: int = 0
    places: dict[int, int] = field(default_factory=dict)
    finished: _Done | None = None


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def _read(path: Path, header: bytes) -> _Found | None:
    """Read a file; None if there is none, or one that begins otherwise."""
    try:
        stream = _opened(path)
    except FileNotFoundError:
        return None
    with stream:
        if stream.read(len(header)) != header:
            return None
        found = _Found(good_bytes=len(header), size_bytes=os.fstat(stream.fileno()).st_size)
        for content in stream:
            if found.finished is not None or not _add(found, content):
                break
    return found


def _add(found: _Found, content: bytes) -> bool:
    """Take a line to what was found; return False, and take nothing, where it is not what belongs there."""
    try:
        line = _Line.model_validate_json(content)
    except ValidationError:
        return False
    if not content.endswith(b"\n"):
        return False
    places = found.places
    if line.finished is not None and places.keys() == set(range(len(places))):
        found.finished = line.finished
    elif line.window is not None and line.window.index not in places:
        places[line.window.index] = found.good_bytes
    else:
        return False
    found.good_bytes += len(content)
    return True
