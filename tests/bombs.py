"""Small files that decode to days of silence, written by hand: no encoder goes this far."""

from __future__ import annotations

import struct
from pathlib import Path

from cesar_watch.intake.probe.crc import crc8, crc16, crc32

_FLAC_BLOCK = 65_535
_FLAC_RATE = 2_000
_OPUS_PACKET_S = 0.12


def silent_flac(path: Path, seconds: float) -> Path:
    """Write a FLAC that tells no length: 32 s of silence in each 16 bytes."""
    info = struct.pack(">HH", _FLAC_BLOCK, _FLAC_BLOCK) + bytes(6)
    info += (_FLAC_RATE << 44 | 15 << 36).to_bytes(8, "big") + bytes(16)
    frames = (_flac_frame(number) for number in range(int(seconds * _FLAC_RATE / _FLAC_BLOCK) + 1))
    path.write_bytes(b"fLaC\x80" + len(info).to_bytes(3, "big") + info + b"".join(frames))
    return path


def _flac_frame(number: int) -> bytes:
    """One block of one channel of 16 bits, all samples of which are 0 (RFC 9639, section 9)."""
    coded = chr(number).encode("utf-8", "surrogatepass")
    head = b"\xff\xf8\x70\x08" + coded + struct.pack(">H", _FLAC_BLOCK - 1)
    frame = head + bytes([crc8(head)]) + b"\0\0\0"
    return frame + struct.pack(">H", crc16(frame))


def silent_opus(path: Path, seconds: float) -> Path:
    """Write an Ogg Opus that says that it is short: pages of 255 packets, each 0.12 s of nothing in two bytes."""
    pages = [
        _ogg_page(0, 2, [b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 0, 48_000, 0, 0)]),
        _ogg_page(1, 0, [b"OpusTags" + struct.pack("<II", 0, 0)]),
    ]
    for number in range(int(seconds / _OPUS_PACKET_S / 255) + 1):
        pages.append(_ogg_page(2 + number, 0, [b"\xfb\x06"] * 255))
    path.write_bytes(b"".join(pages))
    return path


def _ogg_page(number: int, flags: int, packets: list[bytes]) -> bytes:
    # The position, which tells the length, hardly moves.
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, number, 1, number)
    sizes = bytes([len(packets), *map(len, packets)])
    body = b"".join(packets)
    check = crc32(head + bytes(4) + sizes + body)
    return head + struct.pack("<I", check) + sizes + body


def lying_wav(path: Path) -> Path:
    """Write a kilobyte of WAV that says that it is six days long."""
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8_000, 8_000, 1, 8)
    data = struct.pack("<4sI", b"data", 0xF000_0000) + b"\x80" * 1000
    path.write_bytes(b"RIFF" + struct.pack("<I", 0xF000_0024) + b"WAVE" + head + data)
    return path


def hollow_wav(path: Path, seconds: float) -> Path:
    """Write a WAV of unknown length that is a hole on the disk: it takes some kilobytes there."""
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8_000, 8_000, 1, 8)
    path.write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + head + b"data\xff\xff\xff\xff")
    with path.open("r+b") as stream:
        stream.truncate(44 + int(seconds * 8_000))
    return path
