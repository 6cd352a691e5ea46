"""Cut a stream of sound into windows where nobody speaks.

A cut depends only on samples behind the window's own start, and a window's length on its index and the recording: one
that is resumed at a window's start gets the same windows as an unbroken one. Nothing here decodes or recognises.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.room import room

Sound = npt.NDArray[np.float32]

EDGE_MARGIN = SAMPLE_RATE // 2
"""Silent samples left to the next window when the widest silence ends with the window."""
SEARCHED = 60 * SAMPLE_RATE
"""So far from its end a window may be cut, at most the half of it: what lies behind is looked through twice."""
FIRST_S = 30.0
"""The first window is short, so that text and progress come soon."""
LEAST_S = 60.0


@dataclass(frozen=True)
class Span:
    """Samples [start, end) in which somebody speaks, counted from the window's start."""

    start: int
    end: int


Vad = Callable[[Sound], list[Span]]
"""Finds speech in 16 kHz mono float32 sound of shape (samples,); the spans come in order and do not overlap."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A window's sound, 16 kHz float32 of shape (channels, samples), and where in each channel somebody speaks."""

    index: int
    start_sample: int
    audio: Sound
    spans: tuple[tuple[Span, ...], ...]

    @property
    def start_s(self) -> float:
        """Where the window begins in the recording."""
        return self.start_sample / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """Where the window ends in the recording."""
        return (self.start_sample + int(self.audio.shape[1])) / SAMPLE_RATE

    @property
    def speech_s(self) -> float:
        """Seconds in which anybody speaks."""
        return sum(span.end - span.start for span in union(self.spans)) / SAMPLE_RATE


def window_length_s(index: int, window_s: float, expected_s: float | None) -> float:
    """Return how long a window may be: `window_s` in long recordings, less in short ones.

    Each window wastes half of Whisper's 30 s on average, since its last part is filled up with silence; and the last
    window keeps the others idle for half of its length. The sum is least where a window is the root of 15 s times the
    recording's length, for two at a time.
    """
    if index == 0:
        return min(FIRST_S, window_s)
    if expected_s is None:
        return window_s
    return min(window_s, max(LEAST_S, math.sqrt(15.0 * expected_s)))


def cut_windows(
    blocks: Iterable[Sound],
    *,
    length_s: Callable[[int], float],
    vad: Vad,
    first_index: int = 0,
    start_sample: int = 0,
) -> Generator[Cut, None, None]:
    """Yield windows in order and without gaps, each at most as long as `length_s` says for its index.

    Each is cut in the middle of the widest silence near its end; where speech never pauses there, hard. At most one
    window and one block are held in memory.

    Args:
        blocks: 16 kHz float32 of shape (channels, samples), always as many channels.
        first_index: The index of the first window.
        start_sample: Where in the recording the first block begins.
    """
    index, start = first_index, start_sample
    length = int(length_s(index) * SAMPLE_RATE)
    held = _Held()
    for block in blocks:
        held.add(block, length)
        # More than `length`, not exactly: so the last window is the last however the blocks fall.
        while held.samples > length:
            spans = [vad(channel[:length]) for channel in held.sound]
            end = best_cut(union(spans), length)
            # Not held here while somebody works on it.
            yield Cut(index, start, held.taken(end), tuple(_before(found, end) for found in spans))
            index += 1
            start += end
            length = int(length_s(index) * SAMPLE_RATE)
    if held.samples:
        yield Cut(index, start, held.sound, tuple(tuple(vad(channel)) for channel in held.sound))


class _Held:
    """Sound that is not in a window yet."""

    def __init__(self) -> None:
        self._room = room(1, 0)
        self.samples = 0

    @property
    def sound(self) -> Sound:
        return self._room[:, : self.samples]

    def add(self, block: Sound, length: int) -> None:
        """Take a block in, and have room for `length` samples and a little more."""
        needed = self.samples + block.shape[1]
        if needed > self._room.shape[1]:
            self._room = _copied(self.sound, block.shape[0], max(needed, length + SAMPLE_RATE))
        self._room[:, self.samples : needed] = block
        self.samples = needed

    def taken(self, end: int) -> Sound:
        """Return the sound before `end`, and go on with the rest."""
        sound = self.sound
        self.samples -= end
        self._room = _copied(sound[:, end:], len(sound), self.samples)
        return sound[:, :end]


def _copied(sound: Sound, channels: int, samples: int) -> Sound:
    """Return room for so many samples, with sound at its beginning."""
    wider = room(channels, samples)
    wider[:, : sound.shape[1]] = sound
    return wider


def best_cut(spans: Sequence[Span], length: int) -> int:
    """Return the sample to cut at: the middle of the widest silence near the end of a window, or `length`."""
    first = max(length // 2, length - SEARCHED)
    edges = [(0, 0), *((span.start, span.end) for span in spans), (length, length)]
    silences = [
        (max(before[1], first), after[0])
        for before, after in itertools.pairwise(edges)
        if after[0] > max(before[1], first)
    ]
    if not silences:
        return length
    start, end = max(silences, key=lambda silence: (silence[1] - silence[0], silence[0]))
    # Silence up to the edge likely goes on behind it, so most of it is kept; but not all: the next word
    # may begin right there, before the VAD could hear it.
    margin = EDGE_MARGIN if end == length else length
    return end - min(margin, (end - start) // 2)


def union(spans_by_channel: Iterable[Iterable[Span]]) -> list[Span]:
    """Return the stretches in which anybody speaks on any channel, in order and apart."""
    joined: list[Span] = []
    for span in sorted(itertools.chain.from_iterable(spans_by_channel), key=lambda span: span.start):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def _before(spans: Sequence[Span], end: int) -> tuple[Span, ...]:
    return tuple(Span(span.start, min(span.end, end)) for span in spans if span.start < end)
