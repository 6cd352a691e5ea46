"""faster-whisper's model, with bounded memory, an end on demand, and a second try. Engine side only.

Several threads may use one model at once, as many of them in parallel as it has workers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.transcribe import TranscriptionOptions

from cesar_watch.speech.features import PiecewiseFeatures
from cesar_watch.speech.quality import MAX_COMPRESSION_RATIO, MIN_AVG_LOGPROB

STRONGER: dict[str, Any] = {
    "beam_size": 10,
    "patience": 2.0,
    "repetition_penalty": 1.1,
    "no_repeat_ngram_size": 3,
}
"""How doubtful sound is decoded again: a wider search that may not go round in circles.

Whisper's own way (Radford et al. 2022, section 4.5) draws words at random, at rising temperatures. Then a recording
would be heard otherwise each time, and an attempt that resumes would not give the transcript of an unbroken one.
"""

Decoded = tuple[Any, float, float, float]
"""A result, its average log probability, the temperature, and its compression ratio."""


class Whisper(WhisperModel):  # type: ignore[misc]  # the library has no types
    """A loaded model. What it hears depends on sound and options alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.feature_extractor = PiecewiseFeatures(**self.feat_kwargs)
        self._own = threading.local()

    @contextlib.contextmanager
    def interrupted_by(self, look: Callable[[], None]) -> Iterator[None]:
        """Call `look` before each 30 s that this thread decodes; what it raises ends the decoding."""
        self._own.look = look
        try:
            yield
        finally:
            del self._own.look

    def encode(self, features: Any) -> StorageView:
        """Encode 30 s, as the library does."""
        getattr(self._own, "look", lambda: None)()
        return super().encode(features)

    def generate_with_fallback(
        self, encoder_output: StorageView, prompt: list[int], tokenizer: Any, options: TranscriptionOptions
    ) -> Decoded:
        """Decode 30 s; where the text is doubtful, once more with `STRONGER` settings, and return the better one."""
        first: Decoded = super().generate_with_fallback(encoder_output, prompt, tokenizer, options)
        if not _is_doubtful(first) or _is_silence(first, options):
            return first
        wider = dataclasses.replace(options, **stronger(options.beam_size))
        again: Decoded = super().generate_with_fallback(encoder_output, prompt, tokenizer, wider)
        return max((first, again), key=lambda one: (not _goes_in_circles(one), one[1]))


def stronger(beam_size: int) -> dict[str, Any]:
    """Return `STRONGER` options, whose search is no narrower than the one before."""
    return {**STRONGER, "beam_size": max(STRONGER["beam_size"], beam_size)}


def _is_doubtful(decoded: Decoded) -> bool:
    return decoded[1] < MIN_AVG_LOGPROB or _goes_in_circles(decoded)


def _goes_in_circles(decoded: Decoded) -> bool:
    return decoded[3] > MAX_COMPRESSION_RATIO


def _is_silence(decoded: Decoded, options: TranscriptionOptions) -> bool:
    """Whether the library will pass the text over, since the model itself hears nobody."""
    result, avg_logprob = decoded[:2]
    return bool(result.no_speech_prob > options.no_speech_threshold and avg_logprob < options.log_prob_threshold)
