"""Several recordings at once: real decoding, and a stand-in for the model that waits until it is told to go on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cesar_watch.core.errors import RecordingError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Window
from cesar_watch.speech.languages import Spoken
from cesar_watch.speech.protocol import (
    CONCLUDED,
    Conclude,
    Drop,
    Durable,
    Event,
    Failed,
    Finished,
    Heard,
    Started,
    Transcribe,
    WindowDone,
)
from cesar_watch.speech.scheduler import Scheduler
from cesar_watch.speech.windows import Cut
from tests.fakes import window
from tests.sounds import conversation, silence, voice, write_wav

WINDOW_S = 5.0
SHORT_S = 2.0
LIMIT_S = 20.0


@dataclass
class Task:
    """A window that a worker has begun; it waits for `go`."""

    index: int
    length_s: float
    told: Callable[[float], None]
    language: str | None
    context: str
    go: threading.Event = field(default_factory=threading.Event)
    fault: Exception | None = None


class Model:
    """Stands for the recognizer: its windows are done when the test says so."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._tasks: list[Task] = []
        self.detected: list[list[int]] = []
        self.is_multilingual = True

    def check(self, options: EngineSettings) -> None:
        if options.language == "xx":
            raise RecordingError("There is no such language.", reason="bad_option")

    def explain(self, fault: Exception) -> Failed:
        return Failed.from_fault(fault)

    def detect(self, cuts: Sequence[Cut], options: EngineSettings, *, look: Callable[[], None]) -> Spoken:
        self.detected.append([cut.index for cut in cuts])
        look()
        return Spoken("cs", 0.75)

    def recognize(
        self,
        cut: Cut,
        options: EngineSettings,
        *,
        spoken: Spoken | None,
        context: str,
        told: Callable[[float], None],
    ) -> Window:
        language = spoken.language if spoken else None
        task = Task(cut.index, cut.end_s - cut.start_s, told, language, context)
        self._tasks.append(task)
        self.begun.put(task)
        assert task.go.wait(LIMIT_S)
        if task.fault is not None:
            raise task.fault
        task.told(0.0)
        return window(cut.index, f"text {cut.index}")

    def next(self) -> Task:
        return self.begun.get(timeout=LIMIT_S)

    def release(self) -> None:
        """Let go of all that was begun."""
        for task in self._tasks:
            task.go.set()

    def is_idle(self) -> bool:
        """Whether no further window is begun, as far as can be seen in a moment."""
        try:
            self.begun.put(self.begun.get(timeout=0.2))
        except queue.Empty:
            return True
        return False


class Desk:
    """A scheduler, and what it answers."""

    def __init__(self, workers: int) -> None:
        self.model = Model()
        self._answers: dict[int, queue.SimpleQueue[Event]] = {}
        recognizer: Any = self.model
        self.scheduler = Scheduler(recognizer, workers, lambda number, event: self.answers(number).put(event))

    def answers(self, number: int) -> queue.SimpleQueue[Event]:
        return self._answers.setdefault(number, queue.SimpleQueue())

    def ask(self, number: int, source: Path, /, **request: Any) -> None:
        options = EngineSettings.model_validate({"window_s": WINDOW_S, **request.pop("options", {})})
        self.answers(number)
        self.scheduler.take(number, Transcribe(path=str(source), options=options, seq=number, **request))

    def next(self, number: int, kind: type[Event]) -> Any:
        """Return the next event about a recording, which must be of this kind."""
        event = self.answers(number).get(timeout=LIMIT_S)
        assert isinstance(event, kind)
        return event

    def await_window(self, number: int) -> None:
        """Wait until a recording has a window that could be worked on."""
        scheduler = self.scheduler
        with scheduler._changed:
            assert scheduler._changed.wait_for(lambda: scheduler._hearings[number].has_window, LIMIT_S)

    def durable(self, number: int) -> int:
        """Wait for the next window of a recording to be done, make it durable and return its index."""
        while not isinstance(event := self.answers(number).get(timeout=LIMIT_S), WindowDone):
            pass
        self.scheduler.take(number, Durable(index=event.window.index))
        return event.window.index

    def finish(self, number: int) -> list[int]:
        """Let everything of a recording be done, and return its windows in the order in which they ended."""
        ended = []
        while True:
            event = self.answers(number).get(timeout=LIMIT_S)
            if isinstance(event, WindowDone):
                ended.append(event.window.index)
                self.scheduler.take(number, Durable(index=event.window.index))
            if isinstance(event, Finished | Failed):
                return ended


@pytest.fixture
def make_desk() -> Iterator[Callable[[int], Desk]]:
    desks: list[Desk] = []

    def make(workers: int) -> Desk:
        desks.append(Desk(workers))
        return desks[-1]

    yield make
    for desk in desks:
        closing = threading.Thread(target=desk.scheduler.close)
        closing.start()
        while closing.is_alive():
            closing.join(0.01)
            desk.model.release()


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight windows, each longer than the short recording."""
    return write_wav(tmp_path_factory.mktemp("sound") / "long.wav", conversation(8))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("sound") / "short.wav", voice(SHORT_S))


MakeDesk = Callable[[int], Desk]


def test_windows_of_one_recording_are_worked_on_side_by_side(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(2)
    desk.ask(1, long)
    one, other = desk.model.next(), desk.model.next()
    assert {one.index, other.index} == {0, 1}
    assert desk.model.is_idle()


def test_windows_come_back_as_they_end(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(2)
    desk.ask(1, long)
    tasks = sorted((desk.model.next(), desk.model.next()), key=lambda task: task.index)
    desk.next(1, Started)
    for index in (1, 0):
        tasks[index].go.set()
        assert desk.next(1, WindowDone).window.index == index


def test_no_window_is_begun_while_too_many_are_not_known_to_be_durable(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(2)
    desk.ask(1, long)
    for _ in range(2):
        desk.model.next().go.set()
    assert desk.model.is_idle()
    desk.durable(1)
    assert desk.model.next().index == 2
    assert desk.model.is_idle()


def test_death_costs_no_more_windows_than_there_are_workers_however_many_recordings_are_in_work(
    make_desk: MakeDesk, long: Path
) -> None:
    desk = make_desk(2)
    for number in range(4):
        desk.ask(number, long)
    for _ in range(2):
        desk.model.next().go.set()
    for number in range(4):
        desk.await_window(number)
    assert desk.model.is_idle()


def test_window_that_fails_is_not_waited_for(make_desk: MakeDesk, long: Path, short: Path) -> None:
    desk = make_desk(1)
    desk.ask(1, long)
    broken = desk.model.next()
    desk.ask(2, short)
    broken.fault = MemoryError()
    broken.go.set()
    desk.model.next().go.set()
    assert desk.finish(2) == [0]


@pytest.mark.parametrize("is_over", [False, True])
def test_window_that_nobody_wants_any_more_is_not_waited_for(
    make_desk: MakeDesk, long: Path, short: Path, is_over: bool
) -> None:
    desk = make_desk(1)
    desk.ask(1, short if is_over else long)
    desk.model.next().go.set()
    while not isinstance(desk.answers(1).get(timeout=LIMIT_S), Finished if is_over else WindowDone):
        pass
    desk.ask(2, short)
    desk.await_window(2)
    desk.scheduler.take(1, Drop())
    desk.model.next().go.set()
    assert desk.finish(2) == [0]


def test_short_recording_waits_for_no_more_than_the_window_that_is_being_worked_on(
    make_desk: MakeDesk, long: Path, short: Path
) -> None:
    desk = make_desk(1)
    desk.ask(1, long, done_s=600.0)
    first = desk.model.next()
    for number in (2, 3):
        desk.ask(number, short)
        desk.await_window(number)
    first.go.set()
    desk.durable(1)
    for number in (2, 3):
        task = desk.model.next()
        assert task.length_s == SHORT_S
        task.go.set()
        assert desk.durable(number) == 0
        desk.next(number, Finished)
    assert desk.model.next().length_s > SHORT_S


def test_recording_with_priority_goes_before_all_others(make_desk: MakeDesk, long: Path, short: Path) -> None:
    desk = make_desk(1)
    desk.ask(1, short)
    first = desk.model.next()
    desk.ask(2, short)
    desk.ask(3, long, priority=1, done_s=5000.0)
    for number in (2, 3):
        desk.await_window(number)
    first.go.set()
    desk.durable(1)
    assert desk.model.next().length_s > SHORT_S


def test_recordings_of_the_same_rank_go_in_the_order_of_their_claims(make_desk: MakeDesk, short: Path) -> None:
    desk = make_desk(1)
    desk.ask(5, short)
    running = desk.model.next()
    for number in (9, 7, 8):
        desk.ask(number, short)
        desk.await_window(number)
    running.go.set()
    desk.durable(5)
    for number in (7, 8, 9):
        desk.model.next().go.set()
        assert desk.durable(number) == 0


def test_all_windows_come_and_then_the_end(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(3)
    desk.ask(1, long)

    def let_go() -> None:
        for _ in range(8):
            desk.model.next().go.set()

    going = threading.Thread(target=let_go)
    going.start()
    ended = desk.finish(1)
    going.join()
    assert sorted(ended) == list(range(8))


def test_language_is_found_before_the_first_window_and_kept(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(2)
    desk.ask(1, long)
    assert {desk.model.next().language, desk.model.next().language} == {"cs"}
    assert desk.model.detected == [[0, 1, 2, 3]]


@pytest.mark.parametrize("request_", [{"options": {"language": "de"}}, {"language": "de"}])
def test_language_that_is_known_is_not_asked_for(make_desk: MakeDesk, short: Path, request_: dict[str, Any]) -> None:
    desk = make_desk(1)
    desk.ask(1, short, **request_)
    assert desk.model.next().language == "de"
    assert desk.model.detected == []


def test_language_of_a_multilingual_recording_is_left_to_each_window(make_desk: MakeDesk, short: Path) -> None:
    desk = make_desk(1)
    desk.ask(1, short, language="de", options={"multilingual": True})
    assert desk.model.next().language is None


def test_windows_that_are_durable_already_are_not_worked_on(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(1)
    desk.ask(1, long, done=(0, 2, 3, 4, 5, 6, 7))
    assert desk.model.next().index == 1


def test_text_is_carried_from_window_to_window_one_after_the_other_where_asked_for(
    make_desk: MakeDesk, long: Path
) -> None:
    desk = make_desk(2)
    desk.ask(1, long, context="before", options={"condition_on_previous_text": True, "language": "cs"})
    first = desk.model.next()
    assert (first.index, first.context) == (0, "before")
    assert desk.model.is_idle()
    first.go.set()
    desk.durable(1)
    second = desk.model.next()
    assert (second.index, second.context) == (1, "text 0")


def test_how_far_a_window_is_heard_is_told_and_never_goes_back(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(2)
    desk.ask(1, long)
    one, other = desk.model.next(), desk.model.next()
    desk.next(1, Started)
    for task, heard_s in ((one, 1.0), (other, 2.0), (one, 0.5), (one, 3.0)):
        task.told(heard_s)
    assert [desk.next(1, Heard).heard_s for _ in range(3)] == [1.0, 3.0, 5.0]
    one.go.set()
    desk.next(1, WindowDone)
    other.told(4.0)
    assert desk.next(1, Heard).heard_s == one.length_s + 4.0


def test_dropped_recording_ends_when_nothing_of_it_is_worked_on(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(2)
    desk.ask(1, long)
    tasks = [desk.model.next(), desk.model.next()]
    desk.next(1, Started)
    desk.scheduler.take(1, Drop())
    assert desk.answers(1).empty()
    for task in tasks:
        task.go.set()
    # What is heard in vain is not told: the model ends at its next piece of sound.
    assert desk.next(1, Failed).reason == "dropped"
    assert desk.model.is_idle()


def test_concluded_recording_ends_with_the_windows_in_flight_and_begins_no_other(
    make_desk: MakeDesk, long: Path
) -> None:
    desk = make_desk(2)
    desk.ask(1, long)
    tasks = sorted((desk.model.next(), desk.model.next()), key=lambda task: task.index)
    desk.next(1, Started)
    desk.scheduler.take(1, Conclude())
    for task in tasks:
        task.go.set()
        event = desk.next(1, WindowDone)
        assert event.window.index == task.index
        desk.scheduler.take(1, Durable(index=task.index))
    assert desk.next(1, Failed).reason == CONCLUDED
    assert desk.model.is_idle()


def test_concluded_recording_with_nothing_in_flight_ends_at_once_however_long_others_take(
    make_desk: MakeDesk, long: Path
) -> None:
    desk = make_desk(1)
    desk.ask(1, long)
    desk.model.next()
    desk.ask(2, long)
    desk.await_window(2)
    desk.next(2, Started)
    desk.scheduler.take(2, Conclude())
    assert desk.next(2, Failed).reason == CONCLUDED


def test_concluded_recording_whose_last_windows_are_in_flight_is_finished(make_desk: MakeDesk, short: Path) -> None:
    desk = make_desk(1)
    desk.ask(1, short)
    task = desk.model.next()
    desk.next(1, Started)
    with desk.scheduler._changed:
        hearing = desk.scheduler._hearings[1]
        assert desk.scheduler._changed.wait_for(lambda: not hearing._is_decoding, LIMIT_S)
    desk.scheduler.take(1, Conclude())
    task.go.set()
    desk.next(1, WindowDone)
    desk.next(1, Finished)


def test_concluded_recording_that_nobody_wants_any_more_is_dropped(make_desk: MakeDesk, long: Path) -> None:
    desk = make_desk(1)
    desk.ask(1, long)
    task = desk.model.next()
    desk.next(1, Started)
    desk.scheduler.take(1, Conclude())
    desk.scheduler.take(1, Drop())
    task.go.set()
    assert desk.next(1, Failed).reason == "dropped"


def test_window_that_fails_ends_its_recording_and_no_other(make_desk: MakeDesk, long: Path, short: Path) -> None:
    desk = make_desk(2)
    desk.ask(2, short)
    sound = desk.model.next()
    desk.ask(1, long)
    broken = desk.model.next()
    broken.fault = MemoryError()
    broken.go.set()
    desk.next(1, Started)
    assert desk.next(1, Failed).reason == "out_of_memory"
    sound.go.set()
    assert desk.finish(2) == [0]


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("gone.wav", {}, "source_unreadable"),
        ("text.wav", {}, "not_media"),
        ("long.wav", {"language": "xx"}, "bad_option"),
        ("long.wav", {"max_duration_s": 12.0}, "too_long"),
    ],
)
def test_recording_that_cannot_be_heard_ends_with_its_reason(
    make_desk: MakeDesk, long: Path, name: str, options: dict[str, Any], reason: str
) -> None:
    (long.parent / "text.wav").write_text("no sound")
    desk = make_desk(1)
    desk.ask(1, long.parent / name, options=options)
    answers = desk.answers(1)
    while not isinstance(event := answers.get(timeout=LIMIT_S), Failed):
        assert isinstance(event, Started)
    assert event.reason == reason


def test_message_about_a_recording_that_has_ended_is_passed_over(make_desk: MakeDesk, short: Path) -> None:
    desk = make_desk(1)
    desk.scheduler.take(7, Durable(index=0))
    desk.scheduler.take(7, Drop())
    desk.ask(1, short)
    desk.model.next().go.set()
    assert desk.finish(1) == [0]


def test_recording_that_comes_after_the_close_is_dropped(make_desk: MakeDesk, short: Path) -> None:
    desk = make_desk(1)
    desk.scheduler.close()
    desk.ask(1, short)
    assert desk.next(1, Failed).reason == "dropped"


def test_silence_has_windows_too(make_desk: MakeDesk, tmp_path: Path) -> None:
    desk = make_desk(1)
    desk.ask(1, write_wav(tmp_path / "silence.wav", silence(3)))
    desk.model.next().go.set()
    assert desk.finish(1) == [0]
    assert np.all(silence(1) == 0)
    assert desk.model.detected == []
