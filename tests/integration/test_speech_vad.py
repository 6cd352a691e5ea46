from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.vad import get_speech_timestamps

from cesar_watch.speech.vad import FRAME, FRAMES_AT_ONCE, silero
from cesar_watch.speech.windows import Span
from tests.sounds import RATE, conversation, silence, voice


def test_vad_finds_a_voice_between_silences() -> None:
    sound = np.concatenate([silence(1), voice(4), silence(2), voice(3, pitch_hz=200, seed=1), silence(1)])
    first, second = silero(sound)
    assert first.start / RATE == pytest.approx(1, abs=0.2)
    assert first.end / RATE == pytest.approx(5, abs=0.2)
    assert second.start / RATE == pytest.approx(7, abs=0.2)


def test_vad_hears_nobody_in_silence_and_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 10 * RATE).astype(np.float32)
    assert silero(silence(5)) == []
    assert silero(noise) == []


@pytest.mark.parametrize("samples", [1, FRAME - 1, FRAME, FRAME + 1, FRAMES_AT_ONCE * FRAME + 700, 30 * RATE])
def test_vad_finds_what_the_library_finds(samples: int) -> None:
    sound = np.concatenate([silence(1), np.tile(conversation(5, pause_s=0.25), 3), silence(1)])[:samples]
    theirs = get_speech_timestamps(sound, min_silence_duration_ms=300, speech_pad_ms=0)
    assert silero(sound) == [Span(int(span["start"]), int(span["end"])) for span in theirs]


def test_vad_of_no_sound_is_no_speech() -> None:
    assert silero(np.zeros(0, np.float32)) == []
