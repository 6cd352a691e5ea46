"""Where the links of a chained Ogg begin: recordings put one behind the other, each with headers of its own.

RFC 3533, section 4. FFmpeg goes on with the first link's headers, and so loses a link that has another rate or
another number of channels. Engine side only.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from cesar_watch.speech.source import SourceFile

_CAPTURE = b"OggS\0"
_HEADER_BYTES = 27
_FIRST = 2
"""A flag of a page: a stream begins here. All streams of a link begin before the first of them goes on."""
_NEAR_BYTES = 1 << 17
"""Twice the largest page: in any stretch of this length one begins."""

Page = tuple[int, int, int]
"""Where it begins, its flags, and the number of its stream."""


def links(file: SourceFile) -> list[tuple[int, int]]:
    """Return the links of an Ogg as [begin, end) in bytes, in order; the whole file where it is none, or not chained.

    It is read through only if its end belongs to another stream than its beginning. Its position is lost.

    Raises:
        AttemptError: `source_unreadable`.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    first = {page[2] for page in itertools.takewhile(_is_first, _pages(file, 0, _NEAR_BYTES))}
    last = [page[2] for page in _pages(file, max(0, size_bytes - _NEAR_BYTES), size_bytes)][-1:]
    if not first or first.issuperset(last):
        return [(0, size_bytes)]
    pages = itertools.pairwise(_pages(file, 0, size_bytes))
    later = [page[0] for before, page in pages if _is_first(page) and not _is_first(before)]
    return list(itertools.pairwise([0, *later, size_bytes]))


def _is_first(page: Page) -> bool:
    return bool(page[1] & _FIRST)


def _pages(file: SourceFile, begin: int, end: int) -> Iterator[Page]:
    """Find the pages that begin in [begin, end), by their capture pattern."""
    file.seek(begin)
    held = b""
    while begin + len(held) < end and (chunk := file.read(_NEAR_BYTES)):
        held += chunk
        place = -1
        while (place := held.find(_CAPTURE, place + 1)) >= 0 and place + _HEADER_BYTES <= len(held):
            if begin + place < end:
                yield begin + place, held[place + 5], int.from_bytes(held[place + 14 : place + 18], "little")
        # What may be the beginning of a page that goes on in the next chunk.
        kept = place if place >= 0 else max(0, len(held) - len(_CAPTURE) + 1)
        begin, held = begin + kept, held[kept:]
