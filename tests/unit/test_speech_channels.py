from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cesar_watch.speech.channels import Samples, fit, mix

LEFT = np.array([0.5, -0.5, 0.25, 0.0], np.float32)
RIGHT = np.array([0.25, 0.75, -0.25, 1.0], np.float32)


def rows(*channels: npt.NDArray[Any]) -> Samples:
    return np.array(channels, np.float32)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_channels_that_are_as_many_as_the_rows_stay_as_they_are(count: int) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (count, 100)).astype(np.float32)

    assert np.array_equal(fit(sound, count), sound)


def test_channels_that_are_too_few_leave_rows_silent() -> None:
    assert np.array_equal(fit(rows(LEFT), 3), rows(LEFT, 0 * LEFT, 0 * LEFT))


def test_channels_that_are_too_many_are_mixed_into_the_last_row() -> None:
    centre = np.full(4, 0.125, np.float32)

    assert np.allclose(fit(rows(LEFT, RIGHT, centre), 2), rows(LEFT, (RIGHT + centre) / 2))


def test_channels_as_one_row_are_their_mean() -> None:
    assert np.allclose(fit(rows(LEFT, RIGHT), 1), rows((LEFT + RIGHT) / 2))


def test_mix_of_full_scale_does_not_clip() -> None:
    assert np.abs(mix(np.ones((8, 10), np.float32))).max() == 1


@pytest.mark.parametrize("count", [2, 8, 64])
def test_mix_of_one_voice_and_silence_keeps_the_voice(count: int) -> None:
    sound = np.zeros((count, 4), np.float32)
    sound[-1] = RIGHT

    assert np.allclose(mix(sound), RIGHT / count)


def test_mix_of_channels_that_cancel_each_other_is_the_loudest() -> None:
    assert np.array_equal(mix(rows(0.99 * LEFT, -LEFT)), -LEFT)


@pytest.mark.parametrize("count", [2, 64])
def test_mix_of_different_sounds_is_never_taken_for_cancelled(count: int) -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, (count, 1000)).astype(np.float32)

    assert np.allclose(mix(sound), sound.mean(axis=0))


def test_mix_of_silence_is_silence() -> None:
    assert not mix(np.zeros((2, 10), np.float32)).any()


@pytest.mark.parametrize("count", [1, 2, 9])
def test_fitted_sound_stays_float32(count: int) -> None:
    sound = np.zeros((count, 5), np.float32)

    assert {fit(sound, wanted).dtype for wanted in (1, 2, 8)} == {np.dtype(np.float32)}
