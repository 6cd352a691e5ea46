"""Figures and names as a person reads them. Pure functions."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text of one line in which no control character is left to reach a terminal or a log."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def duration(seconds: float) -> str:
    """Return "0.4 s", "12 s", "3 min 5 s" or "2 h 4 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rough(seconds: float) -> str:
    """Return the largest unit alone: "12 s", "3 min", "5 h", "2 days"."""
    for unit, length_s in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            whole = int(seconds // length_s)
            return f"{whole} {unit}{'s' if unit == 'day' and whole > 1 else ''}"
    return f"{seconds:.0f} s"


def size(count_bytes: float) -> str:
    """Return "312 B", "4.1 MB" or "1.2 GB" (powers of 1000, as disks are sold)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < 999.5:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return "1 word" or "12 words"."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
