from __future__ import annotations

from dataclasses import replace

import pytest

from cesar_watch.core.transcript import Segment, Stretch, Transcript, Window
from cesar_watch.speech.quality import Suspect, judge, missing_s, unheard
from tests.fakes import window
from tests.transcripts import PassingWindows


def segment(start_s: float, text: str = "words", **figures: float) -> Segment:
    return Segment(start_s=start_s, end_s=start_s + 2, text=text, **figures)


def transcript(*windows: Window) -> Transcript:
    return Transcript(duration_s=100, declared_s=None, skipped_packets=0, windows=windows)


def of_segments(*segments: Segment) -> Transcript:
    return transcript(Window(index=0, start_s=0, end_s=100, speech_s=50, segments=segments))


def test_transcript_of_sound_figures_is_ok() -> None:
    quality = judge(of_segments(segment(0, avg_logprob=-0.3), segment(2, "others", no_speech_prob=0.1)))
    assert (quality.verdict, quality.spans) == ("ok", ())


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"avg_logprob": -1.2}, "low_confidence"),
        ({"no_speech_prob": 0.7}, "no_speech"),
        ({"compression_ratio": 2.5, "avg_logprob": -2.0}, "repetitive"),
    ],
)
def test_segment_beyond_a_limit_makes_the_transcript_suspect(figures: dict[str, float], reason: str) -> None:
    quality = judge(of_segments(segment(0), segment(10, "odd", **figures)))
    assert quality.verdict == "suspect"
    assert [(span.start_s, span.end_s, span.reason) for span in quality.spans] == [(10, 12, reason)]


def test_same_text_three_times_in_a_row_is_suspect_and_twice_is_not() -> None:
    twice = of_segments(segment(0, "Thank you."), segment(2, "thank  you."), segment(4, "Bye."))
    thrice = of_segments(*(segment(2 * index, "Thank you.") for index in range(3)), segment(6, "Bye."))
    assert judge(twice).verdict == "ok"
    assert judge(thrice).spans == (Suspect(start_s=0, end_s=6, reason="repeated"),)


def test_speech_heard_without_any_text_is_suspect() -> None:
    silent = Window(index=1, start_s=10, end_s=20, speech_s=8, unheard=(Stretch(start_s=11, end_s=19),))
    quality = judge(transcript(window(0, "hello"), silent))
    assert quality.spans == (Suspect(start_s=11, end_s=19, reason="speech_without_text"),)


def speech(*stretches: tuple[float, float]) -> list[Stretch]:
    return [Stretch(start_s=start_s, end_s=end_s) for start_s, end_s in stretches]


@pytest.mark.parametrize(
    ("found", "told", "lost"),
    [
        ([(0, 10)], [], [(0, 10)]),
        ([(0, 2.9)], [], []),
        ([(0, 10)], [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)], []),
        ([(0, 10)], [(0, 2), (8, 10)], [(2.5, 7.5)]),
        ([(0, 8)], [(0, 2), (5.4, 8)], []),
        ([(0, 2), (2.5, 4.5), (20, 22)], [], [(0, 4.5)]),
        ([(0, 2), (3.5, 5)], [], []),
        ([(5, 9)], [(0, 2), (20, 22)], [(5, 9)]),
        ([], [(0, 2)], []),
    ],
)
def test_speech_without_text_is_found_beside_and_between_segments(
    found: list[tuple[float, float]], told: list[tuple[float, float]], lost: list[tuple[float, float]]
) -> None:
    segments = [Segment(start_s=start_s, end_s=end_s, text="words") for start_s, end_s in told]
    assert unheard(speech(*found), segments) == speech(*lost)


def test_speech_under_a_segment_without_words_is_without_text() -> None:
    assert unheard(speech((0, 5)), [Segment(start_s=0, end_s=5, text=" ")]) == speech((0, 5))


def test_transcript_without_text_is_empty() -> None:
    assert judge(transcript(window(0, ""))).verdict == "empty"
    assert judge(transcript()).verdict == "empty"


@pytest.mark.parametrize(
    ("declared_s", "verdict"), [(None, "ok"), (90.0, "ok"), (102.0, "ok"), (102.1, "partial"), (200.0, "partial")]
)
def test_transcript_of_less_than_the_recording_declares_is_partial(declared_s: float | None, verdict: str) -> None:
    whole = replace(of_segments(segment(0)), declared_s=declared_s)
    assert judge(whole).verdict == verdict


def test_transcript_that_is_partial_tells_what_is_missing_behind_its_other_spans() -> None:
    part = replace(of_segments(segment(10, "odd", avg_logprob=-2.0)), declared_s=160.0)
    quality = judge(part)
    assert quality.verdict == "partial"
    assert quality.spans[1:] == (Suspect(start_s=100, end_s=160, reason="missing"),)
    assert quality.spans[0].reason == "low_confidence"


def test_transcript_of_a_file_known_to_be_cut_short_is_partial_though_it_declares_no_length() -> None:
    assert judge(of_segments(segment(0)), cut_short=True).verdict == "partial"
    assert judge(transcript(window(0, "")), cut_short=True).verdict == "partial"


@pytest.mark.parametrize(("declared_s", "missing"), [(None, 0), (5.0, 0), (12.0, 0), (12.1, 2.1), (500.0, 490)])
def test_missing_seconds_are_those_beyond_what_headers_err(declared_s: float | None, missing: float) -> None:
    assert missing_s(10.0, declared_s) == pytest.approx(missing)


def test_transcript_that_says_the_same_all_the_time_is_judged_without_holding_its_windows() -> None:
    windows = PassingWindows(20)
    assert judge(windows.transcript).spans == (Suspect(start_s=1, end_s=194, reason="repeated"),)
    assert windows.most <= 2
