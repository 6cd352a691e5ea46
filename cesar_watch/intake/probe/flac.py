"""FLAC: whether its last frame is the one that the header promises (RFC 9639, sections 8.2 and 9).

The header tells how many samples there are, and each frame which ones it holds; so the end of the file is searched
for the frame with the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from cesar_watch.intake.probe.crc import crc8, crc16
from cesar_watch.intake.probe.verdict import COMPLETE, UNKNOWN, Excerpts, Short, Verdict

_MOST_BLOCKS = 200
_SEARCHED_BYTES = 128 << 10
_MOST_SEARCHED_BYTES = 400 << 10
_MOST_HEADER_BYTES = 16
_BLOCK_SIZES = {1: 192} | {code: 576 << (code - 2) for code in range(2, 6)}
_BLOCK_SIZES |= {code: 256 << (code - 8) for code in range(8, 16)}


@dataclass(frozen=True)
class _Info:
    block_samples: int
    largest_frame_bytes: int
    total_samples: int
    first_frame_at: int


@dataclass(frozen=True)
class _Frame:
    begin: int
    first_sample: int
    end_sample: int


def flac(file: Excerpts, begin: int) -> Verdict:
    """Judge by the samples in the last frames, also where a file that was given its full size first ends in zeros."""
    info = _info(file, begin)
    if info is None or not info.total_samples:
        return UNKNOWN
    end = file.content_end(info.first_frame_at) if info.first_frame_at < file.size_bytes else file.size_bytes
    if end <= info.first_frame_at:
        return Short(None, file.size_bytes)
    searched = min(max(2 * info.largest_frame_bytes, _SEARCHED_BYTES), _MOST_SEARCHED_BYTES)
    tail_at = max(info.first_frame_at, end - searched)
    tail = file.at(tail_at, file.size_bytes - tail_at if end == file.size_bytes else end - tail_at)
    frames = [frame for frame in _frames(tail, info) if frame.end_sample <= info.total_samples]
    for frame in frames:
        if frame.end_sample == info.total_samples:
            # One that is torn, or has a tag behind it, proves nothing: neither that it is there nor that it is not.
            return COMPLETE if crc16(tail[frame.begin :]) == 0 else UNKNOWN
    # Two frames in a row are no accident of the bits, nor is one right behind the header.
    in_a_row = any(one.end_sample == other.first_sample for one, other in pairwise(frames))
    is_first = any(tail_at + frame.begin == info.first_frame_at and frame.first_sample == 0 for frame in frames)
    return Short(None, file.size_bytes) if in_a_row or is_first else UNKNOWN


def _info(file: Excerpts, begin: int) -> _Info | None:
    """Return what the header tells, with the place of the first frame; None where it is not all there."""
    place, facts = begin + 4, b""
    for _ in range(_MOST_BLOCKS):
        head = file.at(place, 4)
        if len(head) < 4:
            return None
        if head[0] & 0x7F == 0:
            facts = file.at(place + 4, 18)
        place += 4 + int.from_bytes(head[1:4], "big")
        if head[0] & 0x80:
            break
    if len(facts) < 18:
        return None
    return _Info(
        block_samples=int.from_bytes(facts[2:4], "big"),
        largest_frame_bytes=int.from_bytes(facts[7:10], "big"),
        total_samples=int.from_bytes(facts[13:18], "big") & 0xF_FFFF_FFFF,
        first_frame_at=place,
    )


def _frames(tail: bytes, info: _Info) -> Iterator[_Frame]:
    place = -1
    while (place := tail.find(b"\xff", place + 1)) >= 0:
        frame = _frame(tail[place : place + _MOST_HEADER_BYTES], place, info)
        if frame is not None:
            yield frame


def _frame(head: bytes, begin: int, info: _Info) -> _Frame | None:
    """Return the frame whose header this is; None for any other bytes."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if size_code == 0 or rate_code == 15:
        return None
    number_bytes, number = _coded(head[4:11])
    place = 4 + number_bytes
    extra = {6: 1, 7: 2}.get(size_code, 0)
    end = place + extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if not number_bytes or len(head) <= end or crc8(head[:end]) != head[end]:
        return None
    samples = _BLOCK_SIZES[size_code] if not extra else int.from_bytes(head[place : place + extra], "big") + 1
    first = number if head[1] & 1 else number * info.block_samples
    return _Frame(begin, first, first + samples)


def _coded(data: bytes) -> tuple[int, int]:
    """Return the length and value of a number coded like UTF-8, which goes up to 36 bits; length 0 if it is none."""
    if not data or data[0] & 0xC0 == 0x80 or data[0] == 0xFF:
        return 0, 0
    if data[0] < 0x80:
        return 1, data[0]
    length = 8 - (data[0] ^ 0xFF).bit_length()
    if len(data) < length or any(byte & 0xC0 != 0x80 for byte in data[1:length]):
        return 0, 0
    value = data[0] & (0x7F >> length)
    for byte in data[1:length]:
        value = value << 6 | byte & 0x3F
    return length, value
