from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.windows import (
    EDGE_MARGIN,
    FIRST_S,
    SEARCHED,
    Cut,
    Sound,
    Span,
    best_cut,
    cut_windows,
    union,
    window_length_s,
)

WINDOW_S = 1.0


def loudness_vad(audio: Sound) -> list[Span]:
    """Every run of samples other than zero is speech."""
    loud = np.concatenate([[False], audio != 0, [False]])
    edges = np.flatnonzero(loud[1:] != loud[:-1])
    return [Span(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def sound(*parts: tuple[float, float]) -> Sound:
    """One channel, of parts (seconds, level)."""
    levels = [np.full(int(seconds * SAMPLE_RATE), level, np.float32) for seconds, level in parts]
    return np.concatenate(levels)[None, :]


def in_blocks(audio: Sound, length: int) -> list[Sound]:
    return [audio[:, start : start + length] for start in range(0, audio.shape[1], length)]


def cut(audio: Sound, block: int = 1000, *, first_index: int = 0, start_sample: int = 0) -> list[Cut]:
    blocks = in_blocks(audio, block)
    return list(
        cut_windows(
            blocks, length_s=lambda _: WINDOW_S, vad=loudness_vad, first_index=first_index, start_sample=start_sample
        )
    )


def test_windows_of_any_sound_follow_each_other_without_gaps() -> None:
    audio = sound((0.7, 1), (0.2, 0), (1.4, 1), (0.1, 0), (2.3, 1), (0.4, 0))
    cuts = cut(audio)
    assert [found.index for found in cuts] == list(range(len(cuts)))
    assert np.array_equal(np.concatenate([found.audio for found in cuts], axis=1), audio)
    for before, after in itertools.pairwise(cuts):
        assert before.start_sample + before.audio.shape[1] == after.start_sample
    assert all(found.audio.shape[1] <= SAMPLE_RATE for found in cuts)


def test_window_is_cut_in_the_middle_of_the_widest_silence() -> None:
    first = cut(sound((0.6, 1), (0.05, 0), (0.05, 1), (0.2, 0), (0.5, 1)))[0]
    assert first.end_s == pytest.approx(0.8)
    assert first.spans[0][-1].end == pytest.approx(0.7 * SAMPLE_RATE)


def test_window_without_a_pause_in_its_second_half_is_cut_hard() -> None:
    first = cut(sound((0.1, 1), (0.3, 0), (2.0, 1)))[0]
    assert first.end_s == WINDOW_S
    assert first.spans[0][-1].end == SAMPLE_RATE


def test_window_of_several_channels_is_cut_where_nobody_speaks_on_any() -> None:
    one = sound((0.6, 1), (0.4, 0), (0.5, 1))
    other = sound((0.3, 0), (0.6, 1), (0.1, 0), (0.5, 1))
    first = cut(np.concatenate([one, other]))[0]
    assert first.end_s == pytest.approx(0.95)
    assert [spans[0].end for spans in first.spans] == pytest.approx([0.6 * SAMPLE_RATE, 0.9 * SAMPLE_RATE], abs=1)
    assert first.speech_s == pytest.approx(0.9)


def test_best_cut_in_long_silence_keeps_all_but_a_margin() -> None:
    length = 120 * SAMPLE_RATE
    assert best_cut([], length) == length - EDGE_MARGIN


def test_best_cut_in_a_short_silence_at_the_edge_takes_its_middle() -> None:
    assert best_cut([Span(0, 900)], 1000) == 950


def test_best_cut_of_a_long_window_is_near_its_end() -> None:
    length = 300 * SAMPLE_RATE
    wide, narrow = Span(length // 2 + 1, length - SEARCHED), Span(length - SEARCHED + 100, length)
    assert best_cut([Span(0, length // 2 - SAMPLE_RATE), wide, narrow], length) == length - SEARCHED + 50


@pytest.mark.parametrize("block", [1, 7, 512, 16_000, 100_000])
def test_windows_do_not_depend_on_how_the_blocks_fall(block: int) -> None:
    audio = sound((0.7, 1), (0.2, 0), (0.6, 1), (0.3, 0), (0.2, 1))
    if block == 1:
        audio = audio[:, : int(1.1 * SAMPLE_RATE)]
    assert [found.end_s for found in cut(audio, block)] == [found.end_s for found in cut(audio)]


def test_windows_of_a_resumed_recording_are_those_of_an_unbroken_one() -> None:
    audio = sound(*((seconds, level) for seconds in (0.31, 0.4, 0.27, 0.53) for level in (1, 0)))
    whole = cut(audio)
    assert len(whole) > 2
    for resumed in whole[1:]:
        start = resumed.start_sample
        rest = cut(audio[:, start:], 333, first_index=resumed.index, start_sample=start)
        assert [(found.index, found.start_sample, found.spans) for found in rest] == [
            (found.index, found.start_sample, found.spans) for found in whole[resumed.index :]
        ]


@pytest.mark.parametrize("seconds", [0.25, 1.0])
def test_sound_no_longer_than_a_window_is_one_window(seconds: float) -> None:
    (only,) = cut(sound((seconds, 1)))
    assert (only.start_s, only.end_s, only.speech_s) == (0, seconds, seconds)


def test_no_sound_gives_no_windows() -> None:
    assert cut(np.zeros((1, 0), np.float32)) == []


def test_windows_hold_no_more_than_a_window_and_a_block() -> None:
    pulled = 0

    def blocks() -> Iterable[Sound]:
        nonlocal pulled
        for block in in_blocks(sound((10, 1)), 1000):
            pulled += block.shape[1]
            yield block

    next(cut_windows(blocks(), length_s=lambda _: WINDOW_S, vad=loudness_vad))
    assert pulled <= SAMPLE_RATE + 1000


def test_each_window_has_the_length_for_its_index() -> None:
    lengths = [0.5, 1.0, 2.0, 2.0]
    cuts = list(cut_windows(in_blocks(sound((5, 1)), 700), length_s=lengths.__getitem__, vad=loudness_vad))
    assert [found.end_s - found.start_s for found in cuts] == [0.5, 1.0, 2.0, 1.5]


@pytest.mark.parametrize(
    ("declared_s", "expected"), [(None, 300.0), (86_400.0, 300.0), (600.0, 94.9), (240.0, 60.0), (10.0, 60.0)]
)
def test_window_of_a_short_recording_is_short_so_that_several_can_be_worked_on_at_once(
    declared_s: float | None, expected: float
) -> None:
    assert window_length_s(1, 300.0, declared_s) == pytest.approx(expected, abs=0.1)


def test_first_window_is_short_so_that_text_comes_soon() -> None:
    assert window_length_s(0, 300.0, 86_400.0) == FIRST_S


def test_no_window_is_longer_than_the_settings_say() -> None:
    assert {window_length_s(index, 20.0, declared_s) for index in (0, 1, 9) for declared_s in (None, 600.0)} == {20.0}


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([[(0, 5)], [(10, 12)]], [(0, 5), (10, 12)]),
        ([[(0, 5), (8, 20)], [(3, 9)]], [(0, 20)]),
        ([[(0, 20)], [(5, 6)]], [(0, 20)]),
        ([[(0, 5)], [(5, 6)]], [(0, 6)]),
        ([[], []], []),
    ],
)
def test_union_is_where_anybody_speaks(spans: list[list[tuple[int, int]]], expected: list[tuple[int, int]]) -> None:
    channels = [[Span(*edges) for edges in channel] for channel in spans]
    assert union(channels) == [Span(*edges) for edges in expected]
