"""The words the demonstration model knows, the phrases made of them, and the held-out rule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
NOUNS = (
    "water", "coffee", "bread", "sugar", "apple", "orange", "house", "garden", "kitchen",
    "music", "window", "doctor", "train", "meeting", "money", "number", "letter",
)  # fmt: skip
OTHERS = (
    "hello", "yes", "no", "please", "thanks", "good", "morning", "evening", "today",
    "tomorrow", "Monday", "Friday", "green", "yellow", "remember", "open", "bring", "begin",
)  # fmt: skip
JOINERS = ("the", "and")
WORDS = DIGITS + LETTERS + NOUNS + OTHERS + JOINERS

_DAYS = ("today", "tomorrow", "Monday", "Friday")
_TEMPLATES = (
    "{greet}", "{greet} doctor", "{greet} and thanks", "please {verb} the {noun}",
    "please {verb} the {noun} {day}", "{verb} the {noun} and the {noun}", "{verb} {noun} and {noun} {day}",
    "remember the meeting {day}", "the {noun} {day} {part}", "{day} {part}", "number {d} {d}",
    "letter {l} and letter {l}", "the number {d} {d} {d} please", "train {l} {d} {d} {day}", "yes please",
    "no thanks", "the {colour} {noun}", "{noun} {noun} and {noun}", "thanks doctor", "house {d} {d} {l}",
    "begin the meeting {day} {part}", "the {colour} {noun} and the {colour} {noun}", "good {noun} please",
)  # fmt: skip
_SLOTS: dict[str, tuple[str, ...]] = {
    "greet": ("hello", "good morning", "good evening", "hello good morning"),
    "verb": ("bring", "open", "remember", "begin"),
    "noun": NOUNS,
    "day": _DAYS,
    "part": ("morning", "evening"),
    "colour": ("green", "yellow", "orange", "good"),
    "d": DIGITS,
    "l": LETTERS,
}

_HELD_OUT_SHARE = 40
_HELD_OUT_LENGTH = 3


def _bucket(words: Sequence[str]) -> int:
    digest = hashlib.sha1(" ".join(words).lower().encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % _HELD_OUT_SHARE


def is_held_out(words: Sequence[str]) -> bool:
    """Tell whether this exact word sequence is kept for evaluation.

    Args:
        words: The sequence, in order.

    Returns:
        True for one in forty of the sequences of three words or more.
    """
    if len(words) < _HELD_OUT_LENGTH:
        return False
    return _bucket(words) == 0


def touches_held_out(words: Sequence[str]) -> bool:
    """Tell whether a held-out sequence occurs anywhere within these words.

    Args:
        words: The sequence, in order.

    Returns:
        True when training on it would show a held-out sequence to the model.
    """
    count = len(words)
    return any(
        is_held_out(words[start:end])
        for start in range(count - _HELD_OUT_LENGTH + 1)
        for end in range(start + _HELD_OUT_LENGTH, count + 1)
    )


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _fill_template(rng: np.random.Generator) -> list[str]:
    words: list[str] = []
    for part in _pick(rng, _TEMPLATES).split():
        slot = part.strip("{}")
        words += (_pick(rng, _SLOTS[slot]) if part.startswith("{") else part).split()
    return words


def _random_words(rng: np.random.Generator, count: int) -> list[str]:
    words: list[str] = []
    while len(words) < count:
        word = _pick(rng, NOUNS + OTHERS)
        chance = rng.random()
        if word in NOUNS and chance < 0.25:
            words.append("the")
        elif words and chance > 0.88:
            words.append("and")
        words.append(word)
    return words[:count] if words[count - 1] not in JOINERS else [*words[: count - 1], word]


def random_phrase(rng: np.random.Generator) -> list[str]:
    """Make up one phrase of one to eight words.

    Args:
        rng: Where the chance comes from.

    Returns:
        The words of the phrase, held out or not.
    """
    kind = rng.random()
    count = int(rng.integers(1, 9))
    if kind < 0.18:
        return [_pick(rng, DIGITS) for _ in range(count)]
    if kind < 0.46:
        return [_pick(rng, LETTERS) for _ in range(count)]
    if kind < 0.72:
        return _random_words(rng, count)
    if kind < 0.84:
        return [_pick(rng, DIGITS + LETTERS + NOUNS + OTHERS) for _ in range(count)]
    return _fill_template(rng)


def training_phrases(rng: np.random.Generator) -> Iterator[list[str]]:
    """Yield phrases without end that show no held-out sequence.

    Args:
        rng: Where the chance comes from.

    Yields:
        The words of one phrase.
    """
    while True:
        words = random_phrase(rng)
        if not touches_held_out(words):
            yield words


def held_out_phrases(rng: np.random.Generator) -> Iterator[list[str]]:
    """Yield phrases without end that are held out as a whole.

    Args:
        rng: Where the chance comes from.

    Yields:
        The words of one phrase.
    """
    while True:
        words = random_phrase(rng)
        if is_held_out(words):
            yield words
