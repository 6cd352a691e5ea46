"""The second look: a stand-in for the model that answers by script, and the real one in batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from faster_whisper import decode_audio
from faster_whisper.transcribe import Segment as RawSegment

from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Stretch
from cesar_watch.speech.clips import Clips
from cesar_watch.speech.listener import Listener
from cesar_watch.speech.models import DEMO_DIR
from cesar_watch.speech.protocol import SAMPLE_RATE
from cesar_watch.speech.vad import silero
from cesar_watch.speech.whisper import STRONGER, Whisper
from cesar_watch.speech.windows import Span
from tests.processes import RECORDINGS, word_error_rate

Said = tuple[float, float, str, dict[str, float]]
"""Start and end in what the model was given, text, and figures that are out of the ordinary."""


class Scripted:
    """Answers the n-th question with the n-th script."""

    def __init__(self, *scripts: Sequence[Said]) -> None:
        self._scripts = list(scripts)
        self.asked: list[dict[str, Any]] = []
        self.heard_s: list[float] = []
        self._look: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def interrupted_by(self, look: Callable[[], None]) -> Iterator[None]:
        self._look = look
        yield

    def transcribe(self, sound: np.ndarray, **asked: Any) -> tuple[Iterator[RawSegment], None]:
        self.asked.append(asked)
        self.heard_s.append(len(sound) / SAMPLE_RATE)
        return self._answers(self._scripts.pop(0)), None

    def _answers(self, script: Sequence[Said]) -> Iterator[RawSegment]:
        for start_s, end_s, text, figures in script:
            self._look()
            usual = {"avg_logprob": -0.2, "compression_ratio": 1.5, "no_speech_prob": 0.0}
            yield RawSegment(
                id=1,
                seek=0,
                start=start_s,
                end=end_s,
                text=text,
                tokens=[],
                words=None,
                temperature=0.0,
                **(usual | figures),
            )


def speech(*spans_s: tuple[float, float], start_s: float = 100.0) -> Clips:
    """Sound of 30 s in a window that begins at 100 s."""
    spans = tuple(Span(*(int(at_s * SAMPLE_RATE) for at_s in span)) for span in spans_s)
    return Clips.around(np.zeros(30 * SAMPLE_RATE, np.float32), spans, start_s)


def hear(
    model: Scripted, clips: Clips, told: list[float] | None = None, **options: Any
) -> tuple[list[tuple[float, str]], list[Stretch]]:
    asked: Any = model
    report = (told if told is not None else []).append
    context = options.pop("context", "")
    segments, lost = Listener(asked, EngineSettings(**options), "en", context, report).hear(clips)
    return [(segment.start_s, segment.text) for segment in segments], lost


def test_sound_with_text_for_all_of_it_is_heard_once() -> None:
    model = Scripted([(0, 10, "one", {}), (10, 20, "two", {})])
    assert hear(model, speech((0, 20))) == ([(100, "one"), (110, "two")], [])
    assert len(model.asked) == 1


def test_speech_without_text_is_listened_to_again_alone_and_with_stronger_settings() -> None:
    model = Scripted([(0, 8, "one", {}), (16, 20, "three", {})], [(0.4, 7.4, "two", {})])
    assert hear(model, speech((0, 20))) == ([(100, "one"), (108.5, "two"), (116, "three")], [])
    assert model.heard_s[1] == pytest.approx(7.0 + 0.8)
    assert {key: model.asked[1][key] for key in STRONGER} == STRONGER
    assert model.asked[1]["condition_on_previous_text"] is False


def test_speech_that_gives_no_text_at_a_second_look_either_is_told() -> None:
    model = Scripted([(0, 8, "one", {})], [])
    segments, lost = hear(model, speech((0, 20)))
    assert (segments, lost) == ([(100, "one")], [Stretch(start_s=108.5, end_s=120)])


def test_cough_without_text_is_not_listened_to_again() -> None:
    model = Scripted([(0, 10, "one", {})])
    assert hear(model, speech((0, 10), (20, 22)))[1] == []


def test_text_that_its_context_led_in_circles_is_decoded_without_it() -> None:
    circle: list[Said] = [(at_s, at_s + 3, "Thank you.", {}) for at_s in (0, 3, 6, 9)]
    model = Scripted(circle, [(0, 12, "something else", {})])
    segments, _ = hear(model, speech((0, 12)), condition_on_previous_text=True)
    assert segments == [(100, "something else")]


def test_text_in_circles_stays_and_is_told_where_nothing_better_is_found() -> None:
    circle: list[Said] = [(at_s, at_s + 3, "Thank you.", {}) for at_s in (0, 3, 6, 9)]
    model = Scripted(circle, [])
    segments, _ = hear(model, speech((0, 12)), condition_on_previous_text=True)
    assert [text for _, text in segments] == ["Thank you."] * 4


def test_doubtful_text_does_not_replace_doubtful_text() -> None:
    circle: list[Said] = [(at_s, at_s + 3, "Thank you.", {}) for at_s in (0, 3, 6, 9)]
    model = Scripted(circle, [(0, 12, "worse", {"avg_logprob": -3.0})])
    segments, _ = hear(model, speech((0, 12)), condition_on_previous_text=True)
    assert [text for _, text in segments] == ["Thank you."] * 4


def test_what_is_said_in_every_piece_alike_is_not_decoded_again_where_there_was_no_context() -> None:
    model = Scripted([(at_s, at_s + 5, "Thank you.", {}) for at_s in (0, 5, 10, 15)])
    assert len(hear(model, speech((0, 20)))[0]) == 4


@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        ({"initial_prompt": "Names: Jára."}, "Names: Jára."),
        ({"initial_prompt": "Names: Jára.", "context": "before"}, "Names: Jára."),
        ({"initial_prompt": "x", "context": "before", "condition_on_previous_text": True}, "before"),
        ({"initial_prompt": "x", "condition_on_previous_text": True}, "x"),
    ],
)
def test_model_is_shown_the_text_before_only_where_asked_for(options: dict[str, Any], prompt: str) -> None:
    model = Scripted([(0, 10, "one", {})])
    hear(model, speech((0, 10)), **options)
    assert model.asked[0]["initial_prompt"] == prompt


def test_options_of_the_recording_reach_the_model() -> None:
    model = Scripted([(0, 10, "one", {})])
    hear(model, speech((0, 10)), beam_size=3, task="translate", hotwords="Cesar", word_timestamps=False)
    wanted = {"language": "en", "beam_size": 3, "task": "translate", "hotwords": "Cesar", "word_timestamps": False}
    assert wanted.items() <= model.asked[0].items()
    assert model.asked[0]["temperature"] == [0.0]


def test_how_far_it_is_heard_is_told_in_times_of_the_recording() -> None:
    told: list[float] = []
    hear(Scripted([(0, 10, "one", {}), (10, 20, "two", {})]), speech((0, 20)), told)
    assert told == [100, 110]


# --- in batches, with the real model ---------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Whisper:
    return Whisper(str(DEMO_DIR), device="cpu", cpu_threads=1, local_files_only=True)


@pytest.fixture(scope="module")
def minute() -> Clips:
    """The first minute or so of a recording."""
    sound = decode_audio(str(RECORDINGS / "meeting.m4a"))[: 70 * SAMPLE_RATE]
    return Clips.around(sound, silero(sound), 0.0)


@pytest.mark.parametrize("batch_size", [2, 8])
def test_batches_lose_no_speech_and_hear_what_one_piece_after_the_other_gives(
    model: Whisper, minute: Clips, batch_size: int
) -> None:
    def heard(size: int) -> list[str]:
        listener = Listener(model, EngineSettings(batch_size=size), "en", "", lambda _: None)
        segments, lost = listener.hear(minute)
        assert lost == []
        assert [segment.start_s for segment in segments] == sorted(segment.start_s for segment in segments)
        return " ".join(segment.text for segment in segments).casefold().split()

    alone, batched = heard(1), heard(batch_size)
    assert word_error_rate(batched, alone) <= 0.1
