from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import AttemptError, CesarError, ModelError, RecordingError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Transcript
from cesar_watch.speech.checkpoint import Checkpoint
from cesar_watch.speech.protocol import Heard, Loaded
from cesar_watch.speech.transcribe import Progress, transcribe
from tests.fakes import STALL, FakeEngine, window
from tests.transcripts import in_memory

OPTIONS = EngineSettings().model_dump(mode="json")
CRASH = AttemptError("The engine process died (SIGSEGV).", reason="engine_crashed")


class Interrupted(Exception):
    pass


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"sound")
    return path


def attempt(
    engine: FakeEngine, source: Path, seen: list[Progress] | None = None, *, accept_short: bool = False
) -> Transcript:
    checkpoint = Checkpoint.open(source.parent, "f")
    report = (seen if seen is not None else []).append
    return transcribe(
        engine, source, checkpoint, OPTIONS, accept_short=accept_short, on_progress=report, poll=lambda: None
    )


def test_transcribe_returns_all_windows_and_reports_each(source: Path) -> None:
    seen: list[Progress] = []
    transcript = attempt(FakeEngine(declared_s=20.0), source, seen)
    assert transcript.text == "hello world"
    assert (transcript.duration_s, transcript.declared_s) == (20, 20)
    assert seen == [Progress(0, 0, 20, 0, 20), Progress(10, 10, 20, 1, 20), Progress(20, 20, 20, 2, 20)]


def test_transcribe_with_a_finished_checkpoint_does_not_ask_the_engine(source: Path) -> None:
    first = attempt(FakeEngine(), source)
    engine = FakeEngine()
    source.unlink()
    assert in_memory(attempt(engine, source)) == in_memory(first)
    assert engine.requests == []


def test_transcribe_after_a_crash_resumes_behind_the_last_durable_window(source: Path) -> None:
    engine = FakeEngine({source.name: [window(0, "one"), window(1, "two"), CRASH]})
    with pytest.raises(AttemptError, match="SIGSEGV"):
        attempt(engine, source)
    engine.scripts[source.name] = [window(0, "other"), window(1, "other"), window(2, "three")]
    seen: list[Progress] = []
    assert attempt(engine, source, seen).text == "one two three"
    request = engine.requests[-1]
    assert (request.first_index, request.start_sample, request.language) == (2, 320_000, "en")
    assert seen[0] == Progress(20, 20, None, 2)


def test_transcribe_asks_for_the_windows_alone_that_are_not_durable_wherever_they_are(source: Path) -> None:
    checkpoint = Checkpoint.open(source.parent, "f")
    for index in (0, 2):
        checkpoint.append(window(index, f"done {index}"))
    engine = FakeEngine({source.name: [window(index, f"new {index}") for index in range(4)]})
    assert attempt(engine, source).text == "done 0 new 1 done 2 new 3"
    assert (engine.requests[-1].first_index, engine.requests[-1].done) == (1, (2,))


def test_transcribe_tells_how_far_it_is_inside_of_a_window(source: Path) -> None:
    engine = FakeEngine({source.name: [window(0, "one"), Heard(heard_s=14.0), window(1, "two")]})
    seen: list[Progress] = []
    attempt(engine, source, seen)
    assert [(progress.done_s, progress.heard_s, progress.windows) for progress in seen] == [
        (0, 0, 0),
        (10, 10, 1),
        (10, 14, 1),
        (20, 20, 2),
    ]


def test_transcribe_passes_on_what_the_model_runs_on(source: Path) -> None:
    loaded: list[Loaded] = []
    checkpoint = Checkpoint.open(source.parent, "f")
    quiet: dict[str, Any] = {"on_progress": lambda _: None, "poll": lambda: None}
    transcribe(FakeEngine(), source, checkpoint, OPTIONS, on_loaded=loaded.append, **quiet)
    assert [event.device for event in loaded] == ["cpu"]


def test_transcribe_makes_a_window_durable_before_it_reports_it(source: Path) -> None:
    def look(progress: Progress) -> None:
        assert len(Checkpoint.open(source.parent, "f").windows) == progress.windows

    checkpoint = Checkpoint.open(source.parent, "f")
    transcribe(FakeEngine(), source, checkpoint, OPTIONS, on_progress=look, poll=lambda: None)


@pytest.mark.parametrize(
    "fault",
    [RecordingError("no", reason="not_media"), AttemptError("no", reason="engine_failed"), ModelError("no")],
)
def test_transcribe_raises_the_typed_error_and_keeps_the_windows(source: Path, fault: CesarError) -> None:
    engine = FakeEngine({source.name: [window(0, "kept"), fault]})
    with pytest.raises(type(fault)) as raised:
        attempt(engine, source)
    assert raised.value.reason == fault.reason
    assert len(Checkpoint.open(source.parent, "f").windows) == 1


def test_transcribe_lets_out_what_poll_raises(source: Path) -> None:
    engine = FakeEngine({source.name: [window(0, "kept"), STALL]})

    def poll() -> None:
        if engine.stalled.is_set():
            raise Interrupted

    checkpoint = Checkpoint.open(source.parent, "f")
    with pytest.raises(Interrupted):
        transcribe(engine, source, checkpoint, OPTIONS, on_progress=lambda _: None, poll=poll)
    assert list(checkpoint.windows) == [window(0, "kept")]
    assert not engine.stalled.is_set()


@pytest.mark.parametrize(("declared_s", "accepted"), [(22.0, True), (22.1, False), (None, True), (5.0, True)])
def test_transcribe_refuses_a_recording_shorter_than_declared(
    source: Path, declared_s: float | None, accepted: bool
) -> None:
    engine = FakeEngine(declared_s=declared_s)
    if accepted:
        assert attempt(engine, source).declared_s == declared_s
        return
    with pytest.raises(RecordingError, match=r"22\.1 s.*20\.0 s") as raised:
        attempt(engine, source)
    assert raised.value.reason == "truncated"
    assert Checkpoint.open(source.parent, "f").transcript is None


def test_transcribe_takes_what_is_there_of_a_recording_shorter_than_declared_when_asked_to(source: Path) -> None:
    transcript = attempt(FakeEngine(declared_s=60.0), source, accept_short=True)

    assert (transcript.duration_s, transcript.declared_s) == (20, 60)
    assert in_memory(Checkpoint.open(source.parent, "f").transcript) == in_memory(transcript)
