"""The values of speech: immutable, strict, and the same after a round trip."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cesar_watch.core.transcript import Segment, Transcript, Window
from tests.builders import make_segment, make_transcript, make_word

SPOKEN = make_transcript(make_segment(0, 2, " Hello ", (make_word(0, 1, "Hello"),)), make_segment(3, 5, "there. "))


def test_window_survives_json_unchanged() -> None:
    (spoken,) = SPOKEN.windows
    assert Window.model_validate_json(spoken.model_dump_json()) == spoken


def test_transcript_text_has_one_space_between_segments() -> None:
    assert SPOKEN.text == "Hello there."


def test_transcript_counts_the_speech_that_was_found() -> None:
    assert SPOKEN.speech_s == 4


def test_transcript_language_is_that_of_the_first_window_that_has_one() -> None:
    silent = Window(index=0, start_s=0, end_s=10, speech_s=0)
    czech = Window(index=1, start_s=10, end_s=20, speech_s=5, language="cs", language_probability=0.7)
    transcript = Transcript(duration_s=20, declared_s=None, skipped_packets=0, windows=(silent, czech))

    assert (transcript.language, transcript.language_probability) == ("cs", 0.7)


def test_transcript_without_speech_has_no_language() -> None:
    silent = make_transcript(language=None)

    assert (silent.text, silent.language, silent.language_probability) == ("", None, None)


def test_segment_with_a_foreign_field_is_refused() -> None:
    with pytest.raises(ValidationError):
        Segment.model_validate({"start_s": 0, "end_s": 1, "text": "a", "singer": "b"})


def test_segment_refuses_changes() -> None:
    with pytest.raises(ValidationError):
        make_segment(0, 1, "a").text = "b"  # type: ignore[misc]
