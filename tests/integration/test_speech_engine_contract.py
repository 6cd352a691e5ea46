"""What every engine promises: the same tests for the fake one, the one in a process, the one in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cesar_watch.core.errors import Kind
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Window
from cesar_watch.speech.checkpoint import Checkpoint
from cesar_watch.speech.engines import make_engine
from cesar_watch.speech.models import require_model
from cesar_watch.speech.protocol import (
    Engine,
    Event,
    Failed,
    Finished,
    Heard,
    Loaded,
    Loading,
    Started,
    WindowDone,
    request_for,
)
from cesar_watch.speech.transcribe import transcribe
from tests.fakes import FakeEngine, window
from tests.sounds import conversation, voice, write_wav

OPTIONS = {"window_s": 5.0, "beam_size": 1}
IDLE_S = 300.0
LENGTH_S = 12


class Interrupted(Exception):
    pass


@dataclass
class Bench:
    """An engine, a recording of a few windows that it knows, and a short one of a single window."""

    engine: Engine
    recording: Path
    short: Path

    def events(self, source: Path, *, done: Sequence[Window] = ()) -> list[Event]:
        request = request_for(source, OPTIONS, windows=done)
        return list(self.engine.transcribe(request, poll=lambda: None))


@dataclass
class UsedBench(Bench):
    """A bench whose engine has heard the recording, and told these events of it."""

    told: list[Event]

    @property
    def windows(self) -> list[Window]:
        return windows_of(self.told)


def windows_of(events: list[Event]) -> list[Window]:
    """Return the windows in the order of time; of two at once any may end first."""
    found = [event.window for event in events if isinstance(event, WindowDone)]
    return sorted(found, key=lambda window: window.index)


def fake_engine() -> Engine:
    talk = [window(index, "words", length_s=4.0) for index in range(3)]
    short = [window(0, "word", length_s=4.0)]
    scripts = {"talk.wav": talk, "short.wav": short}
    return FakeEngine(scripts, declared_s=LENGTH_S, idle_unload_s=IDLE_S)


def real_engine(isolation: str) -> Engine:
    settings = EngineSettings.model_validate(
        {"isolation": isolation, "workers": 2, "threads": 1, "idle_unload_s": IDLE_S}
    )
    return make_engine(settings, require_model(settings))


def new_bench(isolation: str, recordings: Path) -> Bench:
    engine = fake_engine() if isolation == "fake" else real_engine(isolation)
    return Bench(engine, recordings / "talk.wav", recordings / "short.wav")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    write_wav(folder / "talk.wav", conversation(LENGTH_S // 4))
    write_wav(folder / "short.wav", voice(1))
    (folder / "empty.wav").touch()
    return folder


@pytest.fixture(scope="module", params=["fake", "process", "thread"])
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def used(isolation: str, recordings: Path) -> Iterator[UsedBench]:
    """For tests that leave the engine as they found it: loaded and waiting."""
    bench = new_bench(isolation, recordings)
    told = bench.events(bench.recording)
    yield UsedBench(bench.engine, bench.recording, bench.short, told)
    bench.engine.close()


@pytest.fixture
def bench(isolation: str, recordings: Path) -> Iterator[Bench]:
    """For tests that need a new engine, or end it."""
    bench = new_bench(isolation, recordings)
    yield bench
    bench.engine.close()


def kinds(events: list[Event]) -> list[type]:
    return [type(event) for event in events if not isinstance(event, WindowDone | Heard)]


def test_engine_tells_of_loading_start_windows_and_end_in_this_order(used: UsedBench) -> None:
    events = used.told
    assert kinds(events) == [Loading, Loaded, Started, Finished]
    assert kinds(events[:3]) == [Loading, Loaded, Started]
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.duration_s, end.declared_s, end.skipped_packets) == (LENGTH_S, LENGTH_S, 0)


def test_engine_delivers_each_window_once_without_gaps(used: UsedBench) -> None:
    windows = used.windows
    assert len(windows) >= 3
    assert [found.index for found in windows] == list(range(len(windows)))
    assert [found.start_s for found in windows] == [0.0, *(found.end_s for found in windows[:-1])]
    assert windows[-1].end_s == LENGTH_S


def test_engine_keeps_every_segment_inside_its_window(used: UsedBench) -> None:
    windows = used.windows
    assert all(found.speech_s > 0 and found.language == "en" for found in windows)
    for found in windows:
        for segment in found.segments:
            assert found.start_s <= segment.start_s <= segment.end_s <= found.end_s
            assert segment.text == segment.text.strip() != ""
            assert all(found.start_s <= word.start_s <= word.end_s <= found.end_s for word in segment.words)


def test_engine_loads_once_for_many_recordings(used: UsedBench) -> None:
    assert kinds(used.told).count(Loaded) == 1
    assert kinds(used.events(used.short)) == [Started, Finished]


@pytest.mark.parametrize("durable", [{0}, {0, 1}, {1}, {0, 2}, {2}])
def test_engine_resumed_gives_the_windows_that_were_left(used: UsedBench, durable: set[int]) -> None:
    done = [window for window in used.windows if window.index in durable]
    left = [window for window in used.windows if window.index not in durable]
    assert windows_of(used.events(used.recording, done=done)) == left


def test_engine_works_on_several_recordings_at_once_and_answers_each_with_its_own(used: UsedBench) -> None:
    heard: dict[Path, list[Event]] = {}

    def ask(source: Path) -> None:
        heard[source] = used.events(source)

    sources = [used.recording, used.short, used.recording.parent / "gone.wav"]
    threads = [threading.Thread(target=ask, args=[source]) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert windows_of(heard[used.recording]) == used.windows
    assert kinds(heard[used.short]) == [Started, Finished]
    assert kinds(heard[sources[2]]) == [Failed]


def test_engine_delivers_what_is_in_flight_when_the_service_is_ending_and_leaves_the_rest(used: UsedBench) -> None:
    request = request_for(used.recording, OPTIONS)
    told: list[Event] = []

    def is_ending() -> bool:
        return bool(windows_of(told))

    for event in used.engine.transcribe(request, poll=lambda: None, is_ending=is_ending):
        told.append(event)
    assert told[-1] == Failed.concluded()
    done = windows_of(told)
    assert 1 <= len(done) < len(used.windows)
    assert all(window in used.windows for window in done)


def test_engine_begins_nothing_for_a_service_that_is_ending_already(used: UsedBench) -> None:
    events = list(
        used.engine.transcribe(request_for(used.recording, OPTIONS), poll=lambda: None, is_ending=lambda: True)
    )
    assert windows_of(events) == []
    assert events[-1] == Failed.concluded()


def test_engine_hears_the_same_words_whatever_it_did_before(used: UsedBench, isolation: str) -> None:
    again = windows_of(used.events(used.recording))
    used.events(used.short)
    assert windows_of(used.events(used.recording)) == again == used.windows
    other = new_bench(isolation, used.recording.parent)
    try:
        assert windows_of(other.events(other.recording)) == again
    finally:
        other.engine.close()


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [("gone.wav", Kind.TRANSIENT, "source_unreadable"), ("empty.wav", Kind.PERMANENT, "empty_file")],
)
def test_engine_says_why_it_failed_and_goes_on_with_the_next(
    used: UsedBench, name: str, kind: Kind, reason: str
) -> None:
    failed = used.events(used.recording.parent / name)[-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.reason) == (kind, reason)
    assert isinstance(used.events(used.short)[-1], Finished)


def raising_after(calls: int) -> Callable[[], None]:
    left = calls

    def poll() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Interrupted

    return poll


@pytest.mark.parametrize("calls", [0, 1, 2, 4])
def test_engine_interrupted_by_poll_can_be_used_again(bench: Bench, calls: int) -> None:
    request = request_for(bench.recording, OPTIONS)
    with pytest.raises(Interrupted):
        list(bench.engine.transcribe(request, poll=raising_after(calls)))
    assert isinstance(bench.events(bench.short)[-1], Finished)


def test_engine_left_in_the_middle_can_be_used_again(bench: Bench) -> None:
    events = bench.engine.transcribe(request_for(bench.recording, OPTIONS), poll=lambda: None)
    assert isinstance(next(events), Loading)
    events.close()
    assert isinstance(bench.events(bench.short)[-1], Finished)


def test_engine_idle_for_long_enough_unloads_once_and_loads_again(bench: Bench) -> None:
    bench.events(bench.short)
    now_s = time.monotonic()
    assert not bench.engine.unload_if_idle(now_s)
    assert bench.engine.unload_if_idle(now_s + IDLE_S)
    assert not bench.engine.unload_if_idle(now_s + 2 * IDLE_S)
    assert kinds(bench.events(bench.short))[:2] == [Loading, Loaded]


def test_engine_closed_twice_can_be_used_again(bench: Bench) -> None:
    bench.events(bench.short)
    bench.engine.close()
    bench.engine.close()
    assert isinstance(bench.events(bench.short)[-1], Finished)


def test_engine_interrupted_and_resumed_gives_the_whole_transcript(
    bench: Bench, used: UsedBench, tmp_path: Path
) -> None:
    def attempt(poll: Callable[[], None]) -> Checkpoint:
        checkpoint = Checkpoint.open(tmp_path, "f")
        transcribe(bench.engine, bench.recording, checkpoint, OPTIONS, on_progress=lambda _: None, poll=poll)
        return checkpoint

    def stop_after_one() -> None:
        if Checkpoint.open(tmp_path, "f").windows:
            raise Interrupted

    with pytest.raises(Interrupted):
        attempt(stop_after_one)
    done = list(Checkpoint.open(tmp_path, "f").windows)
    assert len(done) == 1
    whole = attempt(lambda: None).windows
    assert done[0] in whole
    assert list(whole) == used.windows
