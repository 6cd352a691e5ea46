from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cesar_watch.speech.languages import (
    ENOUGH_S,
    MOST_WINDOWS,
    SAMPLE,
    SAMPLES,
    Spoken,
    decide,
    samples_of,
    with_language,
)
from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.windows import Cut, Span

CS = Spoken("cs", 0.9)


def cut(index: int, speech_s: float, *, channels: int = 1) -> Cut:
    """A window of sound in which each sample is its index, and speech from its beginning on."""
    length = int(max(speech_s, 1.0) * SAMPLE_RATE)
    spans = (Span(0, int(speech_s * SAMPLE_RATE)),) if speech_s else ()
    return Cut(index, 0, np.full((channels, length), index, np.float32), (spans,) * channels)


class Log:
    """What was asked of the model, and told, in this order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def detect(self, cuts: Sequence[Cut]) -> Spoken:
        self.lines.append(f"detect {[cut.index for cut in cuts]}")
        return CS

    def run(self, *cuts: Cut) -> list[str]:
        for found in with_language(cuts, self.detect, lambda spoken: self.lines.append(spoken.language)):
            self.lines.append(f"window {found.index}")
        return self.lines


def test_windows_without_speech_pass_and_the_language_is_found_on_the_first_speech() -> None:
    lines = Log().run(cut(0, 0), cut(1, 0), cut(2, ENOUGH_S), cut(3, 5))
    assert lines == ["window 0", "window 1", "detect [2]", "cs", "window 2", "window 3"]


def test_windows_with_a_little_speech_are_held_until_there_is_enough() -> None:
    lines = Log().run(cut(0, 20), cut(1, 0), cut(2, ENOUGH_S), cut(3, 5))
    assert lines == ["detect [0, 1, 2]", "cs", "window 0", "window 1", "window 2", "window 3"]


def test_no_more_windows_are_held_than_memory_is_for() -> None:
    lines = Log().run(*(cut(index, 1) for index in range(MOST_WINDOWS + 2)))
    assert lines[0] == f"detect {list(range(MOST_WINDOWS))}"


def test_language_of_a_short_recording_is_found_on_what_there_is() -> None:
    assert Log().run(cut(0, 2)) == ["detect [0]", "cs", "window 0"]


def test_model_is_not_asked_where_nobody_speaks() -> None:
    assert Log().run(cut(0, 0), cut(1, 0)) == ["window 0", "window 1"]
    assert Log().run() == []


def test_samples_are_spread_over_the_speech_and_no_longer_than_the_model_hears() -> None:
    samples = samples_of([cut(index, 60) for index in range(4)])
    assert len(samples) == SAMPLES
    assert all(len(sample) <= SAMPLE for sample in samples)
    assert [int(sample[0]) for sample in samples] == [0, 1, 2, 3]


def test_sample_of_a_second_or_two_does_not_count_as_much_as_a_whole_one() -> None:
    assert [len(sample) for sample in samples_of([cut(0, 31)])] == [SAMPLE]
    assert [len(sample) / SAMPLE_RATE for sample in samples_of([cut(0, 2)])] == [2]
    assert len(samples_of([cut(0, 45)])) == 2


def test_samples_are_of_speech_on_every_channel() -> None:
    assert [len(sample) / SAMPLE_RATE for sample in samples_of([cut(0, 5, channels=2), cut(1, 0)])] == [10]


@pytest.mark.parametrize(
    ("heard", "allowed", "expected"),
    [
        ([{"en": 0.9, "cs": 0.1}], [], ("en", 0.9)),
        ([{"en": 0.6, "cs": 0.4}, {"en": 0.1, "cs": 0.9}], [], ("cs", 0.65)),
        ([{"en": 0.5, "sk": 0.3, "cs": 0.2}], ["cs", "sk"], ("sk", 0.6)),
        ([{"en": 1.0, "cs": 0.0}], ["cs"], ("cs", 0.0)),
        ([{"en": 0.2, "cs": 0.0001}], ["cs"], ("cs", 1.0)),
    ],
    ids=["one-sample", "the-sum-counts-not-the-first", "only-those-allowed", "none-of-those-allowed", "the-only-one"],
)
def test_language_with_the_highest_probability_of_all_samples_is_spoken(
    heard: list[dict[str, float]], allowed: list[str], expected: tuple[str, float]
) -> None:
    spoken = decide(heard, allowed)
    assert spoken.language == expected[0]
    assert spoken.probability == pytest.approx(expected[1])
