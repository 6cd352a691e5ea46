from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from faster_whisper.transcribe import Segment as RawSegment
from faster_whisper.transcribe import Word as RawWord
from hypothesis import given
from hypothesis import strategies as st

from cesar_watch.core.transcript import Stretch
from cesar_watch.speech.clips import CHUNK, KEPT_SILENCE, PADDING, Clips, join_spans
from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.windows import Cut, Sound, Span


def clips(*spans_s: tuple[float, float], length_s: float = 100.0, start_s: float = 0.0) -> Clips:
    audio = np.arange(int(length_s * SAMPLE_RATE), dtype=np.float32)
    return Clips.around(audio, [Span(*(int(at_s * SAMPLE_RATE) for at_s in span)) for span in spans_s], start_s)


def raw(start_s: float, end_s: float, text: str = " words ", words: list[RawWord] | None = None) -> RawSegment:
    return RawSegment(
        id=1,
        seek=0,
        start=start_s,
        end=end_s,
        text=text,
        tokens=[],
        avg_logprob=-0.25,
        compression_ratio=1.5,
        no_speech_prob=0.01,
        words=words,
        temperature=0.0,
    )


def in_seconds(spans: Iterable[Span]) -> list[tuple[float, float]]:
    return [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in spans]


def test_sound_is_the_speech_with_a_margin_and_without_long_silences() -> None:
    one = clips((10, 12), (20, 23))
    assert in_seconds(one.kept) == [(9.6, 12.4), (19.6, 23.4)]
    assert len(one.sound) / SAMPLE_RATE == pytest.approx(2.8 + 3.8)
    # Each sample is its own number.
    assert np.array_equal(one.sound, np.concatenate([np.arange(kept.start, kept.end) for kept in one.kept]))


def test_short_silences_stay_in_the_sound() -> None:
    assert in_seconds(clips((10, 12), (13, 15)).kept) == [(9.6, 15.4)]


def test_margin_does_not_reach_beyond_the_window() -> None:
    assert in_seconds(clips((0, 99.9)).kept) == [(0, 100)]


def test_channels_are_those_in_which_somebody_speaks() -> None:
    cut = Cut(0, 0, np.zeros((3, 100), np.float32), ((Span(0, 9),), (), (Span(5, 9), Span(20, 30))))
    assert [(number, one.spans) for number, one in Clips.of(cut)] == [(0, cut.spans[0]), (2, cut.spans[2])]


def test_times_are_those_of_the_recording() -> None:
    one = clips((10, 12), (20, 23), start_s=1000.0)
    # The sound has the second stretch at 2.8 s.
    (first, second) = one.restored([raw(0.4, 2.4), raw(3.2, 6.2)])
    assert (first.start_s, first.end_s) == (1010, 1012)
    assert (second.start_s, second.end_s) == (1020, 1023)
    assert one.speech == [Stretch(start_s=1010, end_s=1012), Stretch(start_s=1020, end_s=1023)]


def test_words_keep_their_space_and_segments_lose_it() -> None:
    words = [RawWord(start=0.4, end=1.0, word=" two", probability=0.5), RawWord(1.0, 2.0, " words", 0.75)]
    (segment,) = clips((10, 12)).restored([raw(0.4, 2.0, " two words", words)])
    assert segment.text == "two words"
    assert [(word.text, word.start_s, word.end_s, word.probability) for word in segment.words] == [
        (" two", 10.0, 10.6, 0.5),
        (" words", 10.6, 11.6, 0.75),
    ]


def test_answers_without_text_are_left_out() -> None:
    assert list(clips((10, 12)).restored([raw(0, 1, " "), raw(1, 2, "")])) == []


@pytest.mark.parametrize("times", [(-5.0, 1.0), (1.0, 900.0), (2.0, 1.0)])
def test_no_time_lies_outside_of_the_window_or_goes_backwards(times: tuple[float, float]) -> None:
    one = clips((0, 20), length_s=20.0, start_s=50.0)
    (segment,) = one.restored([raw(*times)])
    assert 50 <= segment.start_s <= segment.end_s <= 70


def test_part_is_the_sound_of_a_stretch_with_a_margin() -> None:
    one = clips((10, 12), (20, 40), start_s=1000.0)
    part = one.part(Stretch(start_s=1025.0, end_s=1030.0))
    assert [part.start_s, part.end_s] == pytest.approx([1024.6, 1030.4])
    assert np.array_equal(part.sound, np.arange(int(24.6 * SAMPLE_RATE), int(30.4 * SAMPLE_RATE)))


@given(
    st.lists(st.tuples(st.floats(0.05, 20), st.floats(0.05, 6)), min_size=1, max_size=30),
    st.floats(0, 5),
)
def test_pieces_for_batches_are_all_the_sound_and_none_is_longer_than_the_model_hears(
    turns: list[tuple[float, float]], before_s: float
) -> None:
    spans, at_s = [], before_s
    for speech_s, pause_s in turns:
        spans.append((at_s, at_s + speech_s))
        at_s += speech_s + pause_s
    one = clips(*spans, length_s=at_s)
    pieces = one.chunks()
    assert (pieces[0].start, pieces[-1].end) == (0, len(one.sound))
    assert all(0 < piece.end - piece.start <= CHUNK for piece in pieces)
    assert all(before.end == after.start for before, after in itertools.pairwise(pieces))
    # As few as can be with cuts only in pauses: no two neighbours would fit into one.
    assert all(after.end - before.start > CHUNK for before, after in itertools.pairwise(pieces))


def test_pieces_are_cut_in_pauses() -> None:
    pieces = clips((1, 20), (21, 40), (41, 50)).chunks()
    # The sound begins at 0.6 s; the pauses are at 20.5 s and 40.5 s.
    assert [end for edges in in_seconds(pieces) for end in edges] == pytest.approx([0, 19.9, 19.9, 49.8])


def test_piece_of_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    audio = np.ones(60 * SAMPLE_RATE, np.float32)
    audio[int(27.2 * SAMPLE_RATE) : int(27.6 * SAMPLE_RATE)] = 0.01
    pieces = Clips.around(audio, [Span(0, len(audio))], 0.0).chunks()
    assert 27.2 < pieces[0].end / SAMPLE_RATE < 27.6


def loose(*edges: tuple[int, int]) -> list[Span]:
    return [Span(*edge) for edge in edges]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], []),
        (loose((PADDING, 20_000)), loose((0, 20_000 + PADDING))),
        (loose((0, 100), (100 + KEPT_SILENCE - 1, 50_000)), loose((0, 50_000 + PADDING))),
    ],
)
def test_joined_spans(spans: list[Span], expected: list[Span]) -> None:
    assert join_spans(spans, 60_000) == expected


def test_silent_sound_of_any_length_has_no_kept_stretches() -> None:
    silent: Sound = np.zeros(10, np.float32)
    assert Clips.around(silent, [], 0.0).kept == ()
