"""Recordings for a storm: pieces of the bundled ones, strung together by a seed, no two alike.

Short ones and some of many windows, in several containers; every eighth has babble in it, at which the decoder
falls back to drawing text at random. The same seed makes the same sound, and nearly always the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
from faster_whisper.audio import decode_audio

from tests.processes import RECORDINGS
from tests.sounds import RATE, Samples, encode, silence, voice

SOURCES = ("numbers.wav", "letters.mp3", "shopping.ogg", "meeting.m4a")
CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "opus": "libopus", "m4a": "aac"}
SHORT_SHARE = 0.4
SHORT_S = (2.0, 9.0)
LONG_S = (20.0, 90.0)
PIECE_S = (1.5, 8.0)
PAUSE_S = (0.0, 1.2)
BABBLE_EVERY = 8


def make_corpus(folder: Path, number: int, seed: int) -> list[Path]:
    """Write `number` recordings into a folder and return their paths; the stems are all different."""
    sources = [decode_audio(str(RECORDINGS / name)) for name in SOURCES]
    folder.mkdir(parents=True, exist_ok=True)
    return [_make(folder, index, sources, Random(f"{seed}/{index}")) for index in range(number)]


def _make(folder: Path, index: int, sources: list[Samples], random: Random) -> Path:
    sound = _sound(sources, random, babble=index % BABBLE_EVERY == BABBLE_EVERY - 1)
    ending, codec = random.choice(list(CODECS.items()))
    return encode(folder / f"{index:04}.{ending}", sound, codec)


def _sound(sources: list[Samples], random: Random, *, babble: bool) -> Samples:
    wanted_s = random.uniform(*(SHORT_S if random.random() < SHORT_SHARE else LONG_S))
    pieces = [voice(3.0, seed=2)] if babble else []
    length = 0
    while length < wanted_s * RATE:
        source = random.choice(sources)
        start = random.randrange(len(source))
        pieces += [source[start : start + int(random.uniform(*PIECE_S) * RATE)], silence(random.uniform(*PAUSE_S))]
        length = sum(map(len, pieces))
    return np.concatenate(pieces)
