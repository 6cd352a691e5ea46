"""The checkpoint beside a recording: every window that is done, so that no work is done twice.

A file of JSON lines: a header (schema, fingerprint), a line per window, at the end one with the length.
Whatever was returned from `append` survives a power cut. Nothing here knows of engines.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

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


class Checkpoint:
    """The durable windows of one job; made by `open`. Owned by the worker that holds the lease.

    After an OSError the object must not be used again: open the file anew, which throws away what
    the failed write may have left.
    """

    def __init__(self, path: Path, windows: Iterable[Window] = ()) -> None:
        self._path = path
        self._windows = {window.index: window for window in windows}
        self._finished: Transcript | None = None
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
        content = _read(path)
        if content is None or not content.startswith(header):
            durable.write_replace(path, header, staging=folder)
            return cls(path)
        windows, finished, good_bytes = _parse(content, len(header))
        if good_bytes < len(content):
            os.truncate(path, good_bytes)
        # Read back from the page cache, a line may have been written but never made durable.
        durable.sync_file(path)
        durable.sync_dir(folder)
        checkpoint = cls(path, windows)
        if finished is not None:
            checkpoint._finished = checkpoint._whole(finished)
        return checkpoint

    @property
    def windows(self) -> tuple[Window, ...]:
        """The durable windows, in the order of time; some may be missing in between."""
        return tuple(self._windows[index] for index in sorted(self._windows))

    @property
    def transcript(self) -> Transcript | None:
        """The whole transcript once `finish` has returned, in this life or an earlier one."""
        return self._finished

    def append(self, window: Window) -> None:
        """Add a window, in any order; it survives a power cut after return.

        Raises:
            OSError: It may or may not be durable; open the checkpoint anew.
        """
        assert window.index not in self._windows, "a window is worked on once"
        self._write(_Line(window=window))
        self._windows[window.index] = window

    def finish(self, *, duration_s: float, declared_s: float | None, skipped_packets: int) -> Transcript:
        """Mark the recording as wholly transcribed and return it; durable after return.

        Raises:
            OSError: It may or may not be durable; open the checkpoint anew.
        """
        assert self._windows.keys() == set(range(len(self._windows))), "no window is missing"
        done = _Done(duration_s=duration_s, declared_s=declared_s, skipped_packets=skipped_packets)
        self._write(_Line(finished=done))
        self._finished = self._whole(done)
        return self._finished

    def _whole(self, done: _Done) -> Transcript:
        return Transcript(windows=self.windows, **done.model_dump())

    def _write(self, line: _Line) -> None:
        assert not self._broken, "a checkpoint is not used again after a failed write"
        self._broken = True
        content = line.model_dump_json(exclude_none=True).encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        self._broken = False


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def _parse(content: bytes, start: int) -> tuple[list[Window], _Done | None, int]:
    """Return the windows, the finish if there is one, and how many bytes hold them."""
    windows: list[Window] = []
    indexes: set[int] = set()
    while (end := content.find(b"\n", start)) >= 0:
        try:
            line = _Line.model_validate_json(content[start:end])
        except ValidationError:
            break
        if line.finished is not None and indexes == set(range(len(indexes))):
            return windows, line.finished, end + 1
        if line.window is None or line.window.index in indexes:
            break
        windows.append(line.window)
        indexes.add(line.window.index)
        start = end + 1
    return windows, None, start
