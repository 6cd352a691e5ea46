"""What a RIFF header tells of a size that its writer did not know yet; asked by intake and speech alike."""

from __future__ import annotations

_PLACEHOLDERS = (range(1), range(0x7FFF_0000, 0x8001_0000), range(0xFFFF_0000, 0x1_0000_0000))
"""What recorders and pipes write into a WAV before they know; arecord and sox take about 2 GB."""


def is_placeholder(size_bytes: int) -> bool:
    """Return whether a 32-bit chunk size stands for "not known"."""
    return any(size_bytes in sizes for sizes in _PLACEHOLDERS)
