"""Evaluation through faster-whisper: word error rate, silence and noise, and word times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import corpus
import numpy as np
from corpus import Corpus
from faster_whisper import WhisperModel
from numpy.typing import NDArray
from speak import SAMPLE_RATE, VOICES

Audio = NDArray[np.float32]
_NOISE_LEVELS = (-80, -60, -40, -20, -6)
_EDGE = 0.2


@dataclass(frozen=True)
class Score:
    """Word errors among so many words."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Give the word error rate in percent."""
        return 100 * self.errors / max(self.words, 1)

    def __add__(self, other: Score) -> Score:
        """Count two scores together."""
        return Score(self.errors + other.errors, self.words + other.words)


@dataclass(frozen=True)
class Evaluation:
    """Everything the model card reports."""

    short: Score
    short_by_voice: dict[str, float]
    long: Score
    long_timed: Score
    long_alone: Score
    recordings: dict[str, float]
    joined: Score
    invented: dict[str, int]
    word_start_error: float
    word_end_error: float
    words_within_100_ms: float

    def as_dict(self) -> dict[str, object]:
        """Give all figures as plain data."""
        return asdict(self) | {"short_wer": self.short.rate, "long_wer": self.long.rate}


def count_errors(spoken: Sequence[str], heard: Sequence[str]) -> Score:
    """Count substitutions, deletions and insertions, letter case aside.

    Args:
        spoken: The words said.
        heard: The words recognised.

    Returns:
        The fewest errors that explain the difference.
    """
    heard = [word.lower() for word in heard]
    row = list(range(len(heard) + 1))
    for place, word in enumerate(spoken, start=1):
        diagonal, row[0] = row[0], place
        for column, other in enumerate(heard, start=1):
            best = min(diagonal + (word.lower() != other), row[column] + 1, row[column - 1] + 1)
            diagonal, row[column] = row[column], best
    return Score(row[-1], len(spoken))


def _pause(seconds: float) -> Audio:
    return np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)


def join(audios: Iterable[Audio], pauses: Iterable[float]) -> Audio:
    """Join recordings, each followed by its pause, after a short quiet beginning.

    Args:
        audios: The recordings.
        pauses: For each, the seconds of silence after it.

    Returns:
        One recording.
    """
    parts = [_pause(_EDGE)]
    for audio, pause in zip(audios, pauses, strict=True):
        parts += [audio, _pause(pause)]
    return np.concatenate(parts)


class Evaluator:
    """Runs one exported model through faster-whisper."""

    def __init__(self, folder: Path, held_out: Corpus, words: Corpus, threads: int = 2) -> None:
        """Load the model and remember the held-out speech."""
        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
        self._held_out, self._words = held_out, words

    def hear(self, audio: Audio | str, timed: bool = False, conditioned: bool = True) -> list[str]:
        """Transcribe with the defaults of faster-whisper but for these two.

        Args:
            audio: Samples at 16 kHz, or a file.
            timed: Whether to have words timed, which changes how it moves on.
            conditioned: Whether a window is given the text before it.

        Returns:
            The words heard.
        """
        segments, _ = self._model.transcribe(
            audio, beam_size=5, word_timestamps=timed, condition_on_previous_text=conditioned
        )
        return [word for segment in segments for word in segment.text.split()]

    def short(self, voice: int, limit: int) -> Score:
        """Score held-out phrases of a voice one by one."""
        score = Score(0, 0)
        for index in np.flatnonzero(self._held_out.voices == voice)[:limit]:
            audio = join([self._held_out.audio(int(index))], [_EDGE])
            score += count_errors(self._held_out.words[int(index)], self.hear(audio))
        return score

    def recordings(self, folder: Path) -> dict[str, float]:
        """Score every recording of a folder against its `NAME.expected.txt`, in percent, unconditioned."""
        rates = {}
        for expected in sorted(folder.glob("*.expected.txt")):
            name = expected.name.removesuffix(".expected.txt")
            audio = next(path for path in folder.glob(f"{name}.*") if path != expected)
            rates[audio.name] = count_errors(expected.read_text().split(), self.hear(str(audio), True, False)).rate
        return rates

    def long(self, chosen: Sequence[int], seed: int, timed: bool, conditioned: bool) -> Score:
        """Score held-out phrases joined into one long recording with pauses up to 40 s."""
        rng = np.random.default_rng(seed)
        pauses = rng.uniform(0.4, 1.5, len(chosen))
        pauses[rng.random(len(chosen)) < 0.08] = 4.0
        pauses[len(chosen) // 2] = 40.0
        audio = join((self._held_out.audio(index) for index in chosen), pauses)
        spoken = [word for index in chosen for word in self._held_out.words[index]]
        return count_errors(spoken, self.hear(audio, timed, conditioned))

    def invented(self) -> dict[str, int]:
        """Count segments heard in a minute of silence and of white noise, without voice detection."""
        rng = np.random.default_rng(0)
        white = rng.standard_normal(60 * SAMPLE_RATE).astype(np.float32)
        sounds = {"digital silence": np.zeros_like(white)}
        sounds |= {f"white noise at {level} dBFS": white * np.float32(10 ** (level / 20)) for level in _NOISE_LEVELS}
        found: dict[str, int] = {}
        for name, audio in sounds.items():
            for timed in (False, True):
                segments, _ = self._model.transcribe(audio, vad_filter=False, without_timestamps=not timed)
                found[name] = found.get(name, 0) + len(list(segments))
        return found

    def _joined(self, rng: np.random.Generator, voice: int) -> tuple[Audio, list[str], list[float]]:
        pieces, said, edges, place = [_pause(0.3)], [], [], 0.3
        for index in rng.choice(np.flatnonzero(self._words.voices == voice), 6, replace=False):
            audio = self._words.audio(int(index))
            gap = float(rng.uniform(0, 0.12))
            edges += [place, place + len(audio) / SAMPLE_RATE]
            said.append(self._words.words[int(index)][0])
            pieces += [audio, _pause(gap)]
            place += len(audio) / SAMPLE_RATE + gap
        return np.concatenate([*pieces, _pause(0.3)]), said, edges

    def word_times(self, phrases: int) -> tuple[Score, NDArray[np.float64]]:
        """Compare word times with the exact ones of joined words, where the words are right.

        Args:
            phrases: How many joined phrases of each voice.

        Returns:
            The score of the words, and for each word of a right phrase the errors of start and end.
        """
        rng = np.random.default_rng(5)
        errors: list[float] = []
        score = Score(0, 0)
        for voice in [voice for voice in range(len(VOICES)) for _ in range(phrases)]:
            audio, said, edges = self._joined(rng, voice)
            segments, _ = self._model.transcribe(audio, beam_size=5, word_timestamps=True)
            words = [word for segment in segments for word in segment.words or ()]
            found = count_errors(said, [word.word.strip() for word in words])
            score += found
            if not found.errors:
                heard = [edge for word in words for edge in (word.start, word.end)]
                errors += list(np.asarray(heard) - np.asarray(edges))
        return score, np.asarray(errors).reshape(-1, 2)


def evaluate(folder: Path, spoken: Path, recordings: Path, limit: int = 60) -> Evaluation:
    """Measure an exported model on held-out speech of its voices.

    Args:
        folder: The model folder.
        spoken: The folder of the corpus.
        recordings: The folder of the demonstration recordings.
        limit: The most phrases of each voice.

    Returns:
        The figures.
    """
    held_out = corpus.load(spoken / "held_out.pcm")
    evaluator = Evaluator(folder, held_out, corpus.load(spoken / "held_out_words.pcm"))
    short = [evaluator.short(voice, limit) for voice in range(len(VOICES))]
    plans = [list(np.flatnonzero(held_out.voices == voice)[:limit]) for voice in range(len(VOICES))]
    plans.append(list(np.random.default_rng(3).permutation(len(held_out))[:limit]))
    long, timed, alone = (
        sum((evaluator.long(plan, seed, *how) for seed, plan in enumerate(plans)), Score(0, 0))
        for how in ((False, True), (True, True), (False, False))
    )
    joined, errors = evaluator.word_times(max(1, limit // 4))
    off = np.abs(errors) if len(errors) else np.full((1, 2), np.inf)
    return Evaluation(
        short=sum(short, Score(0, 0)),
        short_by_voice={voice.name: round(s.rate, 1) for voice, s in zip(VOICES, short, strict=True)},
        long=long,
        long_timed=timed,
        long_alone=alone,
        recordings=evaluator.recordings(recordings),
        joined=joined,
        invented=evaluator.invented(),
        word_start_error=float(np.median(off[:, 0])),
        word_end_error=float(np.median(off[:, 1])),
        words_within_100_ms=float(100 * np.mean(off.max(axis=1) <= 0.1)),
    )
