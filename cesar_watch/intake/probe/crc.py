"""Checksums as FLAC and Ogg use them: most significant bit first, beginning with 0, nothing turned round."""

from __future__ import annotations

from functools import cache


def crc8(data: bytes) -> int:
    """Return the checksum of a FLAC frame's header (RFC 9639, section 9.1.8)."""
    return _crc(data, 8, 0x07)


def crc16(data: bytes) -> int:
    """Return the checksum of a FLAC frame (RFC 9639, section 9.3); 0 over a frame that ends with its own."""
    return _crc(data, 16, 0x8005)


def crc32(data: bytes) -> int:
    """Return the checksum of an Ogg page whose own checksum is set to 0 (RFC 3533, section 6)."""
    return _crc(data, 32, 0x04C11DB7)


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    table, mask, shift, value = _table(bits, polynomial), (1 << bits) - 1, bits - 8, 0
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> shift ^ byte]
    return value


@cache
def _table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return table
