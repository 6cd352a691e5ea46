"""What an output file of each format looks like, to the byte."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import get_args

import pytest

from cesar_watch.core.config import Format
from cesar_watch.delivery.formats import CUE_LINES, CUE_S, LINE_CHARACTERS, RENDERERS, cues, render
from tests.builders import make_segment, make_transcript, make_word

TALK = make_transcript(
    make_segment(0.5, 2.0, " Good morning."),
    make_segment(2.2, 4.25, " Salt & pepper < spice --> more."),
    make_segment(3605.0, 3606.0, " Žluťoučký kůň."),
    duration_s=3610.0,
)
EMPTY = make_transcript(language=None)


def text_of(transcript: object, fmt: Format) -> str:
    return render(transcript, fmt).decode()  # type: ignore[arg-type]


def test_renderers_for_every_format_of_the_settings_exist() -> None:
    assert set(RENDERERS) == set(get_args(Format))


def test_txt_with_a_pause_begins_a_paragraph() -> None:
    assert text_of(TALK, "txt") == "Good morning. Salt & pepper < spice --> more.\n\nŽluťoučký kůň.\n"


def test_txt_with_a_long_paragraph_is_not_wrapped() -> None:
    transcript = make_transcript(make_segment(0, 60, "word " * 200))

    assert text_of(transcript, "txt").count("\n") == 1


def test_srt_of_a_talk_is_golden() -> None:
    assert text_of(TALK, "srt") == (
        "1\n00:00:00,500 --> 00:00:02,000\nGood morning.\n\n"
        "2\n00:00:02,200 --> 00:00:04,250\nSalt & pepper < spice --> more.\n\n"
        "3\n01:00:05,000 --> 01:00:06,000\nŽluťoučký kůň.\n"
    )


def test_vtt_of_a_talk_is_golden_and_escaped() -> None:
    assert text_of(TALK, "vtt") == (
        "WEBVTT\n\n"
        "00:00:00.500 --> 00:00:02.000\nGood morning.\n\n"
        "00:00:02.200 --> 00:00:04.250\nSalt &amp; pepper &lt; spice --&gt; more.\n\n"
        "01:00:05.000 --> 01:00:06.000\nŽluťoučký kůň.\n"
    )


def test_tsv_of_a_talk_is_golden_in_milliseconds() -> None:
    assert text_of(TALK, "tsv") == (
        "start\tend\ttext\n"
        "500\t2000\tGood morning.\n"
        "2200\t4250\tSalt & pepper < spice --> more.\n"
        "3605000\t3606000\tŽluťoučký kůň.\n"
    )


def test_tsv_with_tabs_and_newlines_in_the_text_stays_one_row() -> None:
    transcript = make_transcript(make_segment(0, 1, "a\tb\nc\r\nd"))

    assert text_of(transcript, "tsv").splitlines()[1] == "0\t1000\ta b c d"


def test_json_of_a_talk_holds_every_figure() -> None:
    words = (make_word(0.1, 0.30000000000000004, " Good"), make_word(0.3, 0.9, " morning."))
    transcript = make_transcript(make_segment(0.1, 0.9, " Good morning.", words), duration_s=1.5)

    assert json.loads(render(transcript, "json")) == {
        "text": "Good morning.",
        "language": "en",
        "language_probability": 0.98,
        "duration_s": 1.5,
        "segments": [
            {
                "id": 0,
                "start_s": 0.1,
                "end_s": 0.9,
                "text": "Good morning.",
                "avg_logprob": -0.25,
                "no_speech_prob": 0.01,
                "compression_ratio": 1.5,
                "words": [
                    {"start_s": 0.1, "end_s": 0.3, "text": " Good", "probability": 0.9},
                    {"start_s": 0.3, "end_s": 0.9, "text": " morning.", "probability": 0.9},
                ],
            }
        ],
    }


def test_json_is_readable_utf8_that_ends_with_a_newline() -> None:
    content = render(TALK, "json")

    assert "Žluťoučký".encode() in content
    assert content.endswith(b"}\n")


@pytest.mark.parametrize(
    ("fmt", "content"), [("txt", b""), ("srt", b""), ("vtt", b"WEBVTT\n"), ("tsv", b"start\tend\ttext\n")]
)
def test_empty_transcript_gives_a_valid_file(fmt: Format, content: bytes) -> None:
    assert render(EMPTY, fmt) == content


def test_empty_transcript_gives_json_without_segments() -> None:
    assert json.loads(render(EMPTY, "json")) == {
        "text": "",
        "language": None,
        "language_probability": None,
        "duration_s": 60.0,
        "segments": [],
    }


@pytest.mark.parametrize("fmt", ["txt", "srt", "vtt", "tsv"])
def test_segment_without_text_leaves_no_trace(fmt: Format) -> None:
    with_blank = make_transcript(make_segment(0, 1, "Hello."), make_segment(1, 2, "  "))

    assert render(with_blank, fmt) == render(make_transcript(make_segment(0, 1, "Hello.")), fmt)


@pytest.mark.parametrize("fmt", get_args(Format))
def test_lone_surrogate_in_the_text_still_gives_utf8(fmt: Format) -> None:
    transcript = make_transcript(make_segment(0, 1, "a\udc80b").model_copy(update={"text": "a\udc80b"}))

    assert b"a" in render(transcript, fmt)


def test_cues_of_a_long_segment_follow_its_word_timestamps() -> None:
    words = tuple(make_word(index, index + 0.8, f" word{index}") for index in range(12))
    text = "".join(word.text for word in words)

    found = cues(make_transcript(make_segment(0, 12, text, words)))

    assert [(cue.start_ms, cue.end_ms) for cue in found] == [(0, 6800), (7000, 11800)]
    assert found[1].lines == ("word7 word8 word9 word10 word11",)


def test_cues_of_fast_speech_hold_two_lines_at_most() -> None:
    words = tuple(make_word(index / 10, (index + 1) / 10, " syllable") for index in range(60))

    found = cues(make_transcript(make_segment(0, 6, "".join(word.text for word in words), words)))

    assert all(len(cue.lines) <= CUE_LINES for cue in found)
    assert all(len(line) <= LINE_CHARACTERS for cue in found for line in cue.lines)
    assert " ".join(line for cue in found for line in cue.lines) == "syllable " * 59 + "syllable"


def test_cues_without_word_timestamps_share_the_time_by_characters() -> None:
    found = cues(make_transcript(make_segment(10, 30, "One sentence after the other. " * 8)))

    assert found[0].start_ms == 10_000
    assert found[-1].end_ms == 30_000
    assert all(cue.end_ms - cue.start_ms <= CUE_S * 1000 for cue in found)


def test_cues_of_a_script_without_spaces_are_cut_inside_a_word() -> None:
    text = "今日はいい天気ですね" * 12

    found = cues(make_transcript(make_segment(0, 20, text)))

    assert all(len(line) <= LINE_CHARACTERS for cue in found for line in cue.lines)
    assert "".join(line for cue in found for line in cue.lines) == text


@pytest.mark.parametrize(
    ("text", "word_texts"),
    [
        ("Good morning.", (" Good", " morning.")),
        ("Good morning.", ("Good", "morning.")),
        ("你好世界", ("你好", "世界")),
    ],
)
def test_cues_of_words_with_or_without_spaces_read_as_the_segment_does(text: str, word_texts: tuple[str, ...]) -> None:
    words = tuple(make_word(index, index + 1, word) for index, word in enumerate(word_texts))

    assert cues(make_transcript(make_segment(0, 2, text, words)))[0].lines == (text,)


def test_cues_of_words_that_tell_another_story_keep_the_segments_text() -> None:
    found = cues(make_transcript(make_segment(0, 2, "Good morning.", (make_word(0, 1, " Good"),))))

    assert [(cue.start_ms, cue.end_ms, cue.lines) for cue in found] == [(0, 2000, ("Good morning.",))]


def test_cues_that_overlap_a_little_end_where_the_next_begins() -> None:
    found = cues(make_transcript(make_segment(0, 5, "Yes."), make_segment(4, 8, "No.")))

    assert [(cue.start_ms, cue.end_ms) for cue in found] == [(0, 4000), (4000, 8000)]


@pytest.mark.parametrize(
    "spans",
    [[(0, 5), (4, 8), (8, 9)], [(0, 10), (0, 2), (0, 1)], [(3, 3), (3, 3)], [(5, 6), (1, 2)], [(-1, 0.5), (0, 1)]],
)
def test_cues_of_overlapping_segments_never_overlap(spans: list[tuple[float, float]]) -> None:
    found = cues(make_transcript(*(make_segment(start_s, end_s, "Hi.") for start_s, end_s in spans)))

    assert len(found) == len(spans)
    assert all(0 <= cue.start_ms < cue.end_ms for cue in found)
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(found))
