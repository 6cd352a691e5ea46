"""Highlighted words in SubRip and WebVTT."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given

from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats.subtitles import srt, vtt
from tests.builders import make_segment, make_transcript, make_word
from tests.transcripts import TRANSCRIPTS, said

WORDS = (make_word(0, 0.4, " Salt"), make_word(0.4, 0.5, " &"), make_word(0.7, 1.5, " pepper."))
SPOKEN = make_transcript(make_segment(0, 1.5, " Salt & pepper.", WORDS, speaker="L"))


def milliseconds(hours: str, minutes: str, seconds: str, ms: str) -> int:
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(ms)


def times(text: str, decimal_mark: str) -> list[int]:
    return [milliseconds(*found) for found in re.findall(rf"(\d\d+):(\d\d):(\d\d){decimal_mark}(\d\d\d)", text)]


def test_highlighted_srt_has_an_entry_for_each_state_of_its_words() -> None:
    assert srt(SPOKEN, highlight_words=True) == (
        "1\n00:00:00,000 --> 00:00:00,400\nL: <u>Salt</u> & pepper.\n\n"
        "2\n00:00:00,400 --> 00:00:00,500\nL: Salt <u>&</u> pepper.\n\n"
        "3\n00:00:00,500 --> 00:00:00,700\nL: Salt & pepper.\n\n"
        "4\n00:00:00,700 --> 00:00:01,500\nL: Salt & <u>pepper.</u>\n"
    )


def test_highlighted_vtt_has_a_span_for_each_word_behind_its_time() -> None:
    assert vtt(SPOKEN, highlight_words=True).endswith(
        "\n\n00:00:00.000 --> 00:00:01.500\n<v L><c>Salt</c> <00:00:00.400><c>&amp;</c> <00:00:00.700><c>pepper.</c>\n"
    )


def test_highlighted_vtt_says_how_words_to_come_look() -> None:
    assert vtt(SPOKEN, highlight_words=True).split("\n\n")[:2] == [
        "WEBVTT",
        "STYLE\n::cue(c:future) {\n  opacity: 0.5;\n}",
    ]


def test_highlighting_of_words_without_times_of_their_own_changes_nothing_but_the_style() -> None:
    untimed = make_transcript(make_segment(0, 1.5, "Salt & pepper."))

    assert srt(untimed, highlight_words=True) == srt(untimed, highlight_words=False)
    assert vtt(untimed, highlight_words=True).endswith(vtt(untimed, highlight_words=False).removeprefix("WEBVTT"))


def test_highlighting_of_words_on_two_lines_keeps_the_lines() -> None:
    transcript = make_transcript(said("As soon as I can, I will call you from the airport", word_s=0.25))

    plain = srt(transcript, highlight_words=False).splitlines()[2:]

    last = srt(transcript, highlight_words=True).rstrip().split("\n\n")[-1]
    assert (
        re.sub("</?u>", "", last).splitlines()[2:] == plain == ["As soon as I can,", "I will call you from the airport"]
    )
    assert re.sub("<[^>]*>", "", vtt(transcript, highlight_words=True)).splitlines()[-2:] == plain


@given(TRANSCRIPTS)
def test_highlighted_srt_lasts_as_long_as_the_plain_one(transcript: Transcript) -> None:
    plain, marked = (srt(transcript, highlight_words=highlight) for highlight in (False, True))

    def holes(text: str) -> set[tuple[int, int]]:
        stamps = times(text, ",")
        assert all(start < end for start, end in zip(stamps[::2], stamps[1::2], strict=True))
        return {(end, start) for end, start in zip(stamps[1::2], stamps[2::2], strict=False) if end != start}

    assert holes(marked) == holes(plain)
    assert times(plain, ",")[:1] == times(marked, ",")[:1]
    assert times(plain, ",")[-1:] == times(marked, ",")[-1:]


@given(TRANSCRIPTS)
def test_highlighted_vtt_has_times_that_grow_and_lie_inside_their_cue(transcript: Transcript) -> None:
    for block in vtt(transcript, highlight_words=True).split("\n\n")[2:]:
        start, end, *inside = times(block, r"\.")

        assert all(before < after for before, after in pairwise([start, *inside, end]))


@given(TRANSCRIPTS)
def test_vtt_holds_no_arrow_and_no_open_angle_that_is_not_its_own(transcript: Transcript) -> None:
    for block in vtt(transcript, highlight_words=True).split("\n\n")[2:]:
        timing, payload = block.rstrip("\n").split("\n", 1)

        assert timing.count("-->") == 1
        assert "-->" not in payload
        assert not re.search(r"<(?!/?c>|v [^<>]+>|\d\d+:\d\d:\d\d\.\d{3}>)", payload)
