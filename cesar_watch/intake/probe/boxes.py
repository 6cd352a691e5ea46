"""MP4, M4A, MOV, 3GP: boxes of size and type, which must reach the file's end (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cesar_watch.intake.probe.verdict import COMPLETE, UNKNOWN, Excerpts, Short, Verdict

_TOP_LEVEL = frozenset(
    b"ftyp moov mdat moof mfra free skip wide uuid meta udta pnot PICT sidx ssix styp emsg prft pdin bloc junk".split()
)
FIRST_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))
"""What the fifth to eighth byte of such a file say."""
_MOST_BOXES = 4000
_ABSURD_BYTES = 1 << 50
"""Some cameras write question marks into a size until they know it."""
_LONG_ZEROS_BYTES = 1024
_HEAD_BYTES = 1 << 16


def mp4(file: Excerpts) -> Verdict:
    """Judge by the walk over the top-level boxes: all whole, `moov` among them.

    A fragmented file may end behind any fragment; only an `mfra` box says that it has. But a last fragment that is
    filled up with zeros, in one that was given its full size first, has not come.
    """
    kinds: list[bytes] = []
    reached = 0
    for kind, begin, end in _walk(file, 0, file.size_bytes):
        if end is None:  # it goes up to the end of the file, wherever that will be
            return UNKNOWN if b"moov" in kinds or b"moof" in kinds else Short(None, file.size_bytes)
        if end > file.size_bytes:
            return Short(end if end < _ABSURD_BYTES else None, file.size_bytes)
        if kind == b"moov" and any(child == b"mvex" for child, _, _ in _walk(file, begin, end, known=False)):
            kinds.append(b"mvex")
        kinds.append(kind)
        reached = end
    if b"moof" in kinds or b"mvex" in kinds:
        if kinds[-1] == b"mdat" and reached - file.content_end(0) > _LONG_ZEROS_BYTES and _is_compressed(file):
            return Short(None, file.size_bytes)
        return COMPLETE if kinds[-1] == b"mfra" and reached == file.size_bytes else UNKNOWN
    if b"moov" not in kinds:
        # Without its index nobody can play it; writers add it last.
        return Short(None, file.size_bytes)
    return COMPLETE if b"mdat" in kinds and reached == file.size_bytes else UNKNOWN


def _is_compressed(file: Excerpts) -> bool:
    """Whether the head names an encoding that makes no long zeros, not even of silence."""
    head = file.at(0, _HEAD_BYTES)
    return any(name in head for name in (b"mp4a", b"Opus", b"fLaC", b"ac-3", b"ec-3"))


def _walk(file: Excerpts, place: int, stop: int, *, known: bool = True) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield type, place of the content and end of each box up to `stop`; what looks like no box ends the walk."""
    for _ in range(_MOST_BOXES):
        head = file.at(place, 16)
        if place >= stop or len(head) < 8:
            return
        size_bytes, kind = struct.unpack_from(">I4s", head)
        header_bytes = 8
        if size_bytes == 1 and len(head) == 16:
            size_bytes, header_bytes = struct.unpack_from(">Q", head, 8)[0], 16
        if known and kind not in _TOP_LEVEL:
            return
        if size_bytes == 0:
            yield kind, place + header_bytes, None
            return
        if size_bytes < header_bytes:
            return
        yield kind, place + header_bytes, place + size_bytes
        place += size_bytes
