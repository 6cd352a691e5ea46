"""Batches: windows turned into features, decoder tokens, CTC targets and attention guides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from features import HOP, MELS, SILENT_POWER, log_mel, normalise
from tokenizer import TIME_STEP, Tokens
from torch import Tensor
from vocabulary import training_phrases
from windows import Composer, Recipe, Segment, Window

IGNORED = -100
_PROMPT_LIMIT = 223


@dataclass(frozen=True)
class Batch:
    """Everything one training step needs."""

    features: Tensor
    offsets: Tensor
    inputs: Tensor
    targets: Tensor
    ctc_targets: Tensor
    ctc_lengths: Tensor
    ctc_counts: Tensor
    guides: Tensor
    aligned: bool = False


@dataclass
class _Label:
    """The decoder's side of one window; a guide is (position, first frame, last frame, exact, word)."""

    inputs: list[int]
    targets: list[int]
    text: list[int]
    guides: list[tuple[int, int, int, bool, int]]


def _silent_label(rng: np.random.Generator, tokens: Tokens) -> _Label:
    if rng.random() < 0.75:
        first = tokens.first_time + int(rng.integers(51))
        return _Label([tokens.start, first], [tokens.no_speech, tokens.end], [], [])
    return _Label(
        [tokens.start, tokens.no_timestamps, tokens.blank_text],
        [tokens.no_speech, tokens.blank_text, tokens.end],
        [],
        [],
    )


def _frame(seconds: float) -> int:
    return int(seconds / TIME_STEP)


def _time_guide(label: _Label, seconds: float) -> None:
    label.guides.append((len(label.inputs) - 1, _frame(seconds) - 1, _frame(seconds) + 1, True, -1))


class Labeller:
    """Writes the token sequences that faster-whisper expects a Whisper to speak."""

    def __init__(self, tokens: Tokens, plain_share: float = 0.25) -> None:
        """Remember the tokens and how often timestamps are left out."""
        self._tokens, self._plain_share = tokens, plain_share

    def label(self, rng: np.random.Generator, window: Window, offset: int, fine: bool) -> _Label:
        """Label a window.

        Args:
            rng: Where the chance comes from.
            window: The window.
            offset: The encoder position at which its audio begins.
            fine: Whether timestamps are guided too, and every word rather than every phrase.

        Returns:
            The label.
        """
        if not window.segments:
            return _silent_label(rng, self._tokens)
        plain = not window.cut and rng.random() < self._plain_share
        return self._plain(window, fine) if plain else self._timed(window, offset, fine)

    def _speak(self, label: _Label, segment: Segment, fine: bool) -> None:
        for number, token in enumerate(self._tokens.text(segment.words)):
            assert segment.end is not None
            times = segment.word_times if fine or segment.exact else None
            begin, end = times[number] if times else (segment.start, segment.end)
            place, word = len(label.inputs) - 1, len(label.text)
            label.guides.append((place, _frame(begin), _frame(end), segment.exact, word))
            label.inputs.append(token)
            label.text.append(token)

    def _plain(self, window: Window, fine: bool) -> _Label:
        label = _Label([self._tokens.start, self._tokens.no_timestamps], [], [], [])
        for segment in window.segments:
            self._speak(label, segment, fine)
        label.targets = [IGNORED, *label.inputs[2:], self._tokens.end]
        return label

    def _timed(self, window: Window, offset: int, fine: bool) -> _Label:
        shift = offset * TIME_STEP
        label = _Label([self._tokens.start], [], [], [])
        for number, segment in enumerate(window.segments):
            start = segment.start if number or offset else min(segment.start, 1.0)
            if fine and start == segment.start:
                _time_guide(label, start)
            label.inputs.append(self._tokens.time(start + shift))
            if segment.end is not None:
                self._speak(label, segment, fine)
                if fine:
                    _time_guide(label, segment.end)
                label.inputs.append(self._tokens.time(segment.end + shift))
        label.targets = [*label.inputs[1:], self._tokens.end]
        return label

    def prompt(self, rng: np.random.Generator, long_share: float) -> list[int]:
        """Make up what was said before a window.

        Args:
            rng: Where the chance comes from.
            long_share: How often it is as long as faster-whisper makes it.

        Returns:
            `<|startofprev|>` and up to 223 tokens of earlier segments.
        """
        length = int(min(rng.exponential(60) + 1, _PROMPT_LIMIT))
        if long_share and rng.random() < long_share:
            length = _PROMPT_LIMIT
        said: list[int] = []
        while len(said) < length:
            start = rng.uniform(0, 28)
            words = self._tokens.text(next(training_phrases(rng)))
            said += [self._tokens.time(start), *words, self._tokens.time(start + 0.35 * len(words))]
        return [self._tokens.previous, *said[-length:]]


def _with_prompt(label: _Label, prompt: list[int]) -> _Label:
    shift = len(prompt)
    guides = [(guide[0] + shift, *guide[1:]) for guide in label.guides]
    return _Label(prompt + label.inputs, [IGNORED] * shift + label.targets, label.text, guides)


def _bandwidths(rng: np.random.Generator, recipe: Recipe) -> list[int]:
    if not recipe.narrow_share:
        return [MELS] * recipe.windows
    narrow = rng.random(recipe.windows) < recipe.narrow_share
    return [int(rng.integers(56, MELS)) if cut else MELS for cut in narrow]


def _features(windows: list[Window], frames: int, bandwidths: list[int]) -> Tensor:
    counts = [len(window.audio) // HOP for window in windows]
    audio = np.zeros((len(windows), frames * HOP), dtype=np.float32)
    for row, window in zip(audio, windows, strict=True):
        row[: len(window.audio)] = window.audio
    mel = log_mel(torch.from_numpy(audio))
    for number, bandwidth in enumerate(bandwidths):
        mel[number, bandwidth:] = SILENT_POWER
    loudest = torch.tensor(
        [
            max(float(mel[number, :, :count].max()) + window.headroom, window.loudest_at_least)
            for number, (window, count) in enumerate(zip(windows, counts, strict=True))
        ]
    )
    features = normalise(mel, loudest)
    for number, count in enumerate(counts):
        features[number, :, count:] = 0
    return features


def _padded(rows: list[list[int]], filler: int) -> Tensor:
    width = max(1, *(len(row) for row in rows))
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


class Batcher:
    """Makes the batch of a step, the same for the same seed and step."""

    def __init__(self, composer: Composer, tokens: Tokens, seed: int) -> None:
        """Remember the sources."""
        self._composer, self._labeller = composer, Labeller(tokens)
        self._tokens, self._seed = tokens, seed

    def batch(self, step: int, recipe: Recipe) -> Batch:
        """Make a batch.

        Args:
            step: The number of the training step.
            recipe: What kind of batch.

        Returns:
            The batch.
        """
        rng = np.random.default_rng([self._seed, step])
        frames = round(recipe.seconds * 100)
        windows = [self._composer.window(rng, recipe) for _ in range(recipe.windows)]
        room = 1500 - frames // 2
        moved = rng.random(recipe.windows) < recipe.offset_share
        offsets = [int(rng.integers(room + 1)) if move else 0 for move in moved]
        labels = [
            self._labeller.label(rng, window, offset, recipe.fine_guides)
            for window, offset in zip(windows, offsets, strict=True)
        ]
        if rng.random() < recipe.prompt_share:
            prompts = [self._labeller.prompt(rng, recipe.long_prompt_share) for _ in labels]
            labels = [_with_prompt(label, prompt) for label, prompt in zip(labels, prompts, strict=True)]
        inputs = _padded([label.inputs for label in labels], self._tokens.end)
        guides = [
            (row, place, begin, end, exact and recipe.even_guides, -1 if exact else word)
            for row, label in enumerate(labels)
            for place, begin, end, exact, word in label.guides
        ]
        return Batch(
            features=_features(windows, frames, _bandwidths(rng, recipe)),
            offsets=torch.tensor(offsets),
            inputs=inputs,
            targets=_padded([label.targets for label in labels], IGNORED),
            ctc_targets=_padded([label.text for label in labels], 0),
            ctc_lengths=torch.tensor([len(label.text) for label in labels]),
            ctc_counts=torch.tensor([0.0 if window.cut else 1.0 for window in windows]),
            guides=torch.tensor(guides, dtype=torch.long).reshape(-1, 6),
            aligned=recipe.aligned_guides,
        )
