"""The model: one window's sound in, one `Window` out. Engine side only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper.transcribe import Segment as RawSegment
from faster_whisper.transcribe import restore_speech_timestamps

from cesar_watch.core.config import EngineSettings
from cesar_watch.core.errors import RecordingError
from cesar_watch.core.transcript import Segment, Window, Word
from cesar_watch.speech.loading import load_model, not_loaded
from cesar_watch.speech.protocol import SAMPLE_RATE, Setup
from cesar_watch.speech.windows import Cut, Span

CLIP_PADDING = int(0.4 * SAMPLE_RATE)
"""Sound kept on either side of speech, so that no onset is lost (faster-whisper's own figure)."""
KEPT_SILENCE = int(2.0 * SAMPLE_RATE)
"""Shorter pauses stay in the sound: Whisper reads sentence ends from them (faster-whisper's figure)."""
SEED = 1
"""Where the decoder's random numbers begin in every window; any number would do."""


class Recognizer:
    """A loaded Whisper model. Used by the thread that made it.

    What it hears in a window depends on the window's samples and options alone, not on what it heard
    before: an attempt that resumes gives the transcript that an unbroken one would have given.

    Attributes:
        fell_back: Why the CPU computes though there is a GPU, in a sentence; None where nothing is amiss.

    Raises:
        ModelError: The model can't be loaded on this machine; nothing stays loaded.
    """

    def __init__(self, setup: Setup) -> None:
        threads = setup.threads or len(os.sched_getaffinity(0))
        self._has_sampled = False
        self._model, self.fell_back = load_model(setup, threads=threads)
        # Where it is loaded again, it is loaded where it is.
        self._setup = setup.model_copy(update={"threads": threads, "device": self.device})
        self._is_multilingual = bool(self._model.model.is_multilingual)
        self._languages = self._model.supported_languages
        self._decode = self._model.generate_with_fallback
        self._model.generate_with_fallback = self._decode_and_note

    @property
    def device(self) -> str:
        """What the model runs on: "cpu" or "cuda"."""
        return str(self._model.model.device)

    @property
    def compute_type(self) -> str:
        """The numbers that it computes with, "auto" and "default" resolved."""
        return str(self._model.model.compute_type)

    def check(self, options: EngineSettings) -> None:
        """Refuse options that this model can't carry out.

        Raises:
            RecordingError: `bad_option`.
        """
        if options.language and self._is_multilingual and options.language not in self._languages:
            raise RecordingError(
                f'engine.language = "{options.language}" is none of this model\'s languages. '
                'Use a code such as "en" or "cs", or leave it out.',
                reason="bad_option",
            )

    def recognize(self, cut: Cut, options: EngineSettings, language: str | None) -> Window:
        """Return the window with its segments, in times of the recording.

        Where the VAD heard nobody the model is not asked: it invents text for silence. `language` None
        means: detect it; the window then carries what was found and how sure the model is.

        Raises:
            ModelError: The model had to be loaded again and can't be; the next call tries it again.
        """
        if not cut.spans:
            return _window(cut, None, None, ())
        # The spans that chose the cut are used again, instead of faster-whisper's `vad_filter`, which
        # would run the VAD a second time; `clip_timestamps` would pad every span to 30 s of work.
        clips = join_spans(cut.spans, len(cut.audio))
        sound = np.concatenate([cut.audio[clip.start : clip.end] for clip in clips])
        self._begin_random_numbers_anew()
        raw, info = self._model.transcribe(
            sound,
            language=language or options.language,
            task=options.task,
            beam_size=options.beam_size,
            initial_prompt=options.initial_prompt,
            hotwords=options.hotwords,
            word_timestamps=options.word_timestamps,
            condition_on_previous_text=options.condition_on_previous_text,
            vad_filter=False,
        )
        chunks = [{"start": clip.start, "end": clip.end} for clip in clips]
        restored = restore_speech_timestamps(raw, chunks, SAMPLE_RATE)
        # A given language comes back with probability 1, which says nothing.
        probability = None if language or options.language else float(info.language_probability)
        return _window(cut, str(info.language), probability, to_segments(restored, cut.start_s, cut.end_s))

    def _decode_and_note(self, *args: Any, **kwargs: Any) -> Any:
        """Decode as faster-whisper does: where the likeliest text is poor, others are drawn at random."""
        result, avg_logprob, temperature, compression_ratio = self._decode(*args, **kwargs)
        self._has_sampled |= temperature > 0
        return result, avg_logprob, temperature, compression_ratio

    def _begin_random_numbers_anew(self) -> None:
        """Let the next window draw the numbers that it would draw in a new process."""
        ctranslate2.set_random_seed(SEED)
        if not self._has_sampled:
            return
        # CTranslate2 seeds a thread's generator at its first use and never again (seen with 4.8.5), so
        # threads that have drawn are replaced; they belong to the model. The old one goes first: two
        # might not fit into memory.
        self._model.model = None
        try:
            self._model.model = ctranslate2.models.Whisper(
                self._setup.model_path,
                device=self._setup.device,
                compute_type=self._setup.compute_type,
                intra_threads=self._setup.threads,
            )
        except Exception as fault:
            raise not_loaded(self._setup, self._setup.device, fault) from fault
        self._has_sampled = False


def join_spans(spans: Sequence[Span], length: int) -> list[Span]:
    """Return the stretches of sound to recognise: padded spans, joined over short silences."""
    joined: list[Span] = []
    for span in spans:
        padded = Span(max(0, span.start - CLIP_PADDING), min(length, span.end + CLIP_PADDING))
        if joined and span.start - joined[-1].end < KEPT_SILENCE - CLIP_PADDING:
            joined[-1] = Span(joined[-1].start, padded.end)
        else:
            joined.append(padded)
    return joined


def to_segments(raw: Iterable[RawSegment], start_s: float, end_s: float) -> tuple[Segment, ...]:
    """Return faster-whisper's segments in times of the recording, none outside [start_s, end_s].

    Segments without text are left out; the text is stripped, words keep their leading space.
    """

    def place(time_s: float) -> float:
        return round(min(max(start_s + float(time_s), start_s), end_s), 3)

    return tuple(
        Segment(
            start_s=place(segment.start),
            end_s=max(place(segment.start), place(segment.end)),
            text=segment.text.strip(),
            avg_logprob=float(segment.avg_logprob),
            no_speech_prob=float(segment.no_speech_prob),
            compression_ratio=float(segment.compression_ratio),
            words=tuple(
                Word(
                    start_s=place(word.start),
                    end_s=max(place(word.start), place(word.end)),
                    text=word.word,
                    probability=float(word.probability),
                )
                for word in segment.words or ()
            ),
        )
        for segment in raw
        if segment.text.strip()
    )


def _window(cut: Cut, language: str | None, probability: float | None, segments: tuple[Segment, ...]) -> Window:
    return Window(
        index=cut.index,
        start_s=cut.start_s,
        end_s=cut.end_s,
        speech_s=round(cut.speech_s, 3),
        language=language,
        language_probability=probability,
        segments=segments,
    )
