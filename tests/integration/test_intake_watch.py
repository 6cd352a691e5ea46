"""Real inotify events wake the intake; what dies is repaired; what can't be watched is polled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.lookout import Lookout
from cesar_watch.intake.scan import Candidate
from cesar_watch.intake.watch import AGAIN_S, Hints, Watcher

DEADLINE_S = 10
QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


class Eye:
    """A lookout on a real inbox."""

    def __init__(self, inbox: Path, wake: threading.Event, **settings: object) -> None:
        self.inbox = inbox
        self.wake = wake
        self.lookout = Lookout(inbox, Watcher(wake), time.monotonic)
        self._settings = SpoolSettings.model_validate({"watch_mode": "events", **settings})

    def look(self) -> list[Path]:
        """Return the recordings that are there, in the order of names."""
        return [found.path for found in self.lookout.look(self._settings, 0.0) if isinstance(found, Candidate)]

    def hints(self) -> Hints:
        """Return the hints of all that happened before this call: inotify keeps the order."""
        marker = self.inbox / "marker"
        with marker.open("wb"):
            pass
        moved_in, closed = set[Path](), set[Path]()
        while marker not in closed:
            assert self.wake.wait(DEADLINE_S)
            self.wake.clear()
            self.look()
            moved_in |= self.lookout.hints.moved_in
            closed |= self.lookout.hints.closed
        return Hints(moved_in, closed - {marker})

    def until_dead(self) -> None:
        """Wait, with a deadline, for the thread that reads the events to end."""
        reader = self.lookout._watcher._reader
        assert reader is not None
        reader.join(DEADLINE_S)
        assert not reader.is_alive()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def wake() -> threading.Event:
    return threading.Event()


@pytest.fixture
def start(inbox: Path, wake: threading.Event) -> Iterator[Callable[..., Eye]]:
    """Make eyes that have looked once; they are closed, whatever happens, and leave no thread and no file behind."""
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    made: list[Eye] = []

    def make(wake: threading.Event = wake, **settings: object) -> Eye:
        made.append(Eye(inbox, wake, **settings))
        made[-1].look()
        return made[-1]

    yield make
    for eye in made:
        eye.lookout.close()
    for thread in set(threading.enumerate()) - threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert len(os.listdir("/proc/self/fd")) == files


def create(folder: Path, name: str = "a.wav") -> None:
    os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))


def move_in(inbox: Path) -> None:
    (inbox.parent / "a.wav").touch()
    (inbox.parent / "a.wav").rename(inbox / "a.wav")


def make_folder(inbox: Path) -> None:
    (inbox / "radio").mkdir()


@pytest.mark.parametrize("happening", [create, move_in, make_folder])
@pytest.mark.parametrize("mode", ["events", "auto"])
def test_watcher_wakes_when_something_comes(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event, happening: Callable[[Path], None], mode: str
) -> None:
    start(watch_mode=mode)
    happening(inbox)

    assert wake.wait(DEADLINE_S)


def test_watcher_wakes_when_a_writer_closes_its_file(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event
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


def read_it(inbox: Path) -> None:
    (inbox / "a.wav").read_bytes()
    os.listdir(inbox)


def claim_it(inbox: Path) -> None:
    (inbox / "a.wav").rename(inbox.parent / "a.wav")


def prove(inbox: Path) -> None:
    create(inbox, ".cesar-probe-0123")
    (inbox / ".cesar-probe-0123").unlink()


@pytest.mark.parametrize("ours", [read_it, claim_it, prove])
def test_watcher_is_not_woken_by_what_we_do(
    start: Callable[..., Eye], inbox: Path, ours: Callable[[Path], None]
) -> None:
    (inbox / "a.wav").write_bytes(b"sound")
    wake = CountingEvent()
    eye = start(wake)
    ours(inbox)
    make_folder(inbox)  # inotify keeps the order: what we caused would have come before this
    assert wake.wait(DEADLINE_S)
    eye.lookout.close()

    assert wake.times == 1


# --- hints ------------------------------------------------------------------------------------------


def test_watcher_tells_which_files_were_moved_in_from_elsewhere(start: Callable[..., Eye], inbox: Path) -> None:
    eye = start()
    move_in(inbox)

    assert eye.hints() == Hints(moved_in={inbox / "a.wav"})


def test_watcher_tells_which_files_were_renamed_inside_the_inbox(start: Callable[..., Eye], inbox: Path) -> None:
    eye = start()
    (inbox / ".a.wav.part").touch()
    (inbox / ".a.wav.part").rename(inbox / "a.wav")

    assert eye.hints().moved_in == {inbox / "a.wav"}


def test_watcher_tells_which_files_were_renamed_in_subfolders(start: Callable[..., Eye], inbox: Path) -> None:
    (inbox / "radio").mkdir()
    eye = start(recursive=True)
    move_in(inbox)
    (inbox / "a.wav").rename(inbox / "radio" / "b.wav")

    assert inbox / "radio" / "b.wav" in eye.hints().moved_in


def test_watcher_tells_which_files_their_writers_closed_and_not_which_were_only_made(
    start: Callable[..., Eye], inbox: Path
) -> None:
    eye = start()
    with (inbox / "a.wav").open("wb"), (inbox / "b.wav").open("wb") as open_still:
        open_still.write(b"sound")
        (inbox / "c.wav").hardlink_to(inbox / "b.wav")
        create(inbox, "d.wav")
        hints = eye.hints()

    assert hints == Hints(closed={inbox / "d.wav"})


def test_watcher_tells_each_hint_once(start: Callable[..., Eye], inbox: Path) -> None:
    eye = start()
    move_in(inbox)
    eye.hints()

    assert eye.hints() == Hints()


def test_hint_of_a_file_that_is_not_yet_seen_is_of_the_look_that_sees_it(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event
) -> None:
    eye = start()
    move_in(inbox)
    assert wake.wait(DEADLINE_S)
    found = eye.look()

    assert eye.lookout.hints.moved_in == set(found) == {inbox / "a.wav"}


# --- subfolders -------------------------------------------------------------------------------------


def test_watcher_wakes_for_a_subfolder_when_recursive(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event
) -> None:
    (inbox / "radio").mkdir()
    start(recursive=True)
    create(inbox / "radio")

    assert wake.wait(DEADLINE_S)


@pytest.mark.parametrize(("recursive", "folder"), [(False, "radio"), (True, ".stfolder")])
def test_watcher_leaves_a_subfolder_alone_that_is_not_looked_into(
    start: Callable[..., Eye], inbox: Path, recursive: bool, folder: str
) -> None:
    (inbox / folder).mkdir()
    eye = start(recursive=recursive)
    create(inbox / folder)

    assert eye.hints() == Hints()


def by_mkdir(inbox: Path) -> Path:
    (inbox / "radio").mkdir()
    return inbox / "radio"


def by_move_from_elsewhere(inbox: Path) -> Path:
    (inbox.parent / "radio" / "monday").mkdir(parents=True)
    (inbox.parent / "radio").rename(inbox / "radio")
    return inbox / "radio" / "monday"


def by_rename_inside(inbox: Path) -> Path:
    (inbox / "old" / "monday").rename(inbox / "monday")
    return inbox / "monday"


@pytest.mark.parametrize("arrive", [by_mkdir, by_move_from_elsewhere, by_rename_inside])
def test_files_that_come_later_into_a_folder_that_came_are_told_of_by_its_new_name(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event, arrive: Callable[[Path], Path]
) -> None:
    (inbox / "old" / "monday").mkdir(parents=True)
    eye = start(recursive=True)
    folder = arrive(inbox)
    assert wake.wait(DEADLINE_S)
    eye.hints()
    wake.clear()
    create(folder)

    assert wake.wait(DEADLINE_S)
    assert eye.hints().closed == {folder / "a.wav"}
    assert folder / "a.wav" in eye.look()


def test_folder_that_was_moved_out_tells_nothing_any_more(start: Callable[..., Eye], inbox: Path) -> None:
    (inbox / "radio").mkdir()
    eye = start(recursive=True)
    (inbox / "radio").rename(inbox.parent / "radio")
    eye.look()
    create(inbox.parent / "radio")

    assert eye.hints() == Hints()


# --- repairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("looks_meanwhile", [0, 5])
def test_inbox_removed_and_made_again_is_watched_again(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event, recursive: bool, looks_meanwhile: int
) -> None:
    eye = start(recursive=recursive)
    threads = threading.active_count()
    shutil.rmtree(inbox)
    assert wake.wait(DEADLINE_S)
    for _ in range(looks_meanwhile):
        with pytest.raises(FileNotFoundError):
            eye.look()
    inbox.mkdir()
    eye.look()
    wake.clear()
    create(inbox)

    assert wake.wait(DEADLINE_S)
    assert threading.active_count() == threads  # nothing piled up meanwhile


def test_inbox_removed_and_made_again_unseen_is_watched_again(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event
) -> None:
    eye = start()
    inbox.rmdir()
    inbox.mkdir()  # as a rule with the same inode number
    eye.look()
    for _ in range(100):  # the end of the old watch may be told of after this look; then it wakes for another one
        create(inbox)
        wake.wait(0.1)
        eye.look()
        if eye.lookout.hints.closed:
            return
    pytest.fail("no event told of the file")


def test_inbox_replaced_by_another_is_watched_and_the_old_one_is_not(start: Callable[..., Eye], inbox: Path) -> None:
    eye = start()
    inbox.rename(inbox.parent / "old")
    inbox.mkdir()
    eye.look()
    create(inbox.parent / "old")
    create(inbox, "b.wav")

    assert eye.hints() == Hints(closed={inbox / "b.wav"})


def test_watcher_started_before_the_inbox_is_there_watches_it_later(inbox: Path, wake: threading.Event) -> None:
    inbox.rmdir()
    eye = Eye(inbox, wake)
    with pytest.raises(FileNotFoundError):
        eye.look()
    inbox.mkdir()
    eye.look()
    create(inbox)

    assert wake.wait(DEADLINE_S)
    eye.lookout.close()


class BrokenEvent(threading.Event):
    """An event that raises when it is set for the first time."""

    is_broken = True

    def set(self) -> None:
        if self.is_broken:
            self.is_broken = False
            raise RuntimeError("broken")
        super().set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_error_in_a_handler_is_repaired_by_the_next_look(
    start: Callable[..., Eye], inbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wake = BrokenEvent()
    eye = start(wake)
    create(inbox)
    eye.until_dead()

    assert eye.look() == [inbox / "a.wav"]
    assert "started again" in caplog.text
    create(inbox, "b.wav")
    assert wake.wait(DEADLINE_S)


class SlowEvent(threading.Event):
    """An event whose first setting takes until `gate` opens, as if the machine were busy with something else."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def set(self) -> None:
        assert self.gate.wait(60)
        super().set()


def test_sixty_thousand_files_that_overflow_the_queue_are_all_seen(start: Callable[..., Eye], inbox: Path) -> None:
    assert QUEUE < 60_000
    wake = SlowEvent()
    eye = start(wake)
    for number in range(60_000):
        os.mknod(inbox / f"{number:05}.wav")
    wake.gate.set()

    assert wake.wait(DEADLINE_S)
    assert len(eye.look()) == 60_000
    while inbox / "late.wav" not in eye.lookout._watcher._sink.hints.closed:  # behind the overflow all is as before
        create(inbox, "late.wav")
        assert wake.wait(DEADLINE_S)


def test_watcher_that_is_healthy_is_left_running(start: Callable[..., Eye]) -> None:
    eye = start()
    threads, reader = set(threading.enumerate()), eye.lookout._watcher._reader
    eye.look()

    assert set(threading.enumerate()) == threads
    assert eye.lookout._watcher._reader is reader


# --- what is polled ---------------------------------------------------------------------------------


def test_watcher_in_poll_mode_starts_no_thread(start: Callable[..., Eye], inbox: Path, wake: threading.Event) -> None:
    threads = set(threading.enumerate())
    eye = start(watch_mode="poll")
    create(inbox)

    assert set(threading.enumerate()) == threads
    assert not wake.is_set()
    assert eye.look() == [inbox / "a.wav"]


@pytest.mark.parametrize(("mode", "watched"), [("auto", ["a.wav"]), ("events", ["a.wav", "radio/a.wav"]), ("poll", [])])
def test_watcher_decides_for_each_folder_whether_it_is_polled(
    inbox: Path, wake: threading.Event, mode: str, watched: list[str]
) -> None:
    make_folder(inbox)
    watcher = Watcher(wake)
    settings = SpoolSettings.model_validate({"watch_mode": mode})
    watcher.begin(settings, 0.0)
    watcher.enter(inbox, is_remote=False)
    watcher.enter(inbox / "radio", is_remote=True)
    is_all_watched = watcher.end()
    create(inbox / "radio")
    create(inbox)
    while watched and inbox / "a.wav" not in watcher._sink.hints.closed:
        assert wake.wait(DEADLINE_S)
        wake.clear()
    told = watcher.begin(settings, 0.0).closed
    watcher.close()

    assert sorted(str(path.relative_to(inbox)) for path in told) == watched
    assert is_all_watched is (mode == "events")


LIMITED = """
import logging, sys, threading
from pathlib import Path
from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.watch import Watcher
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
limit, inbox = Path("/proc/sys/user") / sys.argv[1], Path(sys.argv[2])
limit.write_text(sys.argv[3])
wake = threading.Event()
watcher = Watcher(wake)
def look(now_s):
    watcher.begin(SpoolSettings(watch_mode="events", recursive=True), now_s)
    watcher.enter(inbox, is_remote=False)
    watcher.enter(inbox / "radio", is_remote=False)
    print(watcher.end())
for now_s in (0, 1, 301, 302):
    look(now_s)
limit.write_text("1000")
for now_s in (303, 601, 602, 603):
    look(now_s)
(inbox / "radio" / "a.wav").touch()
print(wake.wait(10))
watcher.close()
"""


@pytest.mark.parametrize(
    ("limit", "at_most", "sysctl"),
    [
        ("max_inotify_watches", "1", "fs.inotify.max_user_watches"),
        ("max_inotify_instances", "0", "fs.inotify.max_user_instances"),
    ],
)
def test_limit_of_inotify_is_told_of_once_and_asked_again_later(
    inbox: Path, limit: str, at_most: str, sysctl: str
) -> None:
    make_folder(inbox)
    assert AGAIN_S == 300
    outside = ["unshare", "--user", "--map-root-user"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*outside, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no user namespace can be made here, whose limits are its own")
    command = [*outside, sys.executable, "-c", LIMITED, limit, str(inbox), at_most]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    warning, *looks = done.stdout.splitlines()

    assert sysctl in warning
    assert looks == [
        *["False"] * 5,
        *["The whole inbox has file events again.", "True"],
        *["True"] * 3,
    ]
    assert done.stderr == ""


# --- the end ----------------------------------------------------------------------------------------


def test_watcher_that_is_closed_ends_its_thread_and_wakes_nobody(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event
) -> None:
    before = set(threading.enumerate())
    eye = start()
    (thread,) = set(threading.enumerate()) - before
    eye.lookout.close()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    create(inbox)

    assert not wake.is_set()
    eye.lookout.close()  # a second time is fine


def test_watcher_that_was_closed_starts_again_when_asked(
    start: Callable[..., Eye], inbox: Path, wake: threading.Event
) -> None:
    eye = start()
    eye.lookout.close()
    eye.look()
    create(inbox)

    assert wake.wait(DEADLINE_S)
