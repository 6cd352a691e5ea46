from __future__ import annotations

import numpy as np
import pytest

from cesar_watch.speech.vad import silero
from tests.sounds import RATE, silence, voice


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
