"""Make a long recording out of a short one, for measurements. Engine side only.

A program, so that who needs such a recording need not load a decoder: `python -m cesar_watch.speech.looped SOURCE
SECONDS TARGET`.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np

from cesar_watch.speech.audio import open_audio
from cesar_watch.speech.protocol import SAMPLE_RATE

LONGEST_S = 3600.0
"""The source is held in memory."""


def write_looped(source: Path, seconds: float, target: Path) -> None:
    """Write a recording over and over, as 16 kHz mono WAV of exactly so many seconds.

    Raises:
        RecordingError, AttemptError: The source can't be decoded, or is too long.
        OSError: The target can't be written.
    """
    with open_audio(source, max_duration_s=LONGEST_S) as audio:
        sound = np.concatenate(list(audio.blocks()), axis=1)[0]
    samples = round(seconds * SAMPLE_RATE)
    with wave.open(str(target), "wb") as stream:
        stream.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        for begin in range(0, samples, len(sound)):
            stream.writeframes((sound[: samples - begin] * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    write_looped(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
