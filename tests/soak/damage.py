"""Ways in which a recording gets damaged, by accident or on purpose. The same random numbers give the same damage."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

Damage = Callable[[Random, bytes, bytes], bytes]
"""Given random numbers, a recording and another one; returns it damaged."""

MOST_BYTES = 4_000_000
"""No input grows beyond this, however often it is put together."""

_HEAD_BYTES = 2048
_EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    1 << 63,
    (1 << 64) - 1,
)
_JUNK = (
    b"\0",
    b"\xff",
    b"OggS",
    b"RIFF",
    b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
    b"\xff\xfb\x90\x64",
    b"\x1aE\xdf\xa3",
    b"moov",
)


def damaged(random: Random, content: bytes, other: bytes) -> tuple[bytes, str]:
    """Return a recording with one to three kinds of damage, and their names."""
    names = random.choices(list(DAMAGES), k=random.choice((1, 1, 1, 2, 3)))
    for name in names:
        content = DAMAGES[name](random, content, other)[:MOST_BYTES]
    return content, "+".join(names)


def _stretch(random: Random, content: bytes) -> tuple[int, int]:
    """A place, and an end behind it: from some bytes to a third of all."""
    begin = random.randrange(len(content) + 1)
    return begin, min(len(content), begin + int(len(content) ** random.random() / random.choice((1, 1, 3))) + 1)


def _truncated(random: Random, content: bytes, other: bytes) -> bytes:
    return content[: random.choice((random.randrange(len(content) + 1), random.randrange(min(200, len(content)) + 1)))]


def _beheaded(random: Random, content: bytes, other: bytes) -> bytes:
    return content[random.randrange(len(content) + 1) :]


def _flipped(random: Random, content: bytes, within: int) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 3, 10, 100)) if changed else 0):
        changed[random.randrange(min(within, len(changed)))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _zeroed(random: Random, content: bytes, other: bytes) -> bytes:
    begin, end = _stretch(random, content)
    return content[:begin] + bytes(end - begin) + content[end:]


def _removed(random: Random, content: bytes, other: bytes) -> bytes:
    begin, end = _stretch(random, content)
    return content[:begin] + content[end:]


def _duplicated(random: Random, content: bytes, other: bytes) -> bytes:
    begin, end = _stretch(random, content)
    return content[:begin] + content[begin:end] * random.choice((2, 2, 3, 50)) + content[end:]


def _swapped(random: Random, content: bytes, other: bytes) -> bytes:
    begin, end = _stretch(random, content)
    rest = content[:begin] + content[end:]
    place = random.randrange(len(rest) + 1)
    return rest[:place] + content[begin:end] + rest[place:]


def _inserted(random: Random, content: bytes, other: bytes) -> bytes:
    place, (begin, end) = random.randrange(len(content) + 1), _stretch(random, other)
    return content[:place] + random.choice((other[begin:end], random.randbytes(end - begin))) + content[place:]


def _extreme(random: Random, content: bytes, other: bytes) -> bytes:
    """Numbers near the beginning, where headers are, or near the end, where indexes are, become extreme."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 5))):
        size = random.choice((1, 2, 4, 8))
        if len(changed) < size:
            break
        near = random.randrange(min(_HEAD_BYTES, len(changed) - size + 1))
        place = random.choice((near, near, len(changed) - size - near))
        number = random.choice(_EXTREMES) % (1 << 8 * size)
        changed[place : place + size] = number.to_bytes(size, random.choice(("little", "big")))
    return bytes(changed)


def _prefixed(random: Random, content: bytes, other: bytes) -> bytes:
    junk = random.choice(
        (random.choice(_JUNK), random.randbytes(random.randrange(5000)), bytes(random.randrange(5000)))
    )
    return junk + content


def _stitched(random: Random, content: bytes, other: bytes) -> bytes:
    """The head of one and the body of another."""
    return content[: random.randrange(min(_HEAD_BYTES, len(content)) + 1)] + other[random.randrange(len(other) + 1) :]


def _nested(random: Random, content: bytes, other: bytes) -> bytes:
    """Where four bytes spell the size of a box or chunk, another size."""
    places = [place for place in range(min(len(content) - 8, 65_536)) if content[place + 4 : place + 8].isalnum()]
    if not places:
        return content
    place, order = random.choice(places), random.choice((">I", "<I"))
    size = random.choice((0, 1, 7, 8, len(content), len(content) * 2, 0x7FFF_FFFF, 0xFFFF_FFFF))
    at = random.choice((place, place + 8))
    return content[:at] + struct.pack(order, size % (1 << 32)) + content[at + 4 :]


DAMAGES: dict[str, Damage] = {
    "truncated": _truncated,
    "beheaded": _beheaded,
    "bits flipped": lambda random, content, other: _flipped(random, content, len(content)),
    "bits flipped in the header": lambda random, content, other: _flipped(random, content, _HEAD_BYTES),
    "block zeroed": _zeroed,
    "block removed": _removed,
    "block duplicated": _duplicated,
    "blocks swapped": _swapped,
    "block inserted": _inserted,
    "numbers made extreme": _extreme,
    "sizes made extreme": _nested,
    "behind another": lambda random, content, other: other + content,
    "before another": lambda random, content, other: content + other,
    "behind junk": _prefixed,
    "head of one, body of another": _stitched,
}
