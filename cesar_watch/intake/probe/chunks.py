"""WAV (RIFF, RF64, BW64) and AIFF: chunks of name and size, one of which holds the sound.

RIFF: Microsoft's "Multimedia Programming Interface" 1991; RF64: EBU Tech 3306; AIFF: Apple, "AIFF-C draft 08/26/91".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cesar_watch.core.riff import is_placeholder
from cesar_watch.intake.probe.verdict import COMPLETE, UNKNOWN, Excerpts, Short, Verdict

_MOST_CHUNKS = 500
_SIZE_IN_DS64 = 0xFFFF_FFFF


def wav(file: Excerpts) -> Verdict:
    """Judge a WAV by its `data` chunk; where its writer did not know the size, nothing is proven."""
    head = file.at(0, 12)
    in_ds64 = head[:4] in (b"RF64", b"BW64")
    whole_bytes = _known(struct.unpack_from("<I", head, 4)[0])
    data64_bytes: int | None = None
    for name, begin, size_bytes in _walk(file, "<4sI"):
        if name == b"ds64" and in_ds64:
            riff_bytes, data64_bytes = struct.unpack("<QQ", file.at(begin, 16))
            whole_bytes = riff_bytes or None
        elif name == b"data":
            if in_ds64 and size_bytes == _SIZE_IN_DS64:
                return _sound(file, begin, data64_bytes or None, whole_bytes)
            return _sound(file, begin, _known(size_bytes), whole_bytes)
    return _without_sound(file, whole_bytes)


def aiff(file: Excerpts) -> Verdict:
    """Judge an AIFF or AIFF-C by its `SSND` chunk."""
    whole_bytes = _known(struct.unpack_from(">I", file.at(0, 12), 4)[0])
    for name, begin, size_bytes in _walk(file, ">4sI"):
        if name == b"SSND":
            return _sound(file, begin, _known(size_bytes), whole_bytes)
    return _without_sound(file, whole_bytes)


def _walk(file: Excerpts, header: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place of the content, and size of each chunk whose header is there."""
    place = 12
    for _ in range(_MOST_CHUNKS):
        found = file.at(place, 8)
        if len(found) < 8:
            return
        name, size_bytes = struct.unpack(header, found)
        yield name, place + 8, size_bytes
        place += 8 + size_bytes + size_bytes % 2


def _known(size_bytes: int) -> int | None:
    return None if is_placeholder(size_bytes) else size_bytes


def _sound(file: Excerpts, begin: int, sound_bytes: int | None, whole_bytes: int | None) -> Verdict:
    if sound_bytes is None:
        return UNKNOWN
    if file.size_bytes < begin + sound_bytes:
        return Short(begin + sound_bytes, file.size_bytes)
    # Notes that belong behind the sound may still be on their way, but some writers only miscount them.
    return COMPLETE if whole_bytes is not None and file.size_bytes == whole_bytes + 8 else UNKNOWN


def _without_sound(file: Excerpts, whole_bytes: int | None) -> Verdict:
    """The chunk with the sound has not come: the file is short if it says that it is longer."""
    if whole_bytes is None or file.size_bytes >= whole_bytes + 8:
        return UNKNOWN
    return Short(whole_bytes + 8, file.size_bytes)
