"""Recordings that lie anywhere, worked on side by side: what comes of each, and what is left when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.config import Settings
from cesar_watch.core.errors import AttemptError, CesarError, EngineLost, ModelError, RecordingError, UsageError
from cesar_watch.core.recording_settings import Format
from cesar_watch.service.one_off import OneOff, Order, Outcome, refuse
from tests.fakes import STALL, FakeEngine, Step, window
from tests.processes import LIMIT_S
from tests.sounds import silence, write_wav

HELLO, WORLD = window(0, "hello"), window(1, "world")


class Later(list[Step]):
    """A script that is played when something has happened."""

    def __init__(self, steps: list[Step], happened: threading.Event) -> None:
        super().__init__(steps)
        self._happened = happened

    def __iter__(self) -> Iterator[Step]:
        assert self._happened.wait(LIMIT_S)
        return super().__iter__()


@pytest.fixture
def order(tmp_path: Path) -> Callable[..., Order]:
    """Make a recording and an order for it, to be written beside it."""

    def make(name: str, *formats: Format, beside: bool = True) -> Order:
        recording = tmp_path / name
        recording.write_bytes(b"sound")
        return Order(recording, formats or ("txt",), tmp_path if beside else None)

    return make


def one_off(tmp_path: Path, engine: FakeEngine, **more: Any) -> OneOff:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return OneOff(Settings(), engine, at_once=more.pop("at_once", 3), scratch=scratch, **more)


def text_of(outcome: Outcome) -> str:
    return " ".join(outcome.contents["txt"].decode().split())


def reasons(outcomes: list[Outcome]) -> list[str | None]:
    return [outcome.error.reason if outcome.error else None for outcome in outcomes]


# --- what comes of them -----------------------------------------------------------------------


def test_recording_without_a_folder_gives_contents_and_no_file(tmp_path: Path, order: Callable[..., Order]) -> None:
    (outcome,) = one_off(tmp_path, FakeEngine()).outcomes([order("talk.mp3", beside=False)])

    assert outcome.contents == {"txt": b"hello\n\nworld\n"}
    assert outcome.quality is not None
    assert outcome.quality.verdict == "ok"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "talk.mp3"]


def test_recording_with_a_folder_gets_a_file_in_each_format_and_stays(
    tmp_path: Path, order: Callable[..., Order]
) -> None:
    list(one_off(tmp_path, FakeEngine()).outcomes([order("talk.mp3", "txt", "srt")]))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "talk.mp3", "talk.srt", "talk.txt"]
    assert (tmp_path / "talk.txt").read_text() == "hello\n\nworld\n"


def test_outcomes_come_in_the_order_asked_whichever_recording_is_done_first(
    tmp_path: Path, order: Callable[..., Order]
) -> None:
    second_is_done = threading.Event()
    engine = FakeEngine({"first.mp3": Later([HELLO], second_is_done), "second.mp3": [HELLO]})

    def on_progress(about: Order, _progress: object) -> None:
        if about.recording.name == "second.mp3":
            second_is_done.set()

    orders = [order("first.mp3"), order("second.mp3")]
    outcomes = list(one_off(tmp_path, engine, on_progress=on_progress).outcomes(orders))

    assert [outcome.order.recording.name for outcome in outcomes] == ["first.mp3", "second.mp3"]


def test_recording_that_fails_does_not_keep_the_others(tmp_path: Path, order: Callable[..., Order]) -> None:
    engine = FakeEngine({"bad.mp3": [RecordingError("bad.mp3 is no recording.", reason="not_media")]})
    outcomes = list(one_off(tmp_path, engine).outcomes([order("bad.mp3"), order("talk.mp3")]))

    assert reasons(outcomes) == ["not_media", None]
    assert (tmp_path / "talk.txt").exists()


def test_output_that_somebody_else_made_meanwhile_is_left_alone_and_the_others_go_on(
    tmp_path: Path, order: Callable[..., Order]
) -> None:
    def on_progress(about: Order, _progress: object) -> None:
        if about.recording.name == "talk.mp3":
            (tmp_path / "talk.txt").write_text("mine")

    work = one_off(tmp_path, FakeEngine(), on_progress=on_progress)
    outcomes = list(work.outcomes([order("talk.mp3"), order("other.mp3")]))

    assert "talk.txt exists already" in str(outcomes[0].error)
    assert (tmp_path / "talk.txt").read_text() == "mine"
    assert (tmp_path / "other.txt").exists()


def test_link_is_followed_and_its_own_name_and_folder_count(tmp_path: Path, order: Callable[..., Order]) -> None:
    engine, talk = FakeEngine(), order("talk.mp3")
    (tmp_path / "link.mp3").symlink_to(talk.recording)
    list(one_off(tmp_path, engine).outcomes([Order(tmp_path / "link.mp3", ("txt",), tmp_path)]))

    assert engine.requests[0].path == str(talk.recording)
    assert (tmp_path / "link.txt").exists()


def test_recording_that_is_cut_short_is_transcribed_as_far_as_it_goes_and_called_partial(tmp_path: Path) -> None:
    talk = write_wav(tmp_path / "talk.wav", silence(10))
    with talk.open("r+b") as stream:
        stream.truncate(100_000)
    (outcome,) = one_off(tmp_path, FakeEngine()).outcomes([Order(talk, ("txt",))])

    assert outcome.quality is not None
    assert outcome.quality.verdict == "partial"
    assert text_of(outcome) == "hello world"


def test_recording_that_is_shorter_than_it_declares_is_called_partial_too(
    tmp_path: Path, order: Callable[..., Order]
) -> None:
    (outcome,) = one_off(tmp_path, FakeEngine(declared_s=60.0)).outcomes([order("talk.mp3")])

    assert outcome.quality is not None
    assert outcome.quality.verdict == "partial"


# --- a second try -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [AttemptError("It died.", reason="engine_crashed"), EngineLost("It died over another one.")]
)
def test_recording_over_which_the_engine_died_goes_on_behind_the_others_where_it_was(
    tmp_path: Path, order: Callable[..., Order], fault: CesarError
) -> None:
    engine = FakeEngine({"first.mp3": [HELLO, fault]})
    outcomes = one_off(tmp_path, engine).outcomes([order("first.mp3"), order("second.mp3")])
    names = [next(outcomes).order.recording.name]
    engine.scripts["first.mp3"] = [HELLO, WORLD]
    last = next(outcomes)

    assert [*names, last.order.recording.name] == ["second.mp3", "first.mp3"]
    assert (engine.requests[-1].first_index, text_of(last)) == (1, "hello world")


def test_recording_that_fails_a_second_time_has_failed(tmp_path: Path, order: Callable[..., Order]) -> None:
    engine = FakeEngine({"bad.mp3": [AttemptError("It died.", reason="engine_crashed")]})
    outcomes = list(one_off(tmp_path, engine).outcomes([order("bad.mp3")]))

    assert reasons(outcomes) == ["engine_crashed"]
    assert len(engine.requests) == 2


# --- the end ----------------------------------------------------------------------------------


def pool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_model_that_can_not_be_loaded_ends_everything(tmp_path: Path, order: Callable[..., Order]) -> None:
    engine = FakeEngine(default=[ModelError("There is no such model.")])
    with pytest.raises(ModelError):
        list(one_off(tmp_path, engine, at_once=1).outcomes([order("one.mp3"), order("two.mp3")]))

    assert not (tmp_path / "one.txt").exists()
    assert pool_threads() == []


def test_work_that_nobody_wants_any_more_ends_at_once_and_leaves_no_half_file(
    tmp_path: Path, order: Callable[..., Order]
) -> None:
    engine = FakeEngine({"long.mp3": [HELLO, STALL]})
    outcomes = one_off(tmp_path, engine, at_once=1).outcomes([order("talk.mp3"), order("long.mp3"), order("more.mp3")])
    next(outcomes)
    assert engine.stalled.wait(LIMIT_S)
    outcomes.close()

    assert (engine.stalled.is_set(), pool_threads()) == (False, [])
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["talk.txt"]


# --- what is refused ----------------------------------------------------------------------------


def test_orders_that_can_be_carried_out_are_not_refused(tmp_path: Path, order: Callable[..., Order]) -> None:
    refuse([order("talk.mp3"), order("other.mp3")])


@pytest.mark.parametrize(
    ("recording", "folder", "told"),
    [
        ("gone.mp3", "", "gone.mp3 does not exist"),
        ("folder", "", "folder is no file"),
        ("taken.mp3", "", "taken.txt exists already"),
        ("linked.mp3", "", "linked.txt exists already"),
        ("talk.mp3", "gone", "gone is no folder that you may write into"),
        ("talk.mp3", "taken.txt", "can't be written"),
        (f"{'x' * 253}.a", "", "can't be written"),
    ],
)
def test_order_that_can_not_be_carried_out_is_refused_in_a_sentence(
    tmp_path: Path, order: Callable[..., Order], recording: str, folder: str, told: str
) -> None:
    for name in ("talk.mp3", "taken.mp3", "taken.txt", "linked.mp3", f"{'x' * 253}.a"):
        order(name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked.txt").symlink_to("nowhere")

    with pytest.raises(UsageError, match=told):
        refuse([order("good.mp3"), Order(tmp_path / recording, ("txt",), tmp_path / folder)])


def test_orders_that_would_make_the_same_file_are_refused(order: Callable[..., Order]) -> None:
    with pytest.raises(UsageError, match=r"talk\.mp3 and .*talk\.wav would both become .*talk\.txt"):
        refuse([order("talk.mp3"), order("talk.wav")])
