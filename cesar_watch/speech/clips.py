"""The speech of one channel in a window, as the model is given it, and its answers in times of the recording.

Long silences are left out, since Whisper invents text for them. Engine side only; nothing here asks the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from faster_whisper.transcribe import Segment as RawSegment
from faster_whisper.transcribe import restore_speech_timestamps

from cesar_watch.core.transcript import Segment, Stretch, Word
from cesar_watch.speech.protocol import SAMPLE_RATE
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

    `sound` is what the model hears, 16 kHz mono float32 of shape (samples,): the stretches `kept`, padded spans joined
    over short silences, one behind the other. `start_s` and `end_s` are the window's edges in the recording; from the
    first of them spans and stretches are counted.
    """

    sound: Sound
    kept: tuple[Span, ...]
    spans: tuple[Span, ...]
    start_s: float
    end_s: float

    @classmethod
    def around(cls, audio: Sound, spans: Sequence[Span], start_s: float) -> Clips:
        """Return the speech of a channel. Its silences are closed up where they lie: `audio` is used up."""
        kept = join_spans(spans, len(audio))
        end_s = start_s + len(audio) / SAMPLE_RATE
        return cls(_closed_up(audio, kept), tuple(kept), tuple(spans), start_s, end_s)

    @classmethod
    def of(cls, cut: Cut) -> list[tuple[int, Clips]]:
        """Return the channels of a window in which somebody speaks, each with its number from 0; it is used up."""
        channels = enumerate(zip(cut.audio, cut.spans, strict=True))
        return [(number, cls.around(audio, spans, cut.start_s)) for number, (audio, spans) in channels if spans]

    @property
    def speech(self) -> list[Stretch]:
        """Where somebody speaks, in times of the recording."""
        return [
            Stretch(start_s=self.start_s + span.start / SAMPLE_RATE, end_s=self.start_s + span.end / SAMPLE_RATE)
            for span in self.spans
        ]

    def part(self, stretch: Stretch) -> Clips:
        """Return the sound of a stretch of speech, padded, as one span."""
        first, last = (round((at_s - self.start_s) * SAMPLE_RATE) for at_s in (stretch.start_s, stretch.end_s))
        before, kept = next((at, kept) for at, kept in self._places() if first < kept.end)
        start, end = max(kept.start, first - PADDING), min(kept.end, last + PADDING)
        whole = Span(0, end - start)
        sound = self.sound[before + start - kept.start : before + end - kept.start]
        start_s = self.start_s + start / SAMPLE_RATE
        return Clips(sound, (whole,), (whole,), start_s, start_s + len(sound) / SAMPLE_RATE)

    def _places(self) -> Iterator[tuple[int, Span]]:
        """Yield the stretches, each with where in `sound` it begins."""
        at = 0
        for kept in self.kept:
            yield at, kept
            at += kept.end - kept.start

    def chunks(self) -> list[Span]:
        """Return `sound` in pieces of at most 30 s, cut between spans of speech where that can be."""
        edges = [0]
        for end in self._ends():
            while end - edges[-1] > CHUNK:
                edges.append(_last_pause(self.sound, edges[-1]))
            edges.append(end)
        return _fewest(edges)

    def _ends(self) -> Iterator[int]:
        """Yield where in `sound` each span of speech, with the silence behind it, ends."""
        for before, kept in self._places():
            inside = [span for span in self.spans if kept.start <= span.start < kept.end]
            for span, following in itertools.pairwise(inside):
                yield before - kept.start + (span.end + following.start) // 2
            yield before + kept.end - kept.start

    def restored(self, raw: Iterable[RawSegment]) -> Iterator[Segment]:
        """Yield the model's answers about `sound` as segments of the recording; those without text are left out."""
        chunks = [{"start": span.start, "end": span.end} for span in self.kept]
        for segment in restore_speech_timestamps(raw, chunks, SAMPLE_RATE):
            if segment.text.strip():
                yield _segment(segment, self.start_s, self.end_s)


def _closed_up(audio: Sound, kept: Iterable[Span]) -> Sound:
    """Return the stretches one behind the other, moved there in small pieces: a copy of a window is large."""
    at = 0
    for span in kept:
        for start in range(span.start, span.end, SAMPLE_RATE):
            piece = audio[start : min(start + SAMPLE_RATE, span.end)]
            audio[at : at + len(piece)] = piece
            at += len(piece)
    return audio[:at]


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
