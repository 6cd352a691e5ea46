from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from cesar_watch.core.errors import AttemptError, CesarError, Kind, ModelError, RecordingError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Window
from cesar_watch.speech.protocol import (
    Conclude,
    Drop,
    Durable,
    Event,
    Failed,
    Finished,
    Heard,
    Loaded,
    Loading,
    Message,
    Order,
    Report,
    Started,
    WindowDone,
    encode,
    request_for,
)
from tests.fakes import window

EVENTS: list[Event] = [
    Loading(),
    Loaded(device="cpu", compute_type="int8", load_s=0.5),
    Loaded(device="cpu", compute_type="int8", load_s=0.5, fallback="The GPU failed."),
    Started(declared_s=None, expected_s=None),
    Started(declared_s=12.5, expected_s=12.5),
    Heard(heard_s=30.0),
    WindowDone(window=window(3, "two\nlines and a žluťoučký kůň")),
    Finished(duration_s=40.0, declared_s=40.1, skipped_packets=1),
    Failed(kind=Kind.TRANSIENT, reason="engine_failed", message="It failed."),
]
MESSAGES: list[Message] = [request_for(Path("a.wav"), {"beam_size": 2}), Durable(index=3), Conclude(), Drop()]


@pytest.mark.parametrize("event", EVENTS)
def test_event_written_to_a_line_is_read_back_equal(event: Event) -> None:
    report = Report(number=7, event=event)
    line = encode(report)
    assert line.count(b"\n") == 1
    assert Report.model_validate_json(line) == report


@pytest.mark.parametrize("message", MESSAGES)
def test_message_written_to_a_line_is_read_back_equal(message: Message) -> None:
    order = Order(number=7, message=message)
    assert Order.model_validate_json(encode(order)) == order


def test_request_for_a_new_recording_begins_at_its_start() -> None:
    request = request_for(Path("a.wav"), {"beam_size": 2}, priority=3, seq=17)
    assert Path(request.path).is_absolute()
    assert (request.first_index, request.start_sample, request.done, request.done_s) == (0, 0, (), 0)
    assert (request.language, request.context, request.priority, request.seq) == (None, "", 3, 17)


def windows(*indexes: int) -> list[Window]:
    return [window(index, f"words {index}", language="cs") for index in indexes]


@pytest.mark.parametrize(
    ("durable", "first_index", "done", "context"),
    [
        ([0, 1], 2, (), "words 1"),
        ([0, 1, 3, 6], 2, (3, 6), "words 1"),
        ([1, 2], 0, (1, 2), ""),
    ],
)
def test_request_begins_behind_the_windows_that_are_durable_without_a_gap_and_leaves_out_the_others(
    durable: list[int], first_index: int, done: tuple[int, ...], context: str
) -> None:
    request = request_for(Path("a.wav"), {}, windows=windows(*durable))
    assert (request.first_index, request.start_sample) == (first_index, first_index * 160_000)
    assert (request.done, request.done_s) == (done, 10.0 * len(durable))
    assert (request.language, request.context) == ("cs", context)


def test_request_with_options_of_another_version_leaves_them_out() -> None:
    request = request_for(Path("a.wav"), {"beam_size": 2, "gone_since": True})
    assert request.options == EngineSettings(beam_size=2)


@pytest.mark.parametrize("line", [b"hello\n", b"{}\n", b'{"type": "unknown"}\n', b'{"type": "loading", "x": 1}\n'])
def test_foreign_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValidationError):
        Report.model_validate_json(line)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (RecordingError("x", reason="too_long"), RecordingError("x", reason="too_long")),
        (AttemptError("x", reason="source_unreadable"), AttemptError("x", reason="source_unreadable")),
        (ModelError("x"), ModelError("x")),
    ],
)
def test_failure_of_our_own_kind_crosses_the_pipe_unchanged(fault: CesarError, expected: CesarError) -> None:
    error = Failed.from_fault(fault).error()
    assert (type(error), error.reason, str(error)) == (type(expected), expected.reason, str(expected))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("mkl_malloc: failed to allocate memory"), "out_of_memory"),
        (Exception("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"), "out_of_memory"),
        (RuntimeError("oneDNN"), "engine_failed"),
    ],
)
def test_failure_of_a_library_counts_against_the_attempt_only(fault: Exception, reason: str) -> None:
    error = Failed.from_fault(fault).error()
    assert (type(error), error.reason) == (AttemptError, reason)


@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"100%25.wav", "kůň.wav".encode(), b"a\nb.wav"])
def test_request_for_a_recording_of_any_name_is_read_back_equal(name: bytes) -> None:
    order = Order(number=1, message=request_for(Path(os.fsdecode(b"/inbox/" + name)), {}))
    assert Order.model_validate_json(encode(order)) == order


def test_failure_of_a_recording_of_any_name_can_be_told() -> None:
    fault = RecordingError(os.fsdecode(b"caf\xe9.wav is empty."), reason="empty_file")
    told = Report.model_validate_json(encode(Report(number=1, event=Failed.from_fault(fault)))).event
    assert isinstance(told, Failed)
    assert told.message == "caf?.wav is empty."
