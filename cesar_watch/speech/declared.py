"""How long a recording says it is, where that can be believed.

FFmpeg always names a length, but for many files it is a guess from the bit rate, or is quietly cut to
what is left of the file. A guess would fail good recordings, and a cut one hides exactly the loss that
the check is for. So: only headers that were written by somebody who knew.
"""

from __future__ import annotations

import os
import struct
from typing import Protocol

from av.audio.stream import AudioStream
from av.container import InputContainer

from cesar_watch.core.riff import is_placeholder

_TRUSTED = ("matroska", "mov", "flac", "ogg", "aiff", "w64", "asf")
"""Containers that store a length. Not: aac, amr, ac3, mpeg (guessed from the bit rate), flv and avi
(written by live encoders before they knew), au (often -1)."""

_MICROSECONDS = 1_000_000

_CONSTANT_RATE = (1, 3, 6, 7, 0xFFFE)
"""WAV encodings whose seconds have a fixed size: PCM, float, A-law, mu-law, extensible (PCM again)."""

_MP3_RATES = {
    (version, index): rate // divisor
    for version, divisor in ((3, 1), (2, 2), (0, 4))
    for index, rate in enumerate((44_100, 48_000, 32_000))
}
"""Hz, by the version and the index in a frame's header (ISO/IEC 11172-3, 2.4.2.3; ISO/IEC 13818-3, 2.4.2.3)."""

_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEAD_BYTES = 1 << 16


class Readable(Protocol):
    """A seekable binary file."""

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        ...

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset`."""
        ...

    def tell(self) -> int:
        """Return the position."""
        ...


def declared_duration(file: Readable, container: InputContainer, stream: AudioStream) -> float | None:
    """Return the seconds that the header promises for the sound, or None if it does not know.

    The file's position is left as it was.
    """
    position = file.tell()
    try:
        declared_s = _declared(file, container, stream)
    finally:
        file.seek(position)
    # Of a damaged header FFmpeg makes lengths below zero, too.
    return declared_s if declared_s and declared_s > 0 else None


def expected_duration(container: InputContainer) -> float | None:
    """Return FFmpeg's guess at the seconds of a recording: good enough to show how far the work is."""
    return container.duration / _MICROSECONDS if container.duration and container.duration > 0 else None


def _declared(file: Readable, container: InputContainer, stream: AudioStream) -> float | None:
    name = container.format.name.split(",")[0]
    if name in _OWN:
        return _OWN[name](file)
    if name not in _TRUSTED or (name == "asf" and is_live_asf(file)):
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # A container's length is that of its longest track, which need not be the sound.
    if container.duration and len(container.streams) == 1:
        return container.duration / _MICROSECONDS
    return None


def wav_duration(file: Readable) -> float | None:
    """Return the length in a RIFF header, which FFmpeg would cut down to the file's own size.

    None where a recorder did not know it, or the data is compressed and the header's rate an average.
    """
    file.seek(0)
    if file.read(12)[:4] != b"RIFF":
        return None
    bytes_per_s = 0
    for _ in range(64):
        header = file.read(8)
        if len(header) < 8:
            return None
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        if name == b"data":
            unknown = not bytes_per_s or is_placeholder(size)
            return None if unknown else size / bytes_per_s
        chunk_end = file.tell() + size + size % 2
        if name == b"fmt ":
            encoding, _, _, rate = struct.unpack("<HHII", file.read(12).ljust(12, b"\0"))
            bytes_per_s = rate if encoding in _CONSTANT_RATE else 0
        file.seek(chunk_end)
    return None


def is_live_asf(file: Readable) -> bool:
    """Return whether an ASF was sent before its length was known; FFmpeg then divides its size by a bit rate.

    That is what the broadcast flag of its File Properties Object says (Microsoft, "Advanced Systems Format", 3.2).
    """
    file.seek(0)
    head = file.read(_ASF_HEAD_BYTES)
    flags_at = head.find(_ASF_FILE_PROPERTIES) + 88
    return flags_at < 88 or not head[flags_at:] or bool(head[flags_at] & 1)


def mp3_duration(file: Readable) -> float | None:
    """Return the length that an MP3's first frame tells in its Xing, Info or VBRI header; None without one.

    FFmpeg divides the file's size by a bit rate where there is none, and also where the file is longer than the header
    says: two recordings, one put behind the other, come out off by any factor.
    """
    frame = _first_mp3_frame(file)
    rate = _MP3_RATES.get((frame[1] >> 3 & 3, frame[2] >> 2 & 3)) if frame[:1] == b"\xff" else None
    frames = _told_frames(frame)
    return frames * (1152 if rate > 24_000 else 576) / rate if rate and frames else None


def _first_mp3_frame(file: Readable) -> bytes:
    file.seek(0)
    tag = file.read(10)
    skip = 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        # Four bytes of seven bits each (ID3v2.4, section 6.2).
        skip = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
    file.seek(skip)
    return file.read(2048).ljust(4, b"\0")


def _told_frames(frame: bytes) -> int:
    """Return the number of frames that a header in the first of them tells, or 0."""
    for mark in (b"Xing", b"Info"):
        place = frame.find(mark)
        if place >= 0 and int.from_bytes(frame[place + 4 : place + 8], "big") & 1:
            return int.from_bytes(frame[place + 8 : place + 12], "big")
    place = frame.find(b"VBRI")
    return int.from_bytes(frame[place + 14 : place + 18], "big") if place >= 0 else 0


_OWN = {"wav": wav_duration, "mp3": mp3_duration}
"""Containers whose headers FFmpeg does not take at their word."""
