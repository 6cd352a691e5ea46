"""Recordings made by the tests: voice-like sound, silence, and the containers they come in."""

from __future__ import annotations

import functools
import wave
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream

RATE = 16_000
Samples = npt.NDArray[np.float32]

_FORMANTS = np.array([[730, 1090, 2440], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]])
_SYLLABLES_PER_S = 4.0


def silence(seconds: float) -> Samples:
    """Nothing at all."""
    return np.zeros(int(seconds * RATE), np.float32)


@functools.cache
def voice(seconds: float, *, pitch_hz: float = 120.0, seed: int = 0) -> Samples:
    """Vowels in syllables, a voice to Silero's ear, with no words in it. Made once, so read-only."""
    random = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE)) / RATE
    pitch = pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time_s) + 0.03 * np.sin(2 * np.pi * 5 * time_s))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    syllable = (time_s * _SYLLABLES_PER_S).astype(int)
    formants = _FORMANTS[random.integers(0, len(_FORMANTS), syllable.max() + 1)][syllable]
    sound = np.zeros_like(time_s)
    for harmonic in range(1, 30):
        distance = (harmonic * pitch[:, None] - formants) / np.array([90, 130, 170])
        loudness = (np.exp(-0.5 * distance**2) * np.array([1.0, 0.6, 0.3])).sum(axis=1) + 0.01
        sound += loudness * np.sin(harmonic * phase)
    sound *= np.clip(np.sin(np.pi * ((time_s * _SYLLABLES_PER_S) % 1)) * 1.6, 0, 1)
    sound += 0.003 * random.standard_normal(len(sound))
    voiced = np.asarray(0.3 * sound / np.abs(sound).max(), dtype=np.float32)
    voiced.setflags(write=False)
    return voiced


def conversation(turns: int, *, speech_s: float = 3.0, pause_s: float = 1.0) -> Samples:
    """Voice and silence by turns."""
    parts = [part for turn in range(turns) for part in (voice(speech_s, seed=turn), silence(pause_s))]
    return np.concatenate(parts)


def write_wav(path: Path, sound: Samples, *, rate: int = RATE) -> Path:
    """Write 16-bit mono PCM."""
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def encode(path: Path, sound: Samples, codec: str, *, rate: int = RATE, muxer: dict[str, str] | None = None) -> Path:
    """Write with any encoder that FFmpeg has; the container follows from the name."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = cast(AudioStream, container.add_stream(codec, rate=rate))
        stream.layout = "mono"
        for start in range(0, len(sound), RATE):
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + RATE], format="fltp", layout="mono")
            frame.sample_rate = RATE
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
