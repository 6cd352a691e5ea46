"""Matroska and WebM: the size of the segment, which is all but the header (RFC 8794, RFC 9559)."""

from __future__ import annotations

from cesar_watch.intake.probe.verdict import UNKNOWN, Excerpts, Verdict, judge

_HEADER = 0x1A45DFA3
_SEGMENT = 0x18538067
_FILLERS = (0xEC, 0xBF)
"""Void and CRC-32, which may lie anywhere."""
_MOST_ELEMENTS = 20


def matroska(file: Excerpts) -> Verdict:
    """Judge by the segment's size; live recordings have none."""
    place = 0
    for _ in range(_MOST_ELEMENTS):
        head = file.at(place, 12)
        id_bytes, element = _number(head, marker=True)
        size_bytes, size = _number(head[id_bytes:], marker=False)
        if not id_bytes or not size_bytes or size is None:
            return UNKNOWN
        end = place + id_bytes + size_bytes + size
        if element == _SEGMENT:
            return judge(file, end)
        if element != _HEADER and element not in _FILLERS:
            return UNKNOWN
        place = end
    return UNKNOWN


def _number(data: bytes, *, marker: bool) -> tuple[int, int | None]:
    """Return a number's length in bytes, 0 where there is none, and its value; None stands for "not known".

    Args:
        marker: Keep the bit that tells the length, as it is a part of an element's name.
    """
    if not data or not data[0]:
        return 0, None
    length = 9 - data[0].bit_length()
    if len(data) < length:
        return 0, None
    value = int.from_bytes(data[:length], "big")
    if marker:
        return length, value
    ones = (1 << 7 * length) - 1
    return length, None if value & ones == ones else value & ones
