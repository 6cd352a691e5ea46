"""Find speech with the Silero model that faster-whisper carries. Engine side only."""

from __future__ import annotations

from faster_whisper.vad import get_speech_timestamps

from cesar_watch.speech.windows import Samples, Span

SHORTEST_SILENCE_MS = 300
"""A pause between two sentences; shorter ones lie between and inside words."""


def silero(audio: Samples) -> list[Span]:
    """Return where somebody speaks in 16 kHz mono float32 sound, without padding."""
    found = get_speech_timestamps(audio, min_silence_duration_ms=SHORTEST_SILENCE_MS, speech_pad_ms=0)
    return [Span(int(span["start"]), int(span["end"])) for span in found]
