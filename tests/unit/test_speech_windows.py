from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Iterable

import numpy as np
import pytest

from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.windows import EDGE_MARGIN, Ahead, Cut, Samples, Span, best_cut, cut_windows

WINDOW_S = 1.0


def loudness_vad(audio: Samples) -> list[Span]:
    """Every run of samples other than zero is speech."""
    loud = np.concatenate([[False], audio != 0, [False]])
    edges = np.flatnonzero(loud[1:] != loud[:-1])
    return [Span(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def sound(*parts: tuple[float, float]) -> Samples:
    return np.concatenate([np.full(int(seconds * SAMPLE_RATE), level, np.float32) for seconds, level in parts])


def in_blocks(audio: Samples, length: int) -> list[Samples]:
    return [audio[start : start + length] for start in range(0, len(audio), length)]


def cut(audio: Samples, block: int = 1000, *, first_index: int = 0, start_sample: int = 0) -> list[Cut]:
    blocks = in_blocks(audio, block)
    return list(
        cut_windows(blocks, window_s=WINDOW_S, vad=loudness_vad, first_index=first_index, start_sample=start_sample)
    )


def test_windows_of_any_sound_follow_each_other_without_gaps() -> None:
    audio = sound((0.7, 1), (0.2, 0), (1.4, 1), (0.1, 0), (2.3, 1), (0.4, 0))
    cuts = cut(audio)
    assert [found.index for found in cuts] == list(range(len(cuts)))
    assert np.array_equal(np.concatenate([found.audio for found in cuts]), audio)
    for before, after in itertools.pairwise(cuts):
        assert before.start_sample + len(before.audio) == after.start_sample
    assert all(len(found.audio) <= SAMPLE_RATE for found in cuts)


def test_window_is_cut_in_the_middle_of_the_widest_silence() -> None:
    first = cut(sound((0.6, 1), (0.05, 0), (0.05, 1), (0.2, 0), (0.5, 1)))[0]
    assert first.end_s == pytest.approx(0.8)
    assert first.spans[-1].end == pytest.approx(0.7 * SAMPLE_RATE)


def test_window_without_a_pause_in_its_second_half_is_cut_hard() -> None:
    first = cut(sound((0.1, 1), (0.3, 0), (2.0, 1)))[0]
    assert first.end_s == WINDOW_S
    assert first.spans[-1].end == SAMPLE_RATE


def test_best_cut_in_long_silence_keeps_all_but_a_margin() -> None:
    length = 120 * SAMPLE_RATE
    assert best_cut([], length) == length - EDGE_MARGIN


def test_best_cut_in_a_short_silence_at_the_edge_takes_its_middle() -> None:
    assert best_cut([Span(0, 900)], 1000) == 950


@pytest.mark.parametrize("block", [1, 7, 512, 16_000, 100_000])
def test_windows_do_not_depend_on_how_the_blocks_fall(block: int) -> None:
    audio = sound((0.7, 1), (0.2, 0), (0.6, 1), (0.3, 0), (0.2, 1))
    if block == 1:
        audio = audio[: int(1.1 * SAMPLE_RATE)]
    assert [len(found.audio) for found in cut(audio, block)] == [len(found.audio) for found in cut(audio)]


def test_windows_of_a_resumed_recording_are_those_of_an_unbroken_one() -> None:
    audio = sound(*((seconds, level) for seconds in (0.31, 0.4, 0.27, 0.53) for level in (1, 0)))
    whole = cut(audio)
    assert len(whole) > 2
    for resumed in whole[1:]:
        start = resumed.start_sample
        rest = cut(audio[start:], 333, first_index=resumed.index, start_sample=start)
        assert [(found.index, found.start_sample, found.spans) for found in rest] == [
            (found.index, found.start_sample, found.spans) for found in whole[resumed.index :]
        ]


@pytest.mark.parametrize("seconds", [0.25, 1.0])
def test_sound_no_longer_than_a_window_is_one_window(seconds: float) -> None:
    (only,) = cut(sound((seconds, 1)))
    assert (only.start_s, only.end_s, only.speech_s) == (0, seconds, seconds)


def test_no_sound_gives_no_windows() -> None:
    assert cut(np.zeros(0, np.float32)) == []


def test_windows_hold_no_more_than_a_window_and_a_block() -> None:
    pulled = 0

    def blocks() -> Iterable[Samples]:
        nonlocal pulled
        for block in in_blocks(sound((10, 1)), 1000):
            pulled += len(block)
            yield block

    next(cut_windows(blocks(), window_s=WINDOW_S, vad=loudness_vad))
    assert pulled <= SAMPLE_RATE + 1000


def counted(made: list[int], closed: threading.Event) -> Generator[int, None, None]:
    try:
        for number in range(5):
            made.append(number)
            yield number
    finally:
        closed.set()


def test_ahead_delivers_everything_in_order_and_ends() -> None:
    closed = threading.Event()
    with Ahead(counted([], closed)) as ahead:
        assert list(ahead) == [0, 1, 2, 3, 4]
    assert closed.is_set()


def test_ahead_left_early_closes_its_source_and_its_thread() -> None:
    closed = threading.Event()
    made: list[int] = []
    threads = threading.active_count()
    with Ahead(counted(made, closed)) as ahead:
        assert next(iter(ahead)) == 0
    assert closed.is_set()
    assert len(made) <= 2
    assert threading.active_count() == threads


def test_ahead_passes_on_what_its_source_raises() -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise ValueError("broken")

    with Ahead(broken()) as ahead, pytest.raises(ValueError, match="broken"):
        list(ahead)
