"""The demonstration recordings: held-out phrases in four audio formats, each with its exact words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from evaluate import join
from numpy.typing import NDArray
from speak import SAMPLE_RATE, VOICES, Manner, speak
from vocabulary import DIGITS, LETTERS, held_out_phrases

Audio = NDArray[np.float32]
_LONG_PAUSE = 7.0
_FRAME = 1024


@dataclass(frozen=True)
class Recording:
    """One recording: its file, codec and bit rate, voices, number of phrases and what they are made of."""

    file: str
    codec: str
    bit_rate: int
    voices: tuple[int, ...]
    phrases: int
    fits: Callable[[Sequence[str]], bool]
    long_pause: bool = False


def _all_digits(words: Sequence[str]) -> bool:
    return all(word in DIGITS for word in words)


def _all_letters(words: Sequence[str]) -> bool:
    return all(word in LETTERS for word in words)


def _everyday(words: Sequence[str]) -> bool:
    return not any(word in DIGITS + LETTERS for word in words)


def _talk(words: Sequence[str]) -> bool:
    return 3 * sum(word in LETTERS for word in words) <= len(words)


RECORDINGS = (
    Recording("numbers.wav", "pcm_s16le", 0, (0,), 4, _all_digits),
    Recording("letters.mp3", "libmp3lame", 48000, (1,), 5, _all_letters),
    Recording("shopping.ogg", "libopus", 32000, (4,), 6, _everyday),
    Recording("meeting.m4a", "aac", 32000, (4, 0, 2, 1), 96, _talk, long_pause=True),
)


def phrases(recording: Recording, seed: int) -> list[list[str]]:
    """Choose the held-out phrases of a recording.

    Args:
        recording: Which recording.
        seed: The seed of the choice.

    Returns:
        The phrases in order, no phrase twice.
    """
    source = held_out_phrases(np.random.default_rng([seed, *recording.file.encode()]))
    chosen: list[list[str]] = []
    while len(chosen) < recording.phrases:
        words = next(source)
        if recording.fits(words) and words not in chosen:
            chosen.append(words)
    return chosen


def _turns(rng: np.random.Generator, recording: Recording) -> list[int]:
    turns: list[int] = []
    while len(turns) < recording.phrases:
        others = [voice for voice in recording.voices if not turns or voice != turns[-1]]
        turns += [int(rng.choice(others or recording.voices))] * int(rng.integers(1, 5))
    return turns[: recording.phrases]


def compose(recording: Recording, seed: int) -> tuple[Audio, list[list[str]]]:
    """Speak a recording.

    Args:
        recording: Which recording.
        seed: The seed of its phrases, turns and pauses.

    Returns:
        The audio and the phrases said.
    """
    said = phrases(recording, seed)
    rng = np.random.default_rng([seed, recording.phrases])
    pauses = rng.uniform(0.5, 1.4, len(said))
    if recording.long_pause:
        pauses[len(said) // 3] = _LONG_PAUSE
    voices = [VOICES[voice] for voice in _turns(rng, recording)]
    spoken = [speak(words, voice, Manner()) for words, voice in zip(said, voices, strict=True)]
    return join(spoken, pauses), said


def write_audio(path: Path, audio: Audio, codec: str, bit_rate: int) -> None:
    """Encode samples at 16 kHz into a file.

    Args:
        path: The file, whose ending names the container.
        audio: The samples.
        codec: The encoder's name in FFmpeg.
        bit_rate: Bits per second, 0 for the codec's own.
    """
    samples = np.asarray(np.clip(audio, -1, 1) * 32767, dtype=np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        if bit_rate:
            stream.bit_rate = bit_rate
        size = stream.frame_size or _FRAME
        resampler = av.AudioResampler(stream.format, "mono", SAMPLE_RATE, frame_size=size)
        for place in range(0, len(samples), _FRAME):
            frame = av.AudioFrame.from_ndarray(samples[None, place : place + _FRAME], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, place, Fraction(1, SAMPLE_RATE)
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))


def record(folder: Path, seed: int) -> None:
    """Write all recordings, each with `NAME.expected.txt`, one phrase a line.

    Args:
        folder: Where they go.
        seed: The seed of phrases, turns and pauses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for recording in RECORDINGS:
        audio, said = compose(recording, seed)
        path = folder / recording.file
        write_audio(path, audio, recording.codec, recording.bit_rate)
        lines = "".join(" ".join(words) + "\n" for words in said)
        path.with_name(f"{path.stem}.expected.txt").write_text(lines)
