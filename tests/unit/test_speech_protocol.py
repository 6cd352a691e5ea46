from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from cesar_watch.core.config import EngineSettings
from cesar_watch.core.errors import AttemptError, CesarError, Kind, ModelError, RecordingError
from cesar_watch.speech.protocol import (
    Event,
    Failed,
    Finished,
    Loaded,
    Loading,
    Started,
    WindowDone,
    decode_event,
    decode_request,
    encode,
    request_for,
)
from tests.fakes import window

EVENTS: list[Event] = [
    Loading(),
    Loaded(device="cpu", compute_type="int8", load_s=0.5),
    Started(declared_s=None),
    Started(declared_s=12.5),
    WindowDone(window=window(3, "two\nlines and a žluťoučký kůň"), decoded_s=44.0),
    Finished(duration_s=40.0, declared_s=40.1, skipped_packets=1),
    Failed(kind=Kind.TRANSIENT, reason="engine_failed", message="It failed."),
]


@pytest.mark.parametrize("event", EVENTS)
def test_event_written_to_a_line_is_read_back_equal(event: Event) -> None:
    line = encode(event)
    assert line.count(b"\n") == 1
    assert decode_event(line) == event


def test_request_written_to_a_line_is_read_back_equal() -> None:
    request = request_for(Path("a.wav"), {"beam_size": 2}, first_index=2, start_s=83.584, language="cs")
    assert decode_request(encode(request)) == request
    assert (request.start_sample, Path(request.path).is_absolute()) == (1_337_344, True)


def test_request_with_options_of_another_version_leaves_them_out() -> None:
    request = request_for(Path("a.wav"), {"beam_size": 2, "gone_since": True})
    assert request.options == EngineSettings(beam_size=2)


@pytest.mark.parametrize("line", [b"hello\n", b"{}\n", b'{"type": "unknown"}\n', b'{"type": "loading", "x": 1}\n'])
def test_foreign_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValidationError):
        decode_event(line)


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
    ("fault", "reason"), [(MemoryError(), "out_of_memory"), (RuntimeError("oneDNN"), "engine_failed")]
)
def test_failure_of_a_library_counts_against_the_attempt_only(fault: Exception, reason: str) -> None:
    error = Failed.from_fault(fault).error()
    assert (type(error), error.reason) == (AttemptError, reason)


@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"100%25.wav", "kůň.wav".encode(), b"a\nb.wav"])
def test_request_for_a_recording_of_any_name_is_read_back_equal(name: bytes) -> None:
    request = request_for(Path(os.fsdecode(b"/inbox/" + name)), {})
    assert decode_request(encode(request)) == request


def test_failure_of_a_recording_of_any_name_can_be_told() -> None:
    fault = RecordingError(os.fsdecode(b"caf\xe9.wav is empty."), reason="empty_file")
    told = decode_event(encode(Failed.from_fault(fault)))
    assert isinstance(told, Failed)
    assert told.message == "caf?.wav is empty."
