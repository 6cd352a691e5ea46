"""Turn a transcript into the bytes of an output file: plain text, subtitles, tables.

Pure: values in, bytes out. Every format is valid for an empty transcript too.
"""

from __future__ import annotations

import html
import itertools
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cesar_watch.core.config import Format
from cesar_watch.core.transcript import Segment, Transcript, Word

PARAGRAPH_PAUSE_S = 2.0
"""Silence between two segments that begins a new paragraph."""

# Two lines of 42 characters for at most 7 s are what subtitle guides (BBC, Netflix) hold readable.
LINE_CHARACTERS = 42
CUE_LINES = 2
CUE_S = 7.0


@dataclass(frozen=True)
class Cue:
    """One subtitle: what is shown from `start_ms` until `end_ms`."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def render(transcript: Transcript, fmt: Format) -> bytes:
    r"""Return the whole file in the asked format: UTF-8, lines ended by `\n`."""
    return RENDERERS[fmt](transcript).encode("utf-8", "replace")


def _txt(transcript: Transcript) -> str:
    paragraphs: list[list[str]] = []
    end_s = float("-inf")
    for segment in _spoken(transcript):
        if segment.start_s - end_s >= PARAGRAPH_PAUSE_S:
            paragraphs.append([])
        paragraphs[-1].append(_squeezed(segment.text))
        end_s = segment.end_s
    return "\n".join(" ".join(paragraph) + "\n" for paragraph in paragraphs)


def _srt(transcript: Transcript) -> str:
    return "\n".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n" + "".join(f"{x}\n" for x in cue.lines)
        for number, cue in enumerate(cues(transcript), start=1)
    )


def _vtt(transcript: Transcript) -> str:
    return "WEBVTT\n" + "".join(
        f"\n{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        + "".join(f"{html.escape(line, quote=False)}\n" for line in cue.lines)
        for cue in cues(transcript)
    )


def _tsv(transcript: Transcript) -> str:
    rows = (f"{_ms(x.start_s)}\t{_ms(x.end_s)}\t{_squeezed(x.text)}\n" for x in _spoken(transcript))
    return "start\tend\ttext\n" + "".join(rows)


def _json(transcript: Transcript) -> str:
    whole = {
        "text": transcript.text,
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "duration_s": round(transcript.duration_s, 3),
        "segments": [_segment_fields(number, segment) for number, segment in enumerate(transcript.segments)],
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


RENDERERS: dict[Format, Callable[[Transcript], str]] = {
    "txt": _txt,
    "srt": _srt,
    "vtt": _vtt,
    "json": _json,
    "tsv": _tsv,
}
"""One renderer for each format; `render` makes bytes of what it returns."""


def _segment_fields(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": number,
        "start_s": round(segment.start_s, 3),
        "end_s": round(segment.end_s, 3),
        "text": segment.text.strip(),
        "avg_logprob": round(segment.avg_logprob, 4),
        "no_speech_prob": round(segment.no_speech_prob, 4),
        "compression_ratio": round(segment.compression_ratio, 4),
        "words": [
            {
                "start_s": round(word.start_s, 3),
                "end_s": round(word.end_s, 3),
                "text": word.text,
                "probability": round(word.probability, 4),
            }
            for word in segment.words
        ],
    }


def cues(transcript: Transcript) -> list[Cue]:
    """Return the subtitles in time order: short enough to read, never empty, never overlapping."""
    drafts = [cue for segment in _spoken(transcript) for cue in _cues_of(segment)]
    apart: list[Cue] = []
    free_ms = 0
    for cue, following in itertools.zip_longest(drafts, drafts[1:]):
        start_ms = max(cue.start_ms, free_ms)
        end_ms = cue.end_ms
        if following and following.start_ms > start_ms:
            end_ms = min(end_ms, following.start_ms)
        free_ms = max(end_ms, start_ms + 1)
        apart.append(Cue(start_ms, free_ms, cue.lines))
    return apart


def _cues_of(segment: Segment) -> Iterator[Cue]:
    group: list[Word] = []
    for word in _timed_words(segment):
        if group and not _fits([*group, word]):
            yield _cue(group)
            group = []
        group.append(word)
    if group:
        yield _cue(group)


def _fits(group: list[Word]) -> bool:
    return group[-1].end_s - group[0].start_s <= CUE_S and len(_lines(group)) <= CUE_LINES


def _cue(group: list[Word]) -> Cue:
    return Cue(_ms(group[0].start_s), _ms(group[-1].end_s), tuple(_lines(group)))


def _lines(group: list[Word]) -> list[str]:
    text = _squeezed("".join(word.text for word in group))
    return textwrap.wrap(text, LINE_CHARACTERS, break_on_hyphens=False)


def _timed_words(segment: Segment) -> Iterator[Word]:
    """Yield pieces no longer than a line that join to the segment's text without a separator.

    Scripts without spaces need that: there a "word" may be a whole sentence.
    """
    joined = "".join(word.text for word in segment.words)
    if "".join(joined.split()) != "".join(segment.text.split()):
        yield from _pieces(segment.start_s, segment.end_s, segment.text)
        return
    # Words carry their own leading space, or none of them does: only the segment's text can tell.
    gap = "" if _squeezed(joined) == _squeezed(segment.text) else " "
    for word in segment.words:
        yield from _pieces(word.start_s, word.end_s, gap + word.text)


def _pieces(start_s: float, end_s: float, text: str) -> Iterator[Word]:
    """Cut at spaces, and inside what is longer than a line; time is shared out by characters."""
    text = text.rstrip()
    second_per_character = (end_s - start_s) / max(len(text), 1)
    for match in re.finditer(rf"\s*\S{{1,{LINE_CHARACTERS}}}", text):
        yield Word(
            start_s=start_s + match.start() * second_per_character,
            end_s=start_s + match.end() * second_per_character,
            text=match.group(),
            probability=1.0,
        )


def _spoken(transcript: Transcript) -> Iterator[Segment]:
    return (segment for segment in transcript.segments if segment.text.strip())


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _clock(ms: int, decimal_mark: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal_mark}{ms:03}"
