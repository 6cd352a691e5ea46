"""What the model makes of one channel in a window: a first pass, and a second look where that can't be all.

Engine side only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from faster_whisper import BatchedInferencePipeline
from faster_whisper.transcribe import Segment as RawSegment

from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Segment, Stretch
from cesar_watch.speech.clips import Clips
from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.quality import is_doubtful, loops, unheard
from cesar_watch.speech.whisper import Whisper, stronger

Told = Callable[[float], None]
"""Takes up to where in the recording everything has been heard, in seconds; may raise to end the work."""


class Listener:
    """Hears sound in one language, with one recording's options.

    Args:
        context: The text before, shown to the model in place of `initial_prompt` where the options say so.
        told: Called before each 30 s of sound.
    """

    def __init__(self, model: Whisper, options: EngineSettings, language: str, context: str, told: Told) -> None:
        self._model = model
        self._options = options
        self._told = told
        context = context if options.condition_on_previous_text else ""
        self._asked: dict[str, Any] = {
            "language": language,
            "task": options.task,
            "beam_size": options.beam_size,
            "initial_prompt": context or options.initial_prompt,
            "hotwords": options.hotwords,
            "word_timestamps": options.word_timestamps,
            "temperature": [0.0],
        }

    def hear(self, clips: Clips) -> tuple[list[Segment], list[Stretch]]:
        """Return the segments in the order of time, and where somebody speaks who could not be understood.

        Speech without text, which batches are known to lose (SYSTRAN/faster-whisper#1179), and text that
        its own context may have led in circles are decoded again, alone and with stronger settings, where somebody
        speaks for long enough (`quality.unheard`).
        """
        first = self._first(clips)
        doubtful = self._doubtful(first)
        trusted = [segment for segment in first if segment not in doubtful]
        stretches = unheard(clips.speech, trusted)
        again = [found for stretch in stretches for found in self._again(clips.part(stretch), clips.end_s)]
        again = [found for found in again if not is_doubtful(found) or not _any_beside(found, doubtful)]
        left = [segment for segment in doubtful if not _any_beside(segment, again)]
        segments = sorted([*trusted, *again, *left], key=lambda segment: segment.start_s)
        return segments, unheard(clips.speech, segments)

    def _doubtful(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return what another decoding may make better: nothing of what had a second try at once, and no context."""
        doubtful: list[Segment] = []
        if self._options.condition_on_previous_text:
            doubtful += itertools.chain.from_iterable(loops(segments))
        if self._options.batch_size > 1:
            doubtful += [segment for segment in segments if is_doubtful(segment) and segment not in doubtful]
        return doubtful

    def _first(self, clips: Clips) -> list[Segment]:
        """Return what a first pass gives, telling how far it is."""
        segments: list[Segment] = []
        with self._model.interrupted_by(lambda: self._told(segments[-1].end_s if segments else clips.start_s)):
            for segment in clips.restored(self._decoded(clips)):
                segments.append(segment)
        return segments

    def _decoded(self, clips: Clips) -> Iterable[RawSegment]:
        if self._options.batch_size == 1:
            raw, _ = self._model.transcribe(
                clips.sound,
                vad_filter=False,
                condition_on_previous_text=self._options.condition_on_previous_text,
                **self._asked,
            )
        else:
            # One for each call: it keeps state between its batches.
            raw, _ = BatchedInferencePipeline(self._model).transcribe(
                clips.sound,
                batch_size=self._options.batch_size,
                clip_timestamps=[
                    {"start": chunk.start / SAMPLE_RATE, "end": chunk.end / SAMPLE_RATE} for chunk in clips.chunks()
                ],
                without_timestamps=False,
                **self._asked,
            )
        decoded: Iterable[RawSegment] = raw
        return decoded

    def _again(self, clips: Clips, heard_until_s: float) -> list[Segment]:
        asked = {**self._asked, **stronger(self._options.beam_size), "condition_on_previous_text": False}
        with self._model.interrupted_by(lambda: self._told(heard_until_s)):
            raw, _ = self._model.transcribe(clips.sound, vad_filter=False, **asked)
            return list(clips.restored(raw))


def _any_beside(segment: Segment, others: Sequence[Segment]) -> bool:
    """Whether any of the others shares some time with the segment."""
    return any(other.start_s < segment.end_s and segment.start_s < other.end_s for other in others)
