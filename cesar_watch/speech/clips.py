"""The speech of one channel in a window, as the model is given it, and its answers in times of the recording.

Long silences are left out, since Whisper invents text for them. Engine side only; nothing here asks the model.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from faster_whisper.transcribe import Segment as RawSegment
from faster_whisper.transcribe import restore_speech_timestamps

from cesar_watch.core.transcript import Segment, Stretch, Word
from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.room import room
from cesar_watch.speech.windows import Cut, Sound, Span

PADDING = int(0.4 * SAMPLE_RATE)
"""Sound kept on either side of speech, so that no onset is lost (faster-whisper's own figure)."""
KEPT_SILENCE = int(2.0 * SAMPLE_RATE)
"""Shorter pauses stay in the sound: Whisper reads sentence ends from them (faster-whisper's figure)."""
CHUNK = 30 * SAMPLE_RATE
"""What Whisper hears at a time."""
QUIET = SAMPLE_RATE // 10
"""Speech that goes on for longer than a chunk is cut in the quietest stretch of this length ..."""
SEARCHED = 5 * SAMPLE_RATE
"""... so far before the chunk's end."""


@dataclass(frozen=True, eq=False)
class Clips:
    """One channel of a window, at least one span of speech in it.

    `audio` is 16 kHz mono float32 of shape (samples,); `start_s` is where it begins in the recording.
    """

    audio: Sound
    spans: tuple[Span, ...]
    start_s: float

    @classmethod
    def of(cls, cut: Cut) -> list[tuple[int, Clips]]:
        """Return the channels of a window in which somebody speaks, each with its number from 0."""
        channels = enumerate(zip(cut.audio, cut.spans, strict=True))
        return [(number, cls(audio, spans, cut.start_s)) for number, (audio, spans) in channels if spans]

    @property
    def end_s(self) -> float:
        """Where the sound ends in the recording."""
        return self.start_s + len(self.audio) / SAMPLE_RATE

    @functools.cached_property
    def kept(self) -> list[Span]:
        """The stretches of sound that the model hears: padded spans, joined over short silences."""
        return join_spans(self.spans, len(self.audio))

    @property
    def sound(self) -> Sound:
        """What the model hears, one stretch behind the other; put together each time, since it is large."""
        pieces = [self.audio[span.start : span.end] for span in self.kept]
        return np.concatenate(pieces, out=room(1, sum(len(piece) for piece in pieces))[0])

    @property
    def speech(self) -> list[Stretch]:
        """Where somebody speaks, in times of the recording."""
        return [
            Stretch(start_s=self.start_s + span.start / SAMPLE_RATE, end_s=self.start_s + span.end / SAMPLE_RATE)
            for span in self.spans
        ]

    def part(self, stretch: Stretch) -> Clips:
        """Return the sound of a stretch of the recording, padded, as one span."""
        first, last = (round((at_s - self.start_s) * SAMPLE_RATE) for at_s in (stretch.start_s, stretch.end_s))
        start, end = max(0, first - PADDING), min(len(self.audio), last + PADDING)
        return Clips(self.audio[start:end], (Span(0, end - start),), self.start_s + start / SAMPLE_RATE)

    def chunks(self) -> list[Span]:
        """Return `sound` in pieces of at most 30 s, cut between spans of speech where that can be."""
        sound = self.sound
        edges = [0]
        for end in self._ends():
            while end - edges[-1] > CHUNK:
                edges.append(_last_pause(sound, edges[-1]))
            edges.append(end)
        return _fewest(edges)

    def _ends(self) -> Iterator[int]:
        """Yield where in `sound` each span of speech, with the silence behind it, ends."""
        before = 0
        for kept in self.kept:
            inside = [span for span in self.spans if kept.start <= span.start < kept.end]
            for span, following in itertools.pairwise(inside):
                yield before - kept.start + (span.end + following.start) // 2
            before += kept.end - kept.start
            yield before

    def restored(self, raw: Iterable[RawSegment]) -> Iterator[Segment]:
        """Yield the model's answers about `sound` as segments of the recording; those without text are left out."""
        chunks = [{"start": span.start, "end": span.end} for span in self.kept]
        for segment in restore_speech_timestamps(raw, chunks, SAMPLE_RATE):
            if segment.text.strip():
                yield _segment(segment, self.start_s, self.end_s)


def _last_pause(sound: Sound, start: int) -> int:
    """Return where to cut speech that goes on for longer than a chunk from `start` on."""
    first = start + CHUNK - SEARCHED
    searched = sound[first : start + CHUNK]
    loudness = np.square(searched).reshape(-1, QUIET).sum(axis=1)
    return first + int(loudness.argmin()) * QUIET + QUIET // 2


def join_spans(spans: Sequence[Span], length: int) -> list[Span]:
    """Return padded spans, joined over short silences, inside of `length` samples."""
    joined: list[Span] = []
    for span in spans:
        padded = Span(max(0, span.start - PADDING), min(length, span.end + PADDING))
        if joined and span.start - joined[-1].end < KEPT_SILENCE - PADDING:
            joined[-1] = Span(joined[-1].start, padded.end)
        else:
            joined.append(padded)
    return joined


def _fewest(edges: Sequence[int]) -> list[Span]:
    """Return the fewest pieces between edges, which are no further apart than a chunk, that are no longer than one."""
    pieces: list[Span] = []
    for start, end in itertools.pairwise(edges):
        if pieces and end - pieces[-1].start <= CHUNK:
            pieces[-1] = Span(pieces[-1].start, end)
        else:
            pieces.append(Span(start, end))
    return pieces


def _segment(raw: RawSegment, start_s: float, end_s: float) -> Segment:
    """Return a segment with its text stripped, none of its times outside [start_s, end_s]; words keep their space."""

    def place(time_s: float) -> float:
        return round(min(max(start_s + float(time_s), start_s), end_s), 3)

    words = tuple(
        Word(
            start_s=place(word.start),
            end_s=max(place(word.start), place(word.end)),
            text=word.word,
            probability=float(word.probability),
        )
        for word in raw.words or ()
    )
    return Segment(
        start_s=place(raw.start),
        end_s=max(place(raw.start), place(raw.end)),
        text=raw.text.strip(),
        avg_logprob=float(raw.avg_logprob),
        no_speech_prob=float(raw.no_speech_prob),
        compression_ratio=float(raw.compression_ratio),
        words=words,
    )
