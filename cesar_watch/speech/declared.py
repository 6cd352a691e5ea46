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
        return _declared(file, container, stream)
    finally:
        file.seek(position)


def _declared(file: Readable, container: InputContainer, stream: AudioStream) -> float | None:
    name = container.format.name.split(",")[0]
    if name == "wav":
        return wav_duration(file)
    if not _is_told(name, file):
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base) or None
    # A container's length is that of its longest track, which need not be the sound.
    if container.duration and len(container.streams) == 1:
        return container.duration / _MICROSECONDS
    return None


def _is_told(name: str, file: Readable) -> bool:
    """Whether a length that FFmpeg names for a container of this kind comes from its header, and is no guess."""
    if name == "mp3":
        return has_frame_count(file)
    return name in _TRUSTED and not (name == "asf" and is_live_asf(file))


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


def has_frame_count(file: Readable) -> bool:
    """Return whether an MP3's first frame tells how many follow (Xing, Info or VBRI header).

    Without it FFmpeg divides the file's size by the first frames' bit rate: off by any factor when the
    rate varies.
    """
    file.seek(0)
    tag = file.read(10)
    skip = 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        # Four bytes of seven bits each (ID3v2.4, section 6.2).
        skip = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
    file.seek(skip)
    frame = file.read(2048)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))
