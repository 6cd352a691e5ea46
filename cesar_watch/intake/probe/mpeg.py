"""MP3: the Xing, Info or VBRI header in its first frame, where there is one.

ID3v2.4, section 3.1; ISO/IEC 11172-3, section 2.4.1; the headers as Xing, LAME and Fraunhofer write them.
"""

from __future__ import annotations

import struct

from cesar_watch.intake.probe.verdict import COMPLETE, UNKNOWN, Excerpts, Short, Verdict

TOLERATED_BYTES = 4096
"""Encoders disagree on which of the first and last frames count."""
_MOST_TAGS = 8
_LAYER_3 = 1
_MONO = 3


def skip_tags(file: Excerpts) -> int:
    """Return where the ID3v2 tags at the beginning end; it may be beyond the file's end."""
    place = 0
    for _ in range(_MOST_TAGS):
        tag = file.at(place, 10)
        if tag[:3] != b"ID3" or len(tag) < 10:
            break
        size_bytes = sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
        place += 10 + size_bytes + (10 if tag[5] & 0x10 else 0)
    return place


def mp3(file: Excerpts, begin: int) -> Verdict:
    """Judge by the byte count behind the tags, if the first frame tells one.

    An editor that cut an MP3 and kept the old header made a file that can't be told from a broken copy.
    """
    frame = file.at(begin, 256)
    sound_bytes = _told_bytes(frame) if _is_layer_3(frame) else None
    if not sound_bytes:
        return UNKNOWN
    end = begin + sound_bytes
    if file.size_bytes >= end:
        return COMPLETE
    return Short(end, file.size_bytes) if file.size_bytes + TOLERATED_BYTES < end else UNKNOWN


def _is_layer_3(frame: bytes) -> bool:
    return len(frame) >= 4 and frame[0] == 0xFF and frame[1] & 0xE0 == 0xE0 and frame[1] >> 1 & 3 == _LAYER_3


def _told_bytes(frame: bytes) -> int | None:
    is_mpeg_1, is_mono = frame[1] >> 3 & 3 == 3, frame[3] >> 6 == _MONO
    side_bytes = (17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17)
    for place in (4 + side_bytes, 6 + side_bytes):  # behind a checksum, where there is one
        if frame[place : place + 4] in (b"Xing", b"Info"):
            (flags,) = struct.unpack_from(">I", frame, place + 4)
            told = place + 8 + (4 if flags & 1 else 0)
            return int(struct.unpack_from(">I", frame, told)[0]) if flags & 2 else None
    if frame[36:40] == b"VBRI":
        return int(struct.unpack_from(">I", frame, 46)[0])
    return None
