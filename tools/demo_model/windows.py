"""Training windows: speech laid out in time, with the exact times of what is said."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from corpus import Corpus
from numpy.typing import NDArray
from speak import SAMPLE_RATE, VOICES
from vocabulary import training_phrases

Audio = NDArray[np.float32]
_SLACK = 0.3


@dataclass(frozen=True)
class Recipe:
    """What one kind of batch is made of; shares are of windows, but that of prompts is of batches."""

    windows: int
    seconds: float
    offset_share: float = 0.0
    prompt_share: float = 0.0
    narrow_share: float = 0.0
    joined_share: float = 0.35
    silent_share: float = 0.08
    pause_share: float = 0.3
    noise_ratio: float = 12.0
    long_prompt_share: float = 0.0
    fine_guides: bool = False
    even_guides: bool = False
    aligned_guides: bool = False


@dataclass(frozen=True)
class Segment:
    """One phrase in a window: its words and times in seconds; `end` is None where the window cuts it."""

    words: list[str]
    start: float
    end: float | None
    word_times: list[tuple[float, float]] | None = None
    exact: bool = False


@dataclass
class Window:
    """The audio of a window, what is said in it, and how loud its recording is at most."""

    audio: Audio
    segments: list[Segment] = field(default_factory=list)
    headroom: float = 0.0
    loudest_at_least: float = -10.0

    @property
    def cut(self) -> bool:
        """Tell whether the window's end cuts a phrase."""
        return bool(self.segments) and self.segments[-1].end is None


@dataclass(frozen=True)
class Clip:
    """One phrase ready to be placed: its samples, its words, and their times, exact or with some slack."""

    audio: Audio
    words: list[str]
    word_times: list[tuple[float, float]]
    exact: bool


class Speakers:
    """Draws spoken phrases of one voice from the corpus."""

    def __init__(self, phrases: Corpus, words: Corpus) -> None:
        """Index the phrases by voice and length, and the words by voice and spelling."""
        self._phrases, self._words = phrases, words
        lengths = np.diff(phrases.bounds)
        self._by_length: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._renditions: list[dict[str, list[int]]] = [{} for _ in VOICES]
        for voice in range(len(VOICES)):
            members = np.flatnonzero(phrases.voices == voice)
            order = members[np.argsort(lengths[members], kind="stable")]
            self._by_length.append(order)
            self._lengths.append(lengths[order])
        for index, (word, voice) in enumerate(zip(words.words, words.voices, strict=True)):
            self._renditions[int(voice)].setdefault(word[0], []).append(index)
        lengths = np.diff(words.bounds)
        self._typical = [
            {word: float(np.mean(lengths[indices])) for word, indices in renditions.items()}
            for renditions in self._renditions
        ]

    def phrase(self, rng: np.random.Generator, voice: int, room: int) -> Clip | None:
        """Draw a phrase spoken as a whole that fits.

        Args:
            rng: Where the chance comes from.
            voice: The voice's number.
            room: The most samples it may last.

        Returns:
            The phrase, or None where none is short enough.
        """
        fitting = int(np.searchsorted(self._lengths[voice], room, side="right"))
        if not fitting:
            return None
        index = int(self._by_length[voice][int(rng.integers(fitting))])
        audio = self._phrases.audio(index)
        words = self._phrases.words[index]
        times = self._estimate(voice, words, len(audio) / SAMPLE_RATE)
        return Clip(audio, words, times, exact=len(words) == 1)

    def _estimate(self, voice: int, words: list[str], seconds: float) -> list[tuple[float, float]]:
        if len(words) == 1:
            return [(0.0, seconds)]
        ends = np.cumsum([self._typical[voice][word] for word in words])
        ends *= seconds / ends[-1]
        begins = np.concatenate([[0.0], ends[:-1]])
        wide = np.stack([np.maximum(begins - _SLACK, 0), np.minimum(ends + _SLACK, seconds)], axis=1)
        return [(float(begin), float(end)) for begin, end in wide]

    def joined(self, rng: np.random.Generator, voice: int, room: int) -> Clip | None:
        """Draw a phrase joined from single words, up to as many as fit.

        Args:
            rng: Where the chance comes from.
            voice: The voice's number.
            room: The most samples it may last.

        Returns:
            The phrase with every word's time, or None where not even one word fits.
        """
        pieces: list[Audio] = []
        times: list[tuple[float, float]] = []
        said: list[str] = []
        place = 0
        for word in next(training_phrases(rng)):
            choices = self._renditions[voice][word]
            audio = self._words.audio(choices[int(rng.integers(len(choices)))])
            gap = int(rng.uniform(0, 0.12) * SAMPLE_RATE) if pieces else 0
            if place + gap + len(audio) > room:
                break
            pieces += [np.zeros(gap, dtype=np.float32), audio]
            times.append(((place + gap) / SAMPLE_RATE, (place + gap + len(audio)) / SAMPLE_RATE))
            said.append(word)
            place += gap + len(audio)
        return Clip(np.concatenate(pieces), said, times, exact=True) if said else None


def noise(rng: np.random.Generator, samples: int) -> Audio:
    """Make white or pinkish noise of power one.

    Args:
        rng: Where the chance comes from.
        samples: How much.

    Returns:
        The noise.
    """
    white = rng.standard_normal(samples).astype(np.float32)
    if rng.random() < 0.6 or samples < 16:
        return white
    spectrum = np.fft.rfft(white)
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** rng.uniform(0.3, 1.0)
    shaped = np.fft.irfft(spectrum, samples)
    return (shaped / max(float(shaped.std()), 1e-9)).astype(np.float32)


def silent_window(rng: np.random.Generator, samples: int) -> Window:
    """Make a window in which nobody speaks: digital silence or noise, alone or within a louder recording.

    Args:
        rng: Where the chance comes from.
        samples: The longest it may be.

    Returns:
        The window.
    """
    count = _whole_hops(samples if rng.random() < 0.5 else int(rng.uniform(0.2, 1.0) * samples))
    audio = np.zeros(count, dtype=np.float32)
    if rng.random() < 0.6:
        audio += noise(rng, count) * np.float32(10 ** rng.uniform(-4.5, -0.3))
        if rng.random() < 0.3:
            audio[int(rng.integers(count)) :] = 0
    loudest = float(rng.uniform(-0.5, 2.3)) if rng.random() < 0.5 else -10.0
    return Window(audio, loudest_at_least=loudest)


def _whole_hops(samples: int) -> int:
    return max(samples // 160, 10) * 160


def _lead(rng: np.random.Generator) -> float:
    kind = rng.random()
    if kind < 0.55:
        return float(rng.uniform(0, 0.3))
    return float(rng.uniform(0.3, 1.0) if kind < 0.88 else rng.uniform(1.0, 7.0))


def _gap(rng: np.random.Generator, pause_share: float) -> float:
    kind = rng.random()
    if kind < 1 - pause_share:
        return float(rng.uniform(0.35, 1.2))
    return float(rng.uniform(1.2, 3.0) if kind < 1 - 0.267 * pause_share else rng.uniform(3.0, 9.0))


class Composer:
    """Lays phrases out in windows of up to thirty seconds."""

    def __init__(self, speakers: Speakers) -> None:
        """Remember where phrases come from."""
        self._speakers = speakers

    def window(self, rng: np.random.Generator, recipe: Recipe) -> Window:
        """Compose one window.

        Args:
            rng: Where the chance comes from.
            recipe: How long it is at most and what it is made of.

        Returns:
            The window.
        """
        room = round(recipe.seconds * SAMPLE_RATE)
        if rng.random() < recipe.silent_share:
            return silent_window(rng, room)
        brief = recipe.seconds < 10
        cut = not brief and rng.random() < 0.45
        content = room if cut else _whole_hops(int(rng.uniform(0.6 if brief else 0.05, 1.0) * room))
        audio, segments = self._lay_out(rng, content, recipe, cut)
        self._degrade(rng, audio, segments, recipe.noise_ratio)
        headroom = float(rng.uniform(0, 0.6)) if rng.random() < 0.3 else 0.0
        return Window(audio, segments, headroom)

    def _clip(self, rng: np.random.Generator, voice: int, room: int, joined_share: float) -> Clip | None:
        draw = self._speakers.joined if rng.random() < joined_share else self._speakers.phrase
        return draw(rng, voice, room)

    def _lay_out(
        self, rng: np.random.Generator, content: int, recipe: Recipe, cut: bool
    ) -> tuple[Audio, list[Segment]]:
        audio = np.zeros(content, dtype=np.float32)
        segments: list[Segment] = []
        brief = recipe.seconds < 10
        several = rng.random() < 0.3
        voice = int(rng.integers(len(VOICES)))
        gain = 10 ** rng.uniform(-1.3, 0.1)
        place = 0 if brief else self._remainder(rng, audio, voice, gain)
        lead = rng.uniform(0, 0.3) if brief else _lead(rng)
        place += int(min(lead, 0.5 * content / SAMPLE_RATE) * SAMPLE_RATE)
        while place < content - 1600:
            if several:
                voice = int(rng.integers(len(VOICES)))
            room = 10 * SAMPLE_RATE if cut else content - place
            clip = self._clip(rng, voice, room, recipe.joined_share)
            if clip is None:
                break
            level = np.float32(gain * 10 ** rng.uniform(-0.2, 0.2))
            end = min(place + len(clip.audio), content)
            audio[place:end] += clip.audio[: end - place] * level
            segments.append(_segment(clip, place, content))
            gap = rng.uniform(0.2, 0.6) if brief else _gap(rng, recipe.pause_share)
            place += len(clip.audio) + int(gap * SAMPLE_RATE)
        return audio, segments

    def _remainder(self, rng: np.random.Generator, audio: Audio, voice: int, gain: float) -> int:
        if rng.random() > 0.12:
            return 0
        clip = self._speakers.phrase(rng, voice, 10 * SAMPLE_RATE)
        length = min(int(rng.uniform(0.03, 0.15) * SAMPLE_RATE), len(audio) // 4)
        if clip is None or len(clip.audio) < length:
            return 0
        audio[:length] = clip.audio[-length:] * np.float32(gain)
        return length + int(0.35 * SAMPLE_RATE)

    @staticmethod
    def _degrade(rng: np.random.Generator, audio: Audio, segments: list[Segment], decibels: float) -> None:
        power = float(np.mean(audio**2))
        if segments and rng.random() < 0.5:
            ratio = 10 ** (-rng.uniform(decibels, 50) / 20)
            audio += noise(rng, len(audio)) * np.float32(np.sqrt(power) * ratio)
        np.clip(audio, -1, 1, out=audio)


def _segment(clip: Clip, place: int, content: int) -> Segment:
    start = place / SAMPLE_RATE
    if place + len(clip.audio) > content:
        return Segment([], start, None)
    moved = [(start + begin, start + end) for begin, end in clip.word_times]
    return Segment(clip.words, start, start + len(clip.audio) / SAMPLE_RATE, moved, clip.exact)
