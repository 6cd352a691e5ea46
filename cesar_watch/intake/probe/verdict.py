"""What a probe may answer, and the few bytes that it may look at."""

from __future__ import annotations

import os
from dataclasses import dataclass

BUDGET_BYTES = 1 << 20
"""All that one probe reads, whatever the file says."""

BLOCK_BYTES = 4096


@dataclass(frozen=True)
class Complete:
    """Its own structure proves that the end of the recording is there."""


@dataclass(frozen=True)
class Short:
    """Its own structure proves that something is missing.

    `declared_bytes` is how long the file would be, or at least; None where only the end is seen to be missing.
    """

    declared_bytes: int | None
    actual_bytes: int


@dataclass(frozen=True)
class Unknown:
    """Nothing is proven: the format does not tell, or its writer did not know."""


Verdict = Complete | Short | Unknown
COMPLETE, UNKNOWN = Complete(), Unknown()


class Undecided(Exception):
    """The bytes that may be read are used up."""


class Excerpts:
    """An open file of which little is read, at any place; its position is left alone."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._left_bytes = BUDGET_BYTES
        self.size_bytes = size_bytes

    def at(self, offset: int, count: int) -> bytes:
        """Return the bytes there; fewer, or none, at the file's end.

        Raises:
            Undecided: That would be more than one probe may read.
            OSError: The disk or share fails.
        """
        count = min(count, self.size_bytes - offset)
        if count <= 0:
            return b""
        # Every look costs at least a little, so that a million tiny ones are not for free.
        self._left_bytes -= max(count, 64)
        if self._left_bytes < 0:
            raise Undecided
        return os.pread(self._descriptor, count, offset)

    def content_end(self, begin: int) -> int:
        """Return where the zeros begin that fill the file's end, or its size where none do.

        Some writers give a file its full size first. For compressed content only, since silence is made of zeros too:
        the border is found by halving, from `begin` on.
        """
        end = self.size_bytes
        if any(self.at(max(0, end - BLOCK_BYTES), BLOCK_BYTES)):
            return end
        while end - begin > BLOCK_BYTES:
            middle = (begin + end) // 2
            if any(self.at(middle, min(BLOCK_BYTES, end - middle))):
                begin = middle
            else:
                end = middle
        return begin + len(self.at(begin, 2 * BLOCK_BYTES).rstrip(b"\0"))


def judge(file: Excerpts, end: int) -> Verdict:
    """Return the verdict on a file that says that it ends at `end`.

    One that is longer may have a tag behind it, or a recorder that counts up now and then.
    """
    if file.size_bytes < end:
        return Short(end, file.size_bytes)
    return COMPLETE if file.size_bytes == end else UNKNOWN
