"""Containers whose parts tell their sizes in 64 bits: Wave64, CAF, ASF (WMA, WMV); and Sun's AU, of one part.

Wave64: "Sony Pictures Digital Wave 64", 2003; CAF: Apple, "Core Audio Format Specification 1.0"; ASF: Microsoft,
"Advanced Systems Format", revision 01.20.03, section 2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cesar_watch.core.riff import is_placeholder
from cesar_watch.intake.probe.verdict import COMPLETE, UNKNOWN, Excerpts, Short, Verdict, judge

W64_MAGIC = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"
ASF_MAGIC = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a"
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_GUID_HEADER_BYTES = 24
_W64_HEADER_BYTES = 40
_ASF_NO_PACKETS_BYTES = 50
"""The data object of a live recording is as long as this, its own header."""
_CAF_HEADER_BYTES = 8
_MOST_PARTS = 500
_ABSURD_BYTES = 1 << 50


def w64(file: Excerpts) -> Verdict:
    """Judge a Wave64 by its `data` chunk."""
    return _by_data(file, _guids(file, _W64_HEADER_BYTES, aligned_to=8), _W64_DATA, _GUID_HEADER_BYTES)


def asf(file: Excerpts) -> Verdict:
    """Judge an ASF by its data object; that of a live recording has no size."""
    return _by_data(file, _guids(file, 0, aligned_to=1), _ASF_DATA, _ASF_NO_PACKETS_BYTES)


def caf(file: Excerpts) -> Verdict:
    """Judge a CAF by its `data` chunk, whose size is -1 while it is being recorded."""
    return _by_data(file, _caf_chunks(file), b"data", 0)


def au(file: Excerpts) -> Verdict:
    """Judge an AU by the size of its sound, which has to be the whole rest."""
    _, begin, sound_bytes = struct.unpack(">4sII", file.at(0, 12))
    return UNKNOWN if is_placeholder(sound_bytes) else judge(file, begin + sound_bytes)


Part = tuple[bytes, int, int]
"""Its name, its size as its header counts, and where it ends."""


def _by_data(file: Excerpts, parts: Iterator[Part], data: bytes, least_bytes: int) -> Verdict:
    """Judge by the part with the sound, and by what comes behind it.

    Args:
        least_bytes: A data part that says that it is not longer than this, does not know.
    """
    is_sound_there, reached = False, 0
    for name, size_bytes, end in parts:
        if name == data and not least_bytes < size_bytes < _ABSURD_BYTES:
            return UNKNOWN
        # Behind the sound some writers only miscount; before it, a part that is cut off leaves no sound at all.
        if end > file.size_bytes and not is_sound_there:
            return Short(end, file.size_bytes) if end < _ABSURD_BYTES else UNKNOWN
        is_sound_there, reached = is_sound_there or name == data, end
    return COMPLETE if is_sound_there and reached == file.size_bytes else UNKNOWN


def _guids(file: Excerpts, place: int, *, aligned_to: int) -> Iterator[Part]:
    for _ in range(_MOST_PARTS):
        head = file.at(place, _GUID_HEADER_BYTES)
        if len(head) < _GUID_HEADER_BYTES:
            return
        name, size_bytes = struct.unpack("<16sQ", head)
        yield name, size_bytes, place + size_bytes
        if size_bytes < _GUID_HEADER_BYTES:
            return
        place += size_bytes + -size_bytes % aligned_to


def _caf_chunks(file: Excerpts) -> Iterator[Part]:
    place = _CAF_HEADER_BYTES
    for _ in range(_MOST_PARTS):
        head = file.at(place, 12)
        if len(head) < 12:
            return
        name, size_bytes = struct.unpack(">4sq", head)
        yield name, size_bytes, place + 12 + size_bytes
        if size_bytes < 0:
            return
        place += 12 + size_bytes
