"""Subtitles: what is shown together, on which lines, and when."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given

from cesar_watch.core.transcript import Segment, Transcript
from cesar_watch.delivery.formats.cues import (
    COLUMN_MS,
    GAP_MS,
    LINE_COLUMNS,
    LONGEST_MS,
    SHORTEST_MS,
    Cue,
    cues,
)
from cesar_watch.delivery.formats.pieces import columns, text_of
from cesar_watch.delivery.formats.plain import label_of
from tests.builders import make_segment, make_transcript, make_word
from tests.transcripts import TRANSCRIPTS, said


def lines_of(*segments: Segment) -> list[list[str]]:
    return [[text_of(line) for line in cue.lines] for cue in cues(make_transcript(*segments))]


def spans_of(*segments: Segment) -> list[tuple[int, int]]:
    return [(cue.start_ms, cue.end_ms) for cue in cues(make_transcript(*segments))]


# --- what is shown together ---------------------------------------------------------------------


def test_cues_of_short_segments_are_one_each() -> None:
    assert lines_of(said("Good morning."), said("How are you?", 2)) == [["Good morning."], ["How are you?"]]


def test_cues_of_a_long_segment_are_cut_at_the_end_of_a_sentence() -> None:
    first, second = "We left at dawn and nobody had seen us.", "The road was empty but for a dog that followed us home."

    assert [" ".join(lines) for lines in lines_of(said(f"{first} {second}"))] == [first, second]


def test_cues_of_a_long_sentence_are_cut_behind_a_comma() -> None:
    first, second = (
        "When the rain had stopped at last and it was quiet,",
        "we went on along the river until it was dark.",
    )

    assert [" ".join(lines) for lines in lines_of(said(f"{first} {second}"))] == [first, second]


def test_cues_without_punctuation_are_cut_at_a_breath() -> None:
    text = "we went on until it was dark | and when the morning came not one of us could say where we had been"

    assert lines_of(said(text, pause_s=0.5))[0] == ["we went on until it was dark"]


def test_cues_are_apart_where_nobody_speaks_for_a_while() -> None:
    segment = said("Yes. | No.", word_s=0.3, pause_s=3)

    assert lines_of(segment) == [["Yes."], ["No."]]
    assert spans_of(segment)[1][0] == 3300


def test_cues_of_a_cut_sentence_leave_no_single_word_behind() -> None:
    words = " ".join(f"word{number}" for number in range(13))

    assert all(len(text_of(cue.pieces).split()) > 4 for cue in cues(make_transcript(said(words, word_s=0.2))))


def test_cues_of_slow_speech_are_cut_before_seven_seconds() -> None:
    assert spans_of(said("one two three four five six", word_s=2)) == [(0, 5916), (6000, 12000)]


def test_cue_that_would_be_gone_at_once_is_joined_with_what_follows() -> None:
    assert lines_of(said("Yes.", 0, 0.3), said("We are there.", 0.4)) == [["Yes. We are there."]]


def test_cue_that_is_joined_with_another_segment_has_a_space_between() -> None:
    assert lines_of(make_segment(0, 0.3, "Yes."), make_segment(0.4, 2, "We are there.")) == [["Yes. We are there."]]


def test_cue_is_not_joined_with_what_another_says() -> None:
    answer = said("We are there.", 0.4).model_copy(update={"speaker": "R"})

    assert lines_of(said("Yes.", 0, 0.3).model_copy(update={"speaker": "L"}), answer) == [["Yes."], ["We are there."]]


# --- lines --------------------------------------------------------------------------------------


def test_line_that_is_not_too_long_stays_one() -> None:
    assert lines_of(said("A line of exactly forty-two characters it is", word_s=0.3)) == [
        ["A line of exactly", "forty-two characters it is"]
    ]
    assert lines_of(said("A line of exactly forty-two characters is.", word_s=0.3)) == [
        ["A line of exactly forty-two characters is."]
    ]


def test_lines_are_balanced() -> None:
    assert lines_of(said("It would be a pity to leave only one word behind", word_s=0.3)) == [
        ["It would be a pity to", "leave only one word behind"]
    ]


def test_lines_break_behind_punctuation_if_that_is_near_the_middle() -> None:
    assert lines_of(said("As soon as I can, I will call you from the airport", word_s=0.3)) == [
        ["As soon as I can,", "I will call you from the airport"]
    ]


def test_line_breaks_inside_a_word_only_if_nothing_else_will_do() -> None:
    word = "Donaudampfschifffahrtsgesellschaft"

    assert lines_of(said(f"The {word} was far away", word_s=0.3)) == [[f"The {word}", "was far away"]]
    assert len(lines_of(make_segment(0, 6, word * 2))[0]) == 2


def test_lines_of_a_full_width_script_hold_half_as_many_characters() -> None:
    text = "今日はいい天気ですね、" * 3

    assert lines_of(make_segment(0, 6, text)) == [
        ["今日はいい天気ですね、今日はいい", "天気ですね、今日はいい天気ですね、"]
    ]


def test_lines_of_a_script_without_spaces_lose_nothing() -> None:
    text = "今日はいい天気ですね" * 12

    found = lines_of(make_segment(0, 20, text))

    assert "".join("".join(lines) for lines in found) == text


def test_lines_leave_room_for_the_speakers_label() -> None:
    text = "This line would fit if nobody were named."
    speaker = said(text, word_s=0.3).model_copy(update={"speaker": "Anna"})

    assert len(lines_of(said(text, word_s=0.3))[0]) == 1
    assert len(lines_of(speaker)[0]) == 2


@pytest.mark.parametrize(
    ("text", "word_texts"),
    [
        ("Good morning.", (" Good", " morning.")),
        ("Good morning.", ("Good", "morning.")),
        ("你好世界", ("你好", "世界")),
    ],
)
def test_lines_of_words_with_or_without_spaces_read_as_the_segment_does(text: str, word_texts: tuple[str, ...]) -> None:
    words = tuple(make_word(index, index + 1, word) for index, word in enumerate(word_texts))

    assert lines_of(make_segment(0, 2, text, words)) == [[text]]


# --- when ---------------------------------------------------------------------------------------


def test_cues_of_segments_out_of_order_are_in_the_order_of_time() -> None:
    assert lines_of(said("And then?", 5), said("Yes.", 1)) == [["Yes."], ["And then?"]]


def test_cues_are_timed_by_their_words() -> None:
    segment = make_segment(0, 9, " Good morning.", (make_word(2.5, 3, " Good"), make_word(3, 4.25, " morning.")))

    assert spans_of(segment) == [(2500, 4250)]


def test_cues_of_words_that_tell_another_story_keep_the_segments_text_and_times() -> None:
    segment = make_segment(0, 2, "Good morning.", (make_word(0, 1, " Good"),))

    assert (lines_of(segment), spans_of(segment)) == ([["Good morning."]], [(0, 2000)])


def test_cues_without_word_timestamps_share_the_time_by_characters() -> None:
    spans = spans_of(make_segment(10, 30, "One sentence after the other. " * 8))

    assert (spans[0][0], spans[-1][1]) == (10_000, 30_000)


def test_short_cue_stays_on_into_the_silence_behind_it() -> None:
    assert spans_of(make_segment(1, 1.1, "Yes.")) == [(1000, 1000 + SHORTEST_MS)]


def test_fast_speech_stays_on_until_it_can_be_read() -> None:
    text = "Forty characters take two seconds to read"

    assert spans_of(make_segment(0, 1, text)) == [(0, len(text) * COLUMN_MS)]


def test_cue_ends_two_frames_before_the_next() -> None:
    assert spans_of(said("Yes it is so.", 0, 0.5), said("And then?", 2, 1)) == [(0, 2000 - GAP_MS), (2000, 4000)]


def test_cue_that_would_be_too_short_lasts_until_the_next() -> None:
    answer = said("And then?", 0.9, 1).model_copy(update={"speaker": "R"})

    assert spans_of(said("Yes.", 0, 0.9), answer) == [(0, 900), (900, 2900)]


def test_cue_of_who_speaks_at_the_same_time_waits_for_the_first() -> None:
    answer = said("And then?", 0.2, 1).model_copy(update={"speaker": "R"})

    assert spans_of(said("Yes.", 0, 0.9), answer) == [(0, SHORTEST_MS), (SHORTEST_MS, 2200)]


# --- whatever is said ---------------------------------------------------------------------------


def is_readable(cue: Cue) -> bool:
    return columns(text_of(cue.pieces)) * COLUMN_MS <= cue.end_ms - cue.start_ms


@given(TRANSCRIPTS)
def test_cues_never_overlap_nor_flicker(transcript: Transcript) -> None:
    found = list(cues(transcript))

    assert all(SHORTEST_MS <= cue.end_ms - cue.start_ms <= LONGEST_MS for cue in found)
    gaps = [after.start_ms - before.end_ms for before, after in pairwise(found)]
    assert all(gap == 0 or gap >= GAP_MS for gap in gaps)


@given(TRANSCRIPTS)
def test_cues_have_at_most_two_lines_that_are_not_too_long(transcript: Transcript) -> None:
    for cue in cues(transcript):
        texts = [text_of(line) for line in cue.lines]
        assert 1 <= len(texts) <= 2
        assert all(texts)
        assert all(columns(text) <= LINE_COLUMNS for text in (label_of(cue.speaker) + texts[0], *texts[1:]))


@given(TRANSCRIPTS)
def test_cues_leave_no_word_out_and_give_none_to_another_speaker(transcript: Transcript) -> None:
    heard: Counter[tuple[str, str]] = Counter()
    for segment in transcript.segments:
        heard.update((segment.speaker or "", letter) for letter in "".join(segment.text.split()))
    shown = Counter((cue.speaker, letter) for cue in cues(transcript) for piece in cue.pieces for letter in piece.text)

    assert shown == heard


@given(TRANSCRIPTS)
def test_cues_can_be_read_in_their_time_unless_the_next_is_due(transcript: Transcript) -> None:
    found = list(cues(transcript))

    assert all(is_readable(cue) or after.start_ms - cue.end_ms <= GAP_MS for cue, after in pairwise(found))
    assert not found or is_readable(found[-1])


@given(TRANSCRIPTS)
def test_cues_begin_with_their_first_word_unless_the_one_before_is_still_on(transcript: Transcript) -> None:
    found = list(cues(transcript))
    waited = [before.end_ms == after.start_ms for before, after in pairwise(found)]

    for cue, is_late in zip(found, [False, *waited], strict=False):
        first_ms = cue.pieces[0].start_ms
        assert cue.start_ms == first_ms or (is_late and cue.start_ms > first_ms)


def test_cues_of_hours_are_made_in_one_go() -> None:
    talk = said("word " * 20_000, word_s=0.36)

    found = list(cues(make_transcript(talk, duration_s=7200)))

    assert len(found) > 1000
    assert found[-1].end_ms == 7_200_000
