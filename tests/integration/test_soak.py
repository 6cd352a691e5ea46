"""A small sample of the soak test, and that it sees what must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.nursery import Ending
from tests.soak.soak import PEAK_BYTES, Result, Soak, is_violation, soak

SMALL = 90 << 20


def result(ending: Ending) -> Result:
    return Result(0, "wav", "a.wav, truncated", 1000, ending)


def test_damaged_recordings_of_every_container_end_in_sound_or_in_an_error_of_ours(tmp_path: Path) -> None:
    said: list[str] = []
    results = soak(Soak(seed=7, keep=tmp_path), range(46), shards=2, say=said.append)

    assert [one for one in results if is_violation(one)] == []
    assert said == []
    assert [one.number for one in results] == list(range(46))
    assert len({one.container for one in results}) > 15
    assert {one.ending.how for one in results} == {"decoded", "refused"}


def test_inputs_are_the_same_for_the_same_seed_only(tmp_path: Path) -> None:
    one, again, other = (Soak(seed, tmp_path).input(3) for seed in (1, 1, 2))

    assert one == again
    assert one.content != other.content


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (Ending("decoded", decoded_s=9.0, took_s=0.1, peak_bytes=SMALL), "decoded"),
        (Ending("refused", "not_media", peak_bytes=SMALL), "not_media"),
        (Ending("crashed", "SIGSEGV"), "crashed in the codec"),
    ],
)
def test_ending_that_may_be_is_no_violation(ending: Ending, outcome: str) -> None:
    assert result(ending).outcome == outcome
    assert not is_violation(result(ending))


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (Ending("hung"), "hung"),
        (Ending("foreign", "KeyError: 3"), "not ours"),
        (Ending("refused", "because"), "unknown reason because"),
        (Ending("decoded", decoded_s=9.0, peak_bytes=PEAK_BYTES + 1), "too much memory"),
        (Ending("refused", "not_media", peak_bytes=PEAK_BYTES + 1), "too much memory"),
        (Ending("decoded", decoded_s=20.0, took_s=7.0), "too slow"),
    ],
)
def test_ending_that_must_not_be_is_a_violation(ending: Ending, outcome: str) -> None:
    assert result(ending).outcome == outcome
    assert is_violation(result(ending))
