"""Ogg (Vorbis, Opus, Speex, FLAC): its last page (RFC 3533, section 6).

Only a page that is torn proves that something is missing. The last page should carry the flag "end of stream", but
Android's own writer never sets it (AOSP, OggWriter.cpp), and neither do radio rips: without the flag nothing is proven.
"""

from __future__ import annotations

from dataclasses import dataclass

from cesar_watch.intake.probe.crc import crc32
from cesar_watch.intake.probe.verdict import COMPLETE, UNKNOWN, Excerpts, Short, Verdict

_CAPTURE = b"OggS\0"
_HEADER_BYTES = 27
_LARGEST_PAGE_BYTES = _HEADER_BYTES + 255 + 255 * 255
_FIRST, _LAST = 2, 4
"""Flags: the first page of a stream, and its last."""


@dataclass(frozen=True)
class _Page:
    """A page by its header; where the file ends within that, `end` is where the page ends at the earliest."""

    begin: int
    end: int
    flags: int


def ogg(file: Excerpts) -> Verdict:
    """Judge by the last page, also where a file that was given its full size first ends in zeros."""
    content_end = file.content_end(0)
    page = _last_page(file, content_end)
    if page is None:
        return UNKNOWN
    if page.end > file.size_bytes:
        return Short(page.end, file.size_bytes)
    if not _is_whole(file, page):
        # Zeros where its content belongs are what has not come yet; anything else is damage, or no page at all.
        return Short(None, file.size_bytes) if content_end < page.end else UNKNOWN
    return COMPLETE if page.flags & _LAST and _has_one_stream(file) else UNKNOWN


def _last_page(file: Excerpts, content_end: int) -> _Page | None:
    begin = max(0, content_end - 2 * _LARGEST_PAGE_BYTES)
    tail = file.at(begin, content_end - begin)
    place = len(tail)
    while (place := tail.rfind(_CAPTURE, 0, place)) >= 0:
        page = _page(file, begin + place)
        if page is not None:
            return page
    return None


def _page(file: Excerpts, place: int) -> _Page | None:
    head = file.at(place, _HEADER_BYTES + 255)
    if head[:5] != _CAPTURE or head[5:6] > b"\x07":
        return None
    if len(head) < _HEADER_BYTES:
        return _Page(place, place + _HEADER_BYTES, 0)
    segments = head[_HEADER_BYTES : _HEADER_BYTES + head[26]]
    return _Page(place, place + _HEADER_BYTES + head[26] + sum(segments), head[5])


def _is_whole(file: Excerpts, page: _Page) -> bool:
    content = file.at(page.begin, page.end - page.begin)
    told = int.from_bytes(content[22:26], "little")
    return crc32(content[:22] + bytes(4) + content[26:]) == told


def _has_one_stream(file: Excerpts) -> bool:
    """Whether the last page's flag speaks for the whole file; each of several streams has its own last page."""
    first = _page(file, 0)
    if first is None:
        return False
    second = _page(file, first.end)
    return second is None or not second.flags & _FIRST
