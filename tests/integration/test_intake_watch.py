"""Real inotify events wake the intake; what dies is repaired; what can't be watched is polled."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.watch import Hints, Watcher

DEADLINE_S = 10


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def wake() -> threading.Event:
    return threading.Event()


@pytest.fixture
def start(inbox: Path, wake: threading.Event) -> Iterator[Callable[..., Watcher]]:
    """Make watchers that are closed, whatever happens, and leave no thread behind."""
    before = set(threading.enumerate())
    made: list[Watcher] = []

    def make(**settings: object) -> Watcher:
        made.append(Watcher(inbox, SpoolSettings.model_validate({"watch_mode": "events", **settings}), wake))
        made[-1].ensure()
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def create(inbox: Path) -> None:
    os.close(os.open(inbox / "a.wav", os.O_CREAT | os.O_WRONLY))


def move_in(inbox: Path) -> None:
    (inbox.parent / "a.wav").touch()
    (inbox.parent / "a.wav").rename(inbox / "a.wav")


def make_folder(inbox: Path) -> None:
    (inbox / "radio").mkdir()


@pytest.mark.parametrize("happening", [create, move_in, make_folder])
@pytest.mark.parametrize("mode", ["events", "auto"])
def test_watcher_wakes_when_something_comes(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event, happening: Callable[[Path], None], mode: str
) -> None:
    start(watch_mode=mode)
    happening(inbox)

    assert wake.wait(DEADLINE_S)


def test_watcher_wakes_when_a_writer_closes_its_file(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    with (inbox / "a.wav").open("wb", buffering=0) as stream:
        start()
        stream.write(b"sound")
    assert wake.wait(DEADLINE_S)


class CountingEvent(threading.Event):
    """An event that knows how often it was set."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def set(self) -> None:
        self.times += 1
        super().set()


def test_watcher_is_not_woken_by_our_own_reading(inbox: Path) -> None:
    (inbox / "a.wav").write_bytes(b"sound")
    wake = CountingEvent()
    watcher = Watcher(inbox, SpoolSettings(watch_mode="events"), wake)
    watcher.ensure()
    for _ in range(3):
        (inbox / "a.wav").read_bytes()
        os.listdir(inbox)
    make_folder(inbox)  # inotify keeps the order: what the reading caused would have come before this
    assert wake.wait(DEADLINE_S)
    watcher.close()

    assert wake.times == 1


def hints_behind(watcher: Watcher, inbox: Path, wake: threading.Event) -> Hints:
    """Return the hints of all that happened before this call: inotify keeps the order."""
    hints = watcher.hints()
    marker = inbox / "marker"
    with marker.open("wb"):
        pass
    while marker not in hints.closed:
        assert wake.wait(DEADLINE_S)
        wake.clear()
        more = watcher.hints()
        hints = Hints(hints.moved_in | more.moved_in, hints.closed | more.closed)
    return Hints(hints.moved_in, hints.closed - {marker})


def test_watcher_tells_which_files_were_moved_in_from_elsewhere(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    watcher = start()
    move_in(inbox)

    assert hints_behind(watcher, inbox, wake) == Hints(moved_in={inbox / "a.wav"})


def test_watcher_tells_which_files_were_renamed_inside_the_inbox(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    watcher = start()
    (inbox / ".a.wav.part").touch()
    (inbox / ".a.wav.part").rename(inbox / "a.wav")

    assert hints_behind(watcher, inbox, wake).moved_in == {inbox / "a.wav"}


def test_watcher_tells_which_files_were_renamed_in_subfolders(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    (inbox / "radio").mkdir()
    watcher = start(recursive=True)
    move_in(inbox)
    (inbox / "a.wav").rename(inbox / "radio" / "b.wav")

    assert inbox / "radio" / "b.wav" in hints_behind(watcher, inbox, wake).moved_in


def test_watcher_tells_which_files_their_writers_closed_and_not_which_were_only_made(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    watcher = start()
    with (inbox / "a.wav").open("wb"), (inbox / "b.wav").open("wb") as open_still:
        open_still.write(b"sound")
        (inbox / "c.wav").hardlink_to(inbox / "b.wav")
        os.close(os.open(inbox / "d.wav", os.O_CREAT | os.O_WRONLY))
        hints = hints_behind(watcher, inbox, wake)

    assert hints == Hints(closed={inbox / "d.wav"})


def test_watcher_tells_each_hint_once(start: Callable[..., Watcher], inbox: Path, wake: threading.Event) -> None:
    watcher = start()
    move_in(inbox)
    hints_behind(watcher, inbox, wake)

    assert hints_behind(watcher, inbox, wake) == Hints()


def test_watcher_is_not_woken_by_our_own_claim(inbox: Path) -> None:
    (inbox / "a.wav").write_bytes(b"sound")
    wake = CountingEvent()
    watcher = Watcher(inbox, SpoolSettings(watch_mode="events"), wake)
    watcher.ensure()
    (inbox / "a.wav").rename(inbox.parent / "a.wav")
    make_folder(inbox)
    assert wake.wait(DEADLINE_S)
    watcher.close()

    assert wake.times == 1


def test_watcher_wakes_for_a_subfolder_when_recursive(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    (inbox / "radio").mkdir()
    start(recursive=True)
    create(inbox / "radio")

    assert wake.wait(DEADLINE_S)


def test_watcher_wakes_for_a_subfolder_that_came_later_when_recursive(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    start(recursive=True)
    (inbox / "radio").mkdir()
    assert wake.wait(DEADLINE_S)


def until_dead(watcher: Watcher) -> None:
    """Wait, with a deadline, for the emitters of a removed inbox to end."""
    assert watcher._observer is not None
    for emitter in list(watcher._observer.emitters):
        emitter.join(DEADLINE_S)
        assert not emitter.is_alive()


@pytest.mark.parametrize("recursive", [False, True])
def test_watcher_of_an_inbox_removed_and_made_again_is_repaired(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event, recursive: bool
) -> None:
    watcher = start(recursive=recursive)
    shutil.rmtree(inbox)
    until_dead(watcher)
    inbox.mkdir()
    watcher.ensure()
    wake.clear()
    create(inbox)

    assert wake.wait(DEADLINE_S)


def test_watcher_asked_while_the_inbox_is_away_is_repaired_when_it_is_back(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = start()
    shutil.rmtree(inbox)
    until_dead(watcher)
    threads = threading.active_count()
    for _ in range(5):
        watcher.ensure()
    assert threading.active_count() <= threads  # nothing piles up meanwhile
    inbox.mkdir()
    watcher.ensure()
    wake.clear()
    create(inbox)

    assert wake.wait(DEADLINE_S)
    assert caplog.text == ""


def test_watcher_started_before_the_inbox_is_there_watches_it_later(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    inbox.rmdir()
    watcher = start()
    inbox.mkdir()
    watcher.ensure()
    create(inbox)

    assert wake.wait(DEADLINE_S)


def test_watcher_that_is_healthy_is_left_running(start: Callable[..., Watcher]) -> None:
    watcher = start()
    threads = set(threading.enumerate())
    watcher.ensure()

    assert set(threading.enumerate()) == threads


def test_watcher_in_poll_mode_starts_no_thread(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    threads = set(threading.enumerate())
    watcher = start(watch_mode="poll")
    watcher.ensure()
    create(inbox)

    assert set(threading.enumerate()) == threads
    assert not wake.is_set()


def test_watcher_that_is_closed_ends_its_threads_and_wakes_nobody(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    before = set(threading.enumerate())
    watcher = start()
    started = set(threading.enumerate()) - before
    assert started
    watcher.close()
    for thread in started:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    create(inbox)

    assert not wake.is_set()
    watcher.close()  # a second time is fine


def test_watcher_that_was_closed_starts_again_when_asked(
    start: Callable[..., Watcher], inbox: Path, wake: threading.Event
) -> None:
    watcher = start()
    watcher.close()
    watcher.ensure()
    create(inbox)

    assert wake.wait(DEADLINE_S)
