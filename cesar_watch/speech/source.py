"""The recording's file as FFmpeg reads it. Engine side only.

It is opened here, never by FFmpeg: so an error from FFmpeg is always the recording's fault, and nothing inside a
recording can make another file be read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Self

from cesar_watch.core.errors import AttemptError, RecordingError


class SourceFile:
    """A regular file, open for reading; a context manager. Remembers an error of the disk, which FFmpeg would blur.

    Raises:
        RecordingError: `empty_file`, or `not_media` where it is no file. Nothing stays open.
        AttemptError: `source_unreadable`, it is gone or can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path.absolute())
        self._path = path
        self._fault: OSError | None = None
        try:
            # No link is followed, and a pipe or device doesn't make us wait.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as fault:
            raise self._unreadable(fault) from fault
        status = os.fstat(descriptor)
        try:
            self._refuse(status)
        except RecordingError:
            os.close(descriptor)
            raise
        self._stream: BinaryIO = os.fdopen(descriptor, "rb")
        self._begin, self._end = 0, status.st_size

    def _refuse(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self.refusal("not_media", "is not a file. Drop the recording itself.")
        if status.st_size == 0:
            raise self.refusal("empty_file", "is empty: its copy may have been broken off. Drop it again.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def narrow(self, begin: int, end: int) -> None:
        """Be only the bytes [begin, end) of the file from now on, with the position at their beginning."""
        self._begin, self._end = begin, end
        self._stream.seek(begin)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; for a negative one, all that follow.

        Raises:
            AttemptError: `source_unreadable`.
        """
        left = max(0, self._end - self._stream.tell())
        try:
            return self._stream.read(left if size < 0 else min(size, left))
        except OSError as fault:
            self._fault = fault
            raise self._unreadable(fault) from fault

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` and return the position; -1 for a place that can't be."""
        from_where = {os.SEEK_SET: self._begin, os.SEEK_CUR: self._stream.tell(), os.SEEK_END: self._end}
        place = from_where[whence] + offset
        try:
            # A damaged header sends FFmpeg to places where no file can be; it understands a negative answer.
            return -1 if place < self._begin else self._stream.seek(place) - self._begin
        except (OSError, OverflowError):
            return -1

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell() - self._begin

    def check(self) -> None:
        """Raise what the disk said, if it said anything: then FFmpeg's own complaint means nothing.

        Raises:
            AttemptError: `source_unreadable`.
        """
        if self._fault is not None:
            raise self._unreadable(self._fault) from self._fault

    def refusal(self, reason: str, words: str) -> RecordingError:
        """Return the error that says this of the recording; `words` go on behind its name."""
        return RecordingError(f"{self._path.name} {words}", reason=reason)

    def _unreadable(self, fault: OSError) -> AttemptError:
        return AttemptError(
            f"{self._path.name} can't be read ({fault.strerror or fault}). See that the disk or share is there.",
            reason="source_unreadable",
        )
