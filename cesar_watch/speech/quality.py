"""Judge a transcript: is it to be trusted, and where not. Values in, values out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from cesar_watch.core.transcript import Segment, Stretch, Transcript, Value, Window

MIN_AVG_LOGPROB = -1.0
MAX_COMPRESSION_RATIO = 2.4
MAX_NO_SPEECH_PROB = 0.6
"""Whisper's own limits for a failed decoding (Radford et al. 2022, section 4.5). What breaks one of the first two is
decoded again with stronger settings: a segment that still does has no better reading."""

MAX_REPEATS = 2
"""The same words in more segments than this, one after the other, are a loop, not speech."""

MIN_SPEECH_S = 3.0
"""Voice activity that must have given some text; less may be a cough or a laugh."""

REACH_S = 0.5
"""So far beyond its times a segment's text may belong: they are rounded, and words have soft ends."""

SAME_STRETCH_S = 1.0
"""Speech without text that is no further apart than this counts as one stretch."""

TOLERATED_LOSS_S = 2.0
TOLERATED_LOSS = 0.02
"""A recording may be shorter than declared by the larger of the two: encoders round, headers are padded."""

Verdict = Literal["ok", "suspect", "empty", "partial"]
Reason = Literal["no_speech", "low_confidence", "repetitive", "repeated", "speech_without_text", "missing"]


class Suspect(Value):
    """A stretch of the recording whose text should not be believed unheard."""

    start_s: float
    end_s: float
    reason: Reason


class Quality(Value):
    """The verdict for the sidecar. `empty`: no text, which is a success and no error. `partial`: cut short."""

    verdict: Verdict
    spans: tuple[Suspect, ...] = ()


def missing_s(duration_s: float, declared_s: float | None) -> float:
    """Return how much of the declared length could not be decoded; 0 where that is no more than headers err."""
    lost_s = 0.0 if declared_s is None else declared_s - duration_s
    return lost_s if lost_s > max(TOLERATED_LOSS_S, TOLERATED_LOSS * (declared_s or 0.0)) else 0.0


def judge(transcript: Transcript, *, cut_short: bool = False) -> Quality:
    """Return the verdict on a transcript, its suspect spans in time order; the last may be what is missing.

    `empty` may come with spans: where somebody spoke and nothing was understood.

    Args:
        cut_short: The file's own structure says that a part of it is missing, whatever length it declares.
    """
    lost_s = missing_s(transcript.duration_s, transcript.declared_s)
    spans = [
        *(found for segment in transcript.segments for found in _by_figures(segment)),
        *_repeated(transcript.segments),
        *(found for window in transcript.windows for found in _unheard(window)),
        *_lost(transcript.duration_s, lost_s),
    ]
    ordered = tuple(sorted(spans, key=lambda span: (span.start_s, span.end_s, span.reason)))
    if cut_short or lost_s:
        return Quality(verdict="partial", spans=ordered)
    if not any(segment.text.strip() for segment in transcript.segments):
        return Quality(verdict="empty", spans=ordered)
    return Quality(verdict="suspect" if ordered else "ok", spans=ordered)


def _lost(end_s: float, lost_s: float) -> Iterator[Suspect]:
    if lost_s:
        yield Suspect(start_s=end_s, end_s=end_s + lost_s, reason="missing")


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


def is_doubtful(segment: Segment) -> bool:
    """Whether a segment's figures break a limit that a better decoding might keep."""
    return segment.compression_ratio > MAX_COMPRESSION_RATIO or segment.avg_logprob < MIN_AVG_LOGPROB


def unheard(speech: Sequence[Stretch], segments: Iterable[Segment]) -> list[Stretch]:
    """Return where speech was found, and no text: stretches with at least `MIN_SPEECH_S` of it, in order.

    Args:
        speech: Voice activity, in order and apart.
        segments: Those of the same channel.
    """
    told = sorted((segment.start_s - REACH_S, segment.end_s + REACH_S) for segment in segments if segment.text.strip())
    stretches: list[list[Stretch]] = []
    for piece in (piece for one in speech for piece in _outside(one, told)):
        if stretches and piece.start_s - stretches[-1][-1].end_s <= SAME_STRETCH_S:
            stretches[-1].append(piece)
        else:
            stretches.append([piece])
    return [
        Stretch(start_s=pieces[0].start_s, end_s=pieces[-1].end_s)
        for pieces in stretches
        if sum(piece.end_s - piece.start_s for piece in pieces) >= MIN_SPEECH_S
    ]


def _outside(stretch: Stretch, told: Sequence[tuple[float, float]]) -> Iterator[Stretch]:
    """Yield the parts of a stretch that lie in none of the intervals, which are in order."""
    at_s = stretch.start_s
    for start_s, end_s in told:
        if at_s < min(start_s, stretch.end_s):
            yield Stretch(start_s=at_s, end_s=min(start_s, stretch.end_s))
        at_s = max(at_s, end_s)
    if at_s < stretch.end_s:
        yield Stretch(start_s=at_s, end_s=stretch.end_s)


def loops(segments: Iterable[Segment]) -> Iterator[Sequence[Segment]]:
    """Yield the runs of segments that say the same more than `MAX_REPEATS` times, one after the other."""
    for _, run in groupby(segments, key=_words):
        if len(same := list(run)) > MAX_REPEATS:
            yield same


def _repeated(segments: Iterable[Segment]) -> Iterator[Suspect]:
    """Yield where the loops are. The longest one goes through the whole recording, so none is kept."""
    for _, run in groupby(segments, key=_words):
        start_s, end_s, times = math.inf, 0.0, 0
        for segment in run:
            start_s, end_s, times = min(start_s, segment.start_s), segment.end_s, times + 1
        if times > MAX_REPEATS:
            yield Suspect(start_s=start_s, end_s=end_s, reason="repeated")


def _words(segment: Segment) -> str:
    return " ".join(segment.text.casefold().split())


def _unheard(window: Window) -> Iterator[Suspect]:
    for stretch in window.unheard:
        yield Suspect(start_s=stretch.start_s, end_s=stretch.end_s, reason="speech_without_text")
