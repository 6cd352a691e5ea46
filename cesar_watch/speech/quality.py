"""Judge a transcript: is it to be trusted, and where not. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from cesar_watch.core.transcript import Segment, Transcript, Value, Window

MIN_AVG_LOGPROB = -1.0
MAX_COMPRESSION_RATIO = 2.4
MAX_NO_SPEECH_PROB = 0.6
"""Whisper's own limits for a failed decoding (Radford et al. 2022, section 4.5), which it retries at
higher temperatures: a segment that still breaks one has no better reading."""

MAX_REPEATS = 2
"""The same words in more segments than this, one after the other, are a loop, not speech."""

MIN_SPEECH_S = 3.0
"""Voice activity in a window that must have given some text; less may be a cough or a laugh."""

Verdict = Literal["ok", "suspect", "empty"]
Reason = Literal["no_speech", "low_confidence", "repetitive", "repeated", "speech_without_text"]


class Suspect(Value):
    """A stretch of the recording whose text should not be believed unheard."""

    start_s: float
    end_s: float
    reason: Reason


class Quality(Value):
    """The verdict for the sidecar. `empty`: no text, which is a success and no error."""

    verdict: Verdict
    spans: tuple[Suspect, ...] = ()


def judge(transcript: Transcript) -> Quality:
    """Return the verdict on a transcript, its suspect spans in time order.

    `empty` may come with spans: where somebody spoke and nothing was understood.
    """
    spans = [
        *(found for segment in transcript.segments for found in _by_figures(segment)),
        *_repeated(list(transcript.segments)),
        *(found for window in transcript.windows for found in _unheard(window)),
    ]
    ordered = tuple(sorted(spans, key=lambda span: (span.start_s, span.end_s, span.reason)))
    if not transcript.text.strip():
        return Quality(verdict="empty", spans=ordered)
    return Quality(verdict="suspect" if ordered else "ok", spans=ordered)


def _by_figures(segment: Segment) -> Iterator[Suspect]:
    reason: Reason
    # The most telling one only: a loop compresses well, and may be confident.
    if segment.compression_ratio > MAX_COMPRESSION_RATIO:
        reason = "repetitive"
    elif segment.no_speech_prob > MAX_NO_SPEECH_PROB:
        reason = "no_speech"
    elif segment.avg_logprob < MIN_AVG_LOGPROB:
        reason = "low_confidence"
    else:
        return
    yield Suspect(start_s=segment.start_s, end_s=segment.end_s, reason=reason)


def _repeated(segments: Sequence[Segment]) -> Iterator[Suspect]:
    first = 0
    for index in range(1, len(segments) + 1):
        if index < len(segments) and _words(segments[index]) == _words(segments[first]):
            continue
        if index - first > MAX_REPEATS:
            yield Suspect(start_s=segments[first].start_s, end_s=segments[index - 1].end_s, reason="repeated")
        first = index


def _words(segment: Segment) -> str:
    return " ".join(segment.text.casefold().split())


def _unheard(window: Window) -> Iterator[Suspect]:
    if window.speech_s >= MIN_SPEECH_S and not any(segment.text.strip() for segment in window.segments):
        yield Suspect(start_s=window.start_s, end_s=window.end_s, reason="speech_without_text")
