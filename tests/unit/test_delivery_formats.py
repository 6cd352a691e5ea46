"""What an output file of each format looks like, to the byte; how notes look is in test_delivery_markdown.py."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from cesar_watch.core.recording_settings import Format
from cesar_watch.core.transcript import Transcript, Window
from cesar_watch.delivery.formats import RENDERERS, render
from cesar_watch.delivery.formats.about import Style
from tests.builders import make_about, make_segment, make_transcript, make_word
from tests.transcripts import PassingWindows

TALK = make_transcript(
    make_segment(0.5, 2.0, " Good morning."),
    make_segment(2.2, 4.25, " Salt & pepper < spice --> more."),
    make_segment(3605.0, 3606.0, " Žluťoučký kůň."),
    duration_s=3610.0,
)
CALL = make_transcript(
    make_segment(0, 1, " Hello.", speaker="L"),
    make_segment(1.2, 3, " Who is there?", speaker="L"),
    make_segment(3.2, 5, " It is <me>.", speaker="R & D"),
    make_segment(9, 11, " Goodbye.", speaker="R & D"),
)
EMPTY = make_transcript(language=None)


def text_of(transcript: Transcript, fmt: Format) -> str:
    return b"".join(render(transcript, fmt, make_about(), Style())).decode()


def test_renderers_for_every_format_of_the_settings_exist() -> None:
    assert set(RENDERERS) == set(get_args(Format))


# --- a talk -----------------------------------------------------------------------------------


def test_txt_with_a_pause_begins_a_paragraph() -> None:
    assert text_of(TALK, "txt") == "Good morning. Salt & pepper < spice --> more.\n\nŽluťoučký kůň.\n"


def test_txt_with_a_long_paragraph_is_not_wrapped() -> None:
    transcript = make_transcript(make_segment(0, 60, "word " * 200))

    assert text_of(transcript, "txt").count("\n") == 1


def test_srt_of_a_talk_is_golden_and_holds_no_second_arrow() -> None:
    assert text_of(TALK, "srt") == (
        "1\n00:00:00,500 --> 00:00:02,000\nGood morning.\n\n"
        "2\n00:00:02,200 --> 00:00:04,250\nSalt & pepper < spice -> more.\n\n"
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


def test_lrc_of_a_talk_is_golden_and_clears_the_display_in_a_silence() -> None:
    assert text_of(TALK, "lrc") == (
        "[ti:talk]\n[length:60:10]\n[re:cesar-watch]\n"
        "[00:00.50]Good morning.\n"
        "[00:02.20]Salt & pepper < spice --> more.\n"
        "[00:04.25]\n"
        "[60:05.00]Žluťoučký kůň.\n"
        "[60:06.00]\n"
    )


def test_lrc_of_hours_counts_minutes_beyond_99() -> None:
    assert "\n[125:03.20]Late.\n" in text_of(make_transcript(make_segment(7503.2, 7505, "Late.")), "lrc")


def test_lrc_with_brackets_in_the_title_keeps_its_tag_whole() -> None:
    content = b"".join(render(TALK, "lrc", make_about(name="talk [take 2].mp3"), Style()))

    assert content.startswith(b"[ti:talk (take 2)]\n")


def test_json_of_a_talk_holds_every_figure() -> None:
    words = (make_word(0.1, 0.30000000000000004, " Good"), make_word(0.3, 0.9, " morning."))
    transcript = make_transcript(make_segment(0.1, 0.9, " Good morning.", words), duration_s=1.5)

    assert json.loads(text_of(transcript, "json")) == {
        "schema": 1,
        "text": "Good morning.",
        "language": "en",
        "language_probability": 0.98,
        "duration_s": 1.5,
        "declared_s": 1.5,
        "speech_s": 0.8,
        "skipped_packets": 0,
        "segments": [
            {
                "id": 0,
                "start_s": 0.1,
                "end_s": 0.9,
                "speaker": None,
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
        "windows": [{"start_s": 0.0, "end_s": 1.5, "speech_s": 0.8, "language": "en", "language_probability": 0.98}],
    }


def test_json_tells_the_language_of_every_window() -> None:
    english = Window(index=0, start_s=0, end_s=10, speech_s=5, language="en", language_probability=0.9)
    czech = Window(index=1, start_s=10, end_s=20, speech_s=5, language="cs", language_probability=0.7)
    transcript = Transcript(duration_s=20, declared_s=None, skipped_packets=3, windows=(english, czech))

    told = json.loads(text_of(transcript, "json"))

    assert (told["language"], told["declared_s"], told["skipped_packets"]) == ("en", None, 3)
    assert [window["language"] for window in told["windows"]] == ["en", "cs"]


def test_json_is_readable_utf8_that_ends_with_a_newline() -> None:
    content = text_of(TALK, "json")

    assert "Žluťoučký" in content
    assert content.endswith("}\n")


# --- a call, its channels told apart ------------------------------------------------------------


def test_txt_of_a_call_begins_a_labelled_paragraph_with_each_turn() -> None:
    assert text_of(CALL, "txt") == "L: Hello. Who is there?\n\nR & D: It is <me>.\n\nGoodbye.\n"


def test_srt_of_a_call_says_who_speaks_in_every_subtitle() -> None:
    assert text_of(CALL, "srt").split("\n\n")[2:] == [
        "3\n00:00:03,200 --> 00:00:05,000\nR & D: It is <me>.",
        "4\n00:00:09,000 --> 00:00:11,000\nR & D: Goodbye.\n",
    ]


def test_vtt_of_a_call_gives_every_cue_a_voice() -> None:
    assert text_of(CALL, "vtt").split("\n\n")[2:4] == [
        "00:00:01.200 --> 00:00:03.000\n<v L>Who is there?",
        "00:00:03.200 --> 00:00:05.000\n<v R &amp; D>It is &lt;me&gt;.",
    ]


def test_tsv_of_a_call_has_a_column_of_speakers() -> None:
    rows = [row.split("\t") for row in text_of(CALL, "tsv").splitlines()]

    assert [row[3] for row in rows] == ["speaker", "L", "L", "R & D", "R & D"]


def test_json_of_a_call_tells_the_speaker_of_each_segment() -> None:
    segments: list[dict[str, Any]] = json.loads(text_of(CALL, "json"))["segments"]

    assert [segment["speaker"] for segment in segments] == ["L", "L", "R & D", "R & D"]


def test_lrc_of_a_call_says_who_speaks_on_every_line() -> None:
    assert text_of(CALL, "lrc").splitlines()[3:5] == ["[00:00.00]L: Hello.", "[00:01.20]L: Who is there?"]


# --- nothing, and odd things --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fmt", "content"),
    [
        ("txt", ""),
        ("srt", ""),
        ("vtt", "WEBVTT\n"),
        ("tsv", "start\tend\ttext\n"),
        ("lrc", "[ti:talk]\n[length:01:00]\n[re:cesar-watch]\n"),
    ],
)
def test_empty_transcript_gives_a_valid_file(fmt: Format, content: str) -> None:
    assert text_of(EMPTY, fmt) == content


def test_empty_transcript_gives_json_without_segments() -> None:
    told = json.loads(text_of(EMPTY, "json"))

    assert (told["text"], told["language"], told["duration_s"], told["segments"]) == ("", None, 60.0, [])


@pytest.mark.parametrize("fmt", ["txt", "srt", "vtt", "tsv", "lrc"])
def test_segment_without_text_leaves_no_trace(fmt: Format) -> None:
    with_blank = make_transcript(make_segment(0, 1, "Hello."), make_segment(1, 2, "  "))

    assert text_of(with_blank, fmt) == text_of(make_transcript(make_segment(0, 1, "Hello.")), fmt)


@pytest.mark.parametrize("fmt", get_args(Format))
def test_lone_surrogate_in_the_text_still_gives_utf8(fmt: Format) -> None:
    assert "a?b" in text_of(make_transcript(make_segment(0, 1, "a\udc80b")), fmt)


@pytest.mark.parametrize("fmt", get_args(Format))
def test_outputs_are_made_without_holding_the_windows_of_a_whole_recording(fmt: Format) -> None:
    windows = PassingWindows(20)

    assert text_of(windows.transcript, fmt).casefold().count("yes") >= 20
    assert windows.most <= 2
