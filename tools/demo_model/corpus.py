"""The spoken corpus: phrases and single words of every voice, written to disk."""

from __future__ import annotations

import gc
import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from speak import VOICES, random_manner, speak
from vocabulary import WORDS, held_out_phrases, training_phrases


@dataclass(frozen=True)
class Task:
    """One thing to say: the words, the voice's index and the seed of its manner."""

    words: tuple[str, ...]
    voice: int
    seed: int


@dataclass(frozen=True)
class Corpus:
    """Spoken phrases: all samples end to end, and for each phrase its words, voice and bounds."""

    samples: NDArray[np.int16]
    bounds: NDArray[np.int64]
    words: list[list[str]]
    voices: NDArray[np.int64]

    def __len__(self) -> int:
        """Give the number of phrases."""
        return len(self.words)

    def audio(self, index: int) -> NDArray[np.float32]:
        """Give the samples of one phrase, full scale being 1."""
        part = self.samples[self.bounds[index] : self.bounds[index + 1]]
        return part.astype(np.float32) / np.float32(32768)


def _say(task: Task) -> NDArray[np.int16]:
    rng = np.random.default_rng(task.seed)
    manner = random_manner(rng, len(task.words))
    return np.asarray(speak(task.words, VOICES[task.voice], manner) * 32767, dtype=np.int16)


def _phrase_tasks(count: int, seed: int, source: Callable[..., Iterator[list[str]]]) -> list[Task]:
    tasks = []
    for voice in range(len(VOICES)):
        phrases = source(np.random.default_rng([seed, voice]))
        tasks += [Task(tuple(next(phrases)), voice, seed + 7919 * place + voice) for place in range(count)]
    return tasks


def _word_tasks(renditions: int, seed: int) -> list[Task]:
    return [
        Task((word,), voice, seed + 104729 * place + voice)
        for voice in range(len(VOICES))
        for place, word in enumerate(WORDS * renditions)
    ]


def _write(tasks: list[Task], path: Path) -> None:
    bounds, total = [0], 0
    path.parent.mkdir(parents=True, exist_ok=True)
    # decode_audio collects garbage on every call, which is slow among the objects of large packages.
    with multiprocessing.Pool(initializer=gc.freeze) as pool, path.with_suffix(".part").open("wb") as sink:
        for speech in pool.imap(_say, tasks, chunksize=16):
            sink.write(speech.tobytes())
            total += len(speech)
            bounds.append(total)
    index = {"bounds": bounds, "words": [task.words for task in tasks], "voices": [t.voice for t in tasks]}
    path.with_suffix(".json").write_text(json.dumps(index))
    path.with_suffix(".part").rename(path)


def load(path: Path) -> Corpus:
    """Open a corpus written by `prepare`.

    Args:
        path: The file of samples.

    Returns:
        The corpus; its samples stay on disk until they are used.
    """
    index = json.loads(path.with_suffix(".json").read_text())
    return Corpus(
        samples=np.asarray(np.memmap(path, np.int16, "r")),
        bounds=np.asarray(index["bounds"], dtype=np.int64),
        words=index["words"],
        voices=np.asarray(index["voices"], dtype=np.int64),
    )


def prepare(folder: Path, seed: int, phrases: int = 4000, renditions: int = 12, held_out: int = 60) -> None:
    """Speak whatever part of the corpus is not on disk yet.

    Args:
        folder: Where the corpus lies.
        seed: The seed of words and manners.
        phrases: Training phrases of each voice.
        renditions: How often each voice says each single word.
        held_out: Held-out phrases of each voice.
    """
    parts: dict[str, Callable[[], list[Task]]] = {
        "held_out.pcm": lambda: _phrase_tasks(held_out, seed + 1, held_out_phrases),
        "held_out_words.pcm": lambda: _word_tasks(1, seed + 4),
        "words.pcm": lambda: _word_tasks(renditions, seed + 2),
        "phrases.pcm": lambda: _phrase_tasks(phrases, seed + 3, training_phrases),
    }
    for name, tasks in parts.items():
        if not (folder / name).exists():
            _write(tasks(), folder / name)
