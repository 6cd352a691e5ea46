"""The values of speech: words, segments, windows, the whole transcript.

All times are float seconds from the start of the recording. All of it is immutable; windows and what they hold
serialise to JSON, of which checkpoint lines and the engine process's messages are made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """An immutable value; unknown fields are refused, so that foreign data is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Word(Value):
    """One word with its word timestamps and the probability that the model gave it (0-1)."""

    start_s: float
    end_s: float
    text: str
    probability: float


class Segment(Value):
    """A stretch of speech with its text, and the figures by which its quality is judged.

    `no_speech_prob` (0-1), `avg_logprob` (natural logarithm) and `compression_ratio` are Whisper's
    (Radford et al. 2022, section 4.5). `speaker` is the label of the channel it was heard on, where channels are
    transcribed apart.
    """

    start_s: float
    end_s: float
    text: str
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    compression_ratio: float = 1.0
    words: tuple[Word, ...] = ()
    speaker: str | None = None


class Stretch(Value):
    """A part of the recording: [start_s, end_s)."""

    start_s: float
    end_s: float


class Window(Value):
    """The unit of work, checkpoint, progress and resume: [start_s, end_s) of the recording.

    `index` counts from 0. `speech_s` is the voice activity found, whatever text came out of it; `unheard` is where
    there was so much of it without text, even at a second look, that something must be missing.
    """

    index: int
    start_s: float
    end_s: float
    speech_s: float
    language: str | None = None
    language_probability: float | None = None
    segments: tuple[Segment, ...] = ()
    unheard: tuple[Stretch, ...] = ()

    @property
    def text(self) -> str:
        """The words alone, one space between segments."""
        return " ".join(segment.text.strip() for segment in self.segments)


@dataclass(frozen=True)
class Transcript:
    """A whole recording's windows in order, and how long it was.

    The windows of a day do not belong into memory: they may be read anew from a file each time they are gone through
    (`speech/checkpoint.py`), and what a reader of them keeps, it keeps of one window at a time. Then each of the
    properties may raise OSError, too.

    `duration_s` is what was decoded; `declared_s` what the container's header promised, if anything.
    `skipped_packets` counts the damaged packets that were left out.
    """

    duration_s: float
    declared_s: float | None
    skipped_packets: int
    windows: Collection[Window]

    @property
    def segments(self) -> Iterator[Segment]:
        """All segments in time order."""
        return (segment for window in self.windows for segment in window.segments)

    @property
    def text(self) -> str:
        """The words alone, one space between segments."""
        return " ".join(segment.text.strip() for segment in self.segments)

    @property
    def speech_s(self) -> float:
        """Seconds of voice activity found."""
        return sum(window.speech_s for window in self.windows)

    @property
    def language(self) -> str | None:
        """The language of the first window that has one."""
        return next((window.language for window in self.windows if window.language), None)

    @property
    def language_probability(self) -> float | None:
        """How sure the model was of `language` (0-1)."""
        return next((window.language_probability for window in self.windows if window.language), None)
