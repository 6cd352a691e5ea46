"""Settling: a file is taken when it has looked the same long enough, by a clock that nobody can set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.intake.settle import SettleTracker

TALK = Path("/spool/inbox/talk.wav")


def look(**changes: Any) -> os.stat_result:
    """What `lstat` says of a file; a test names what differs."""
    facts: dict[str, int] = {"st_mode": 0o100644, "st_ino": 7, "st_dev": 1, "st_size": 1000}
    times: dict[str, int] = {"st_mtime_ns": 5_000, "st_ctime_ns": 6_000}
    facts |= {key: value for key, value in changes.items() if key in facts}
    times |= {key: value for key, value in changes.items() if key in times}
    return os.stat_result(
        (facts["st_mode"], facts["st_ino"], facts["st_dev"], 1, 0, 0, facts["st_size"], 0, 0, 0), times
    )


@pytest.fixture
def tracker() -> SettleTracker:
    return SettleTracker()


def test_look_helper_makes_what_the_kernel_makes() -> None:
    assert (look().st_size, look().st_mtime_ns, look(st_ctime_ns=9).st_ctime_ns) == (1000, 5_000, 9)


def test_file_seen_for_the_first_time_waits_the_whole_window(tracker: SettleTracker) -> None:
    assert tracker.wait_s(TALK, look(), 100, 5) == 5


def test_file_that_stays_unchanged_waits_for_what_is_left(tracker: SettleTracker) -> None:
    tracker.wait_s(TALK, look(), 100, 5)

    assert tracker.wait_s(TALK, look(), 102, 5) == 3


def test_file_that_stayed_unchanged_for_the_window_has_settled(tracker: SettleTracker) -> None:
    tracker.wait_s(TALK, look(), 100, 5)

    assert tracker.wait_s(TALK, look(), 105, 5) == 0
    assert tracker.wait_s(TALK, look(), 200, 5) == 0


def test_file_without_a_window_still_needs_two_looks(tracker: SettleTracker) -> None:
    assert tracker.wait_s(TALK, look(), 100, 0) > 0
    assert tracker.wait_s(TALK, look(), 100, 0) == 0


def test_file_that_grows_never_settles(tracker: SettleTracker) -> None:
    waits = [tracker.wait_s(TALK, look(st_size=1000 + turn), 100.0 + 4 * turn, 5) for turn in range(50)]

    assert set(waits) == {5}


def test_file_that_grew_settles_a_whole_window_after_its_last_change(tracker: SettleTracker) -> None:
    tracker.wait_s(TALK, look(), 100, 5)
    tracker.wait_s(TALK, look(st_size=2000), 104, 5)

    assert tracker.wait_s(TALK, look(st_size=2000), 108, 5) == 1
    assert tracker.wait_s(TALK, look(st_size=2000), 109, 5) == 0


@pytest.mark.parametrize(
    "change", [{"st_mtime_ns": 9}, {"st_ctime_ns": 9}, {"st_ino": 9}, {"st_dev": 9}, {"st_size": 9}]
)
def test_file_with_any_fact_changed_starts_anew(tracker: SettleTracker, change: dict[str, int]) -> None:
    tracker.wait_s(TALK, look(), 100, 5)

    assert tracker.wait_s(TALK, look(**change), 110, 5) == 5


def test_file_truncated_and_written_again_to_the_same_length_starts_anew(
    tracker: SettleTracker, tmp_path: Path
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"first")
    tracker.wait_s(path, path.lstat(), 100, 5)
    os.truncate(path, 0)
    path.write_bytes(b"again")
    os.utime(path, ns=(1, path.lstat().st_mtime_ns + 1))  # clocks of a kernel are coarse; a writer's change is not

    assert tracker.wait_s(path, path.lstat(), 110, 5) == 5


def test_file_whose_old_time_is_put_back_is_betrayed_by_its_ctime(tracker: SettleTracker) -> None:
    tracker.wait_s(TALK, look(st_mtime_ns=5, st_ctime_ns=6), 100, 5)

    assert tracker.wait_s(TALK, look(st_mtime_ns=5, st_ctime_ns=7), 110, 5) == 5


def test_file_that_is_empty_never_settles(tracker: SettleTracker) -> None:
    waits = [tracker.wait_s(TALK, look(st_size=0), 100.0 + 60 * turn, 0) for turn in range(50)]

    assert all(wait > 0 for wait in waits)
    assert waits[-1] >= 1  # nor is it looked at without a pause


def test_file_that_was_empty_settles_after_its_content_came(tracker: SettleTracker) -> None:
    tracker.wait_s(TALK, look(st_size=0), 100, 5)
    tracker.wait_s(TALK, look(st_size=10), 200, 5)

    assert tracker.wait_s(TALK, look(st_size=10), 205, 5) == 0


@pytest.mark.parametrize("mtime_ns", [0, 315_532_800 * 10**9, 4_000_000_000 * 10**9])
def test_file_of_1970_or_the_future_settles_like_any_other(tracker: SettleTracker, mtime_ns: int) -> None:
    assert tracker.wait_s(TALK, look(st_mtime_ns=mtime_ns), 100, 5) == 5
    assert tracker.wait_s(TALK, look(st_mtime_ns=mtime_ns), 105, 5) == 0


def test_files_are_told_apart_by_path(tracker: SettleTracker) -> None:
    tracker.wait_s(TALK, look(), 100, 5)

    assert tracker.wait_s(TALK.with_name("other.wav"), look(), 105, 5) == 5


def test_file_that_was_busy_proves_itself_anew(tracker: SettleTracker) -> None:
    tracker.wait_s(TALK, look(), 100, 5)
    tracker.restart(TALK)

    assert tracker.wait_s(TALK, look(), 105, 5) == 5


def test_restart_of_an_unknown_file_is_fine(tracker: SettleTracker) -> None:
    tracker.restart(TALK)

    assert tracker.wait_s(TALK, look(), 105, 5) == 5


def test_forget_all_but_keeps_the_named_and_drops_the_others(tracker: SettleTracker) -> None:
    gone = TALK.with_name("gone.wav")
    for path in (TALK, gone):
        tracker.wait_s(path, look(), 100, 5)
    tracker.forget_all_but([TALK])

    assert tracker.wait_s(TALK, look(), 105, 5) == 0
    assert tracker.wait_s(gone, look(), 105, 5) == 5
