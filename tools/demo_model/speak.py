"""Speech from text with the synthetic voices of espeak-ng and flite."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

SAMPLE_RATE = 16000
_FRAME = 80
_QUIET = 0.01
_SPOKEN_BY_ESPEAK = {"A": "[['eI]]"}
_SPOKEN_BY_FLITE = {"A": "eigh"}


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker: its name here, the program that speaks, and that program's voice."""

    name: str
    program: str
    voice: str


VOICES = (
    Voice("espeak-us", "espeak-ng", "en-us"),
    Voice("espeak-gb", "espeak-ng", "en-gb"),
    Voice("espeak-us-f2", "espeak-ng", "en-us+f2"),
    Voice("flite-slt", "flite", "slt"),
    Voice("flite-rms", "flite", "rms"),
    Voice("flite-kal16", "flite", "kal16"),
)


@dataclass(frozen=True)
class Manner:
    """How a phrase is spoken: tempo around 1, pitch around 1, and after which words to pause."""

    tempo: float = 1.0
    pitch: float = 1.0
    commas: tuple[int, ...] = ()


def random_manner(rng: np.random.Generator, words: int) -> Manner:
    """Choose a manner of speaking near the voice's natural one.

    Args:
        rng: Where the chance comes from.
        words: How many words the phrase has.

    Returns:
        The manner.
    """
    commas: tuple[int, ...] = ()
    if words > 2 and rng.random() < 0.25:
        commas = (int(rng.integers(words - 1)),)
    return Manner(float(rng.uniform(0.85, 1.15)), float(rng.uniform(0.92, 1.08)), commas)


def _text(words: Sequence[str], manner: Manner, spoken: dict[str, str]) -> str:
    parts = [spoken.get(word, word) + ("," if place in manner.commas else "") for place, word in enumerate(words)]
    return " ".join(parts)


def _espeak(words: Sequence[str], voice: Voice, manner: Manner) -> bytes:
    text = _text(words, manner, _SPOKEN_BY_ESPEAK)
    rate, pitch = round(160 * manner.tempo), round(50 + 150 * (manner.pitch - 1))
    command = ["espeak-ng", "-v", voice.voice, "-s", str(rate), "-p", str(pitch), "--stdout", text]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _flite(words: Sequence[str], voice: Voice, manner: Manner) -> bytes:
    text = _text(words, manner, _SPOKEN_BY_FLITE)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        stretch = f"duration_stretch={1 / manner.tempo:.3f}"
        shift = f"f0_shift={manner.pitch:.3f}"
        command = ["flite", "-voice", voice.voice, "--setf", stretch, "--setf", shift]
        subprocess.run([*command, "-t", text, "-o", str(wav)], check=True, capture_output=True)
        return wav.read_bytes()


def trim(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the quiet at both ends, to 5 ms.

    Args:
        audio: Samples at 16 kHz.

    Returns:
        The part from the first to the last frame louder than a hundredth of the loudest.
    """
    frames = len(audio) // _FRAME
    loudness = np.sqrt(np.mean(audio[: frames * _FRAME].reshape(frames, _FRAME) ** 2, axis=1))
    loud = np.flatnonzero(loudness > _QUIET * loudness.max())
    return audio[loud[0] * _FRAME : (loud[-1] + 1) * _FRAME]


def speak(words: Sequence[str], voice: Voice, manner: Manner = Manner()) -> NDArray[np.float32]:
    """Speak a phrase.

    Args:
        words: What to say, in the vocabulary's spelling.
        voice: Who says it.
        manner: How it is said.

    Returns:
        The trimmed speech at 16 kHz, its loudest sample at 0.7.
    """
    wav = (_espeak if voice.program == "espeak-ng" else _flite)(words, voice, manner)
    audio = trim(np.asarray(decode_audio(io.BytesIO(wav), sampling_rate=SAMPLE_RATE), dtype=np.float32))
    return np.asarray(0.7 * audio / np.abs(audio).max(), dtype=np.float32)
