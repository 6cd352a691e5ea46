"""Cut a stream of sound into windows where nobody speaks, and keep one window ready ahead.

A cut depends only on samples behind the window's own start: a recording resumed at a window's start gets
the same windows as an unbroken one. Nothing here decodes or recognises.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from cesar_watch.speech.protocol import SAMPLE_RATE

Samples = npt.NDArray[np.float32]
T = TypeVar("T")

EDGE_MARGIN = SAMPLE_RATE // 2
"""Silent samples left to the next window when the widest silence ends with the window."""


@dataclass(frozen=True)
class Span:
    """Samples [start, end) in which somebody speaks, counted from the window's start."""

    start: int
    end: int


Vad = Callable[[Samples], list[Span]]
"""Finds speech in 16 kHz mono float32 sound; the spans come in order and do not overlap."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A window's sound, float32 mono 16 kHz, and where in it somebody speaks."""

    index: int
    start_sample: int
    audio: Samples
    spans: tuple[Span, ...]

    @property
    def start_s(self) -> float:
        """Where the window begins in the recording."""
        return self.start_sample / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """Where the window ends in the recording."""
        return (self.start_sample + len(self.audio)) / SAMPLE_RATE

    @property
    def speech_s(self) -> float:
        """Seconds of voice activity."""
        return sum(span.end - span.start for span in self.spans) / SAMPLE_RATE


def cut_windows(
    blocks: Iterable[Samples], *, window_s: float, vad: Vad, first_index: int = 0, start_sample: int = 0
) -> Generator[Cut, None, None]:
    """Yield windows of at most `window_s`, in order and without gaps.

    Each is cut in the middle of the widest silence of its second half; where speech never pauses there,
    at `window_s`. At most one window and one block are held in memory.

    Args:
        first_index: The index of the first window.
        start_sample: Where in the recording the first block begins.
    """
    length = int(window_s * SAMPLE_RATE)
    pieces: list[Samples] = []
    held = 0
    for block in blocks:
        pieces.append(block)
        held += len(block)
        # More than `length`, not exactly: so the last window is the last however the blocks fall.
        while held > length:
            audio = np.concatenate(pieces)
            spans = vad(audio[:length])
            end = best_cut(spans, length)
            yield Cut(first_index, start_sample, audio[:end].copy(), _before(spans, end))
            pieces = [audio[end:].copy()]
            held -= end
            first_index += 1
            start_sample += end
    if held:
        audio = np.concatenate(pieces)
        yield Cut(first_index, start_sample, audio, tuple(vad(audio)))


def best_cut(spans: list[Span], length: int) -> int:
    """Return the sample to cut at: the middle of the widest silence in the second half, or `length`."""
    half = length // 2
    edges = [(0, 0), *((span.start, span.end) for span in spans), (length, length)]
    silences = [
        (max(before[1], half), after[0])
        for before, after in itertools.pairwise(edges)
        if after[0] > max(before[1], half)
    ]
    if not silences:
        return length
    start, end = max(silences, key=lambda silence: (silence[1] - silence[0], silence[0]))
    # Silence up to the edge likely goes on behind it, so most of it is kept; but not all: the next word
    # may begin right there, before the VAD could hear it.
    margin = EDGE_MARGIN if end == length else length
    return end - min(margin, (end - start) // 2)


def _before(spans: list[Span], end: int) -> tuple[Span, ...]:
    return tuple(Span(span.start, min(span.end, end)) for span in spans if span.start < end)


class Ahead(Generic[T]):
    """Run a generator in a thread of its own, one item ahead of whoever iterates over this.

    Use it as a context manager: on leaving, the thread has ended and the generator is closed. What the
    generator raises comes out of the iteration.
    """

    def __init__(self, source: Generator[T, None, None]) -> None:
        self._source = source
        self._results: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
        self._wanted = threading.Semaphore(1)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._wanted.release()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while (result := self._results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            self._wanted.release()
            yield result[0]

    def _run(self) -> None:
        try:
            self._wanted.acquire()
            while not self._closed:
                self._results.put((next(self._source),))
                self._wanted.acquire()
        except StopIteration:
            self._results.put(None)
        except BaseException as fault:
            self._results.put(fault)
        finally:
            self._source.close()
