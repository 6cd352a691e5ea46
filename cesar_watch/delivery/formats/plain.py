"""What every format takes from a transcript: who speaks, text on one line, times in whole milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cesar_watch.core.transcript import Segment


def spoken(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yield the segments that have any text."""
    return (segment for segment in segments if segment.text.strip())


def speaker_of(segment: Segment) -> str:
    """Return the speaker's label on one line; empty where speakers are not told apart."""
    return one_line(segment.speaker or "")


def label_of(speaker: str) -> str:
    """Return what is written before the words of a speaker; nothing where speakers are not told apart."""
    return f"{speaker}: " if speaker else ""


def one_line(text: str) -> str:
    """Return text with each stretch of white space, line breaks too, as one space, and none at its ends."""
    return " ".join(text.split())


def milliseconds(seconds: float) -> int:
    """Return a time of a transcript in whole milliseconds, none before the recording's beginning."""
    return max(0, round(seconds * 1000))


def clock(ms: int, decimal_mark: str) -> str:
    """Return a time as subtitles write it, "01:02:03.004"; beyond 99 hours with more digits."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal_mark}{ms:03}"
