"""Settling: a file is taken when it has looked the same long enough, by a clock that nobody can set."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.probe import COMPLETE, UNKNOWN, Short
from cesar_watch.intake.ready import Promise
from cesar_watch.intake.settle import SettleTracker, Windows

TALK = Path("/spool/inbox/talk.wav")
SHORT = Short(declared_bytes=2000, actual_bytes=1000)
WINDOWS = Windows(confirm_s=1, quiet_s=5, short_s=300)


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
    return SettleTracker(WINDOWS)


def test_look_helper_makes_what_the_kernel_makes() -> None:
    assert (look().st_size, look().st_mtime_ns, look(st_ctime_ns=9).st_ctime_ns) == (1000, 5_000, 9)


# --- the quick confirmation -------------------------------------------------------------------------


def test_file_seen_for_the_first_time_is_confirmed_before_it_is_looked_into(tracker: SettleTracker) -> None:
    assert tracker.look(TALK, look(), 100) == 1
    assert tracker.look(TALK, look(), 100.5) == 0.5
    assert tracker.look(TALK, look(), 101) == 0


def test_file_without_a_window_still_needs_two_looks() -> None:
    tracker = SettleTracker(Windows(0, 0, 300))
    assert tracker.look(TALK, look(), 100) > 0
    assert tracker.look(TALK, look(), 100) == 0


def test_file_that_grows_is_never_looked_into(tracker: SettleTracker) -> None:
    waits = [tracker.look(TALK, look(st_size=1000 + turn), 100.0 + 4 * turn) for turn in range(50)]

    assert set(waits) == {1}
    assert tracker.reasons() == {"settling": 1}


@pytest.mark.parametrize(
    "change", [{"st_mtime_ns": 9}, {"st_ctime_ns": 9}, {"st_ino": 9}, {"st_dev": 9}, {"st_size": 9}]
)
def test_file_with_any_fact_changed_starts_anew(tracker: SettleTracker, change: dict[str, int]) -> None:
    tracker.look(TALK, look(), 100)

    assert tracker.look(TALK, look(**change), 110) == 1


def test_file_truncated_and_written_again_to_the_same_length_starts_anew(
    tracker: SettleTracker, tmp_path: Path
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"first")
    tracker.look(path, path.lstat(), 100)
    os.truncate(path, 0)
    path.write_bytes(b"again")
    os.utime(path, ns=(1, path.lstat().st_mtime_ns + 1))  # clocks of a kernel are coarse; a writer's change is not

    assert tracker.look(path, path.lstat(), 110) == 1


@pytest.mark.parametrize("mtime_ns", [0, 315_532_800 * 10**9, 4_000_000_000 * 10**9])
def test_file_of_1970_or_the_future_settles_like_any_other(tracker: SettleTracker, mtime_ns: int) -> None:
    assert tracker.look(TALK, look(st_mtime_ns=mtime_ns), 100) == 1
    assert tracker.look(TALK, look(st_mtime_ns=mtime_ns), 105) == 0


def test_files_are_told_apart_by_path(tracker: SettleTracker) -> None:
    tracker.look(TALK, look(), 100)

    assert tracker.look(TALK.with_name("other.wav"), look(), 105) == 1


# --- what is proven, and what is not ----------------------------------------------------------------


def confirmed(tracker: SettleTracker, **hints: Any) -> None:
    tracker.look(TALK, look(), 100, **hints)
    assert tracker.look(TALK, look(), 101, **hints) == 0


def test_file_that_is_proven_whole_is_taken_after_one_confirmation(tracker: SettleTracker) -> None:
    confirmed(tracker)

    assert tracker.weigh(TALK, COMPLETE, 101) == 0


def test_file_that_proves_nothing_stays_for_the_quiet_window(tracker: SettleTracker) -> None:
    confirmed(tracker)

    assert tracker.weigh(TALK, UNKNOWN, 101) == 4
    assert tracker.look(TALK, look(), 103) == 2
    assert tracker.look(TALK, look(), 105) == 0
    assert tracker.weigh(TALK, UNKNOWN, 105) == 0


def test_file_that_grew_stays_for_a_whole_quiet_window_after_its_last_change(tracker: SettleTracker) -> None:
    confirmed(tracker)
    tracker.weigh(TALK, UNKNOWN, 101)
    tracker.look(TALK, look(st_size=2000), 104)
    assert tracker.look(TALK, look(st_size=2000), 105) == 0

    assert tracker.weigh(TALK, UNKNOWN, 105) == 4


@pytest.mark.parametrize("hinted_at", [100, 101])
def test_file_that_was_moved_in_is_taken_after_one_confirmation(tracker: SettleTracker, hinted_at: int) -> None:
    """The event may come before the first look or after it."""
    for now_s in (100, 101):
        tracker.look(TALK, look(), now_s, moved_in=now_s == hinted_at)

    assert tracker.weigh(TALK, UNKNOWN, 101) == 0


def test_file_that_was_moved_in_and_then_changed_has_no_advantage(tracker: SettleTracker) -> None:
    tracker.look(TALK, look(), 100, moved_in=True)
    tracker.look(TALK, look(st_size=2000), 101)
    tracker.look(TALK, look(st_size=2000), 102)

    assert tracker.weigh(TALK, UNKNOWN, 102) == 4


def test_file_that_was_only_closed_has_no_advantage(tracker: SettleTracker) -> None:
    confirmed(tracker, closed=True)

    assert tracker.weigh(TALK, UNKNOWN, 101) == 4


@pytest.mark.parametrize("hints", [{"moved_in": True}, {"closed": True}, {}])
def test_file_with_a_longer_window_of_its_own_is_not_looked_into_before_it_is_over(
    tracker: SettleTracker, hints: dict[str, Any]
) -> None:
    looks = [tracker.look(TALK, look(), now_s, least_s=600, **hints) for now_s in range(100, 700, 100)]
    assert looks == [600, 500, 400, 300, 200, 100]
    assert tracker.reasons() == {"settling": 1}

    assert tracker.look(TALK, look(), 700, least_s=600, **hints) == 0
    assert tracker.weigh(TALK, COMPLETE, 700) == 0


def test_file_with_a_longer_window_that_changes_begins_it_anew(tracker: SettleTracker) -> None:
    tracker.look(TALK, look(), 100, least_s=600)

    assert tracker.look(TALK, look(st_size=2000), 650, least_s=600) == 600


def test_file_with_a_longer_window_still_waits_for_what_the_other_windows_demand(tracker: SettleTracker) -> None:
    tracker.look(TALK, look(), 100, least_s=2)
    tracker.look(TALK, look(), 102, least_s=2)

    assert tracker.weigh(TALK, UNKNOWN, 102) == 3


@pytest.mark.parametrize("moved_in", [False, True])
def test_file_that_is_proven_short_waits_whatever_else_speaks_for_it(tracker: SettleTracker, moved_in: bool) -> None:
    confirmed(tracker, moved_in=moved_in)
    for now_s in range(101, 400):
        assert tracker.weigh(TALK, SHORT, now_s) > 0, now_s

    assert tracker.reasons() == {"short": 1}
    assert tracker.weigh(TALK, SHORT, 400) == 0


def test_file_that_is_proven_short_is_due_exactly_when_its_grace_ends(tracker: SettleTracker) -> None:
    confirmed(tracker)
    now_s = 101.0
    while (wait_s := tracker.weigh(TALK, SHORT, now_s)) > 0:
        now_s += wait_s

    assert now_s == 400


def test_file_that_was_short_and_then_grew_begins_a_new_grace(tracker: SettleTracker) -> None:
    confirmed(tracker)
    tracker.weigh(TALK, SHORT, 101)
    tracker.look(TALK, look(st_size=1500), 390)

    assert tracker.weigh(TALK, SHORT, 600) > 0
    assert tracker.weigh(TALK, SHORT, 690) == 0


def test_file_that_was_short_and_is_whole_now_is_taken_at_once(tracker: SettleTracker) -> None:
    confirmed(tracker)
    tracker.weigh(TALK, SHORT, 101)
    tracker.look(TALK, look(st_size=2000), 390)
    assert tracker.look(TALK, look(st_size=2000), 391) == 0

    assert tracker.weigh(TALK, COMPLETE, 391) == 0


# --- marker mode ------------------------------------------------------------------------------------


def test_file_without_its_marker_waits_for_ever_even_when_it_proves_to_be_whole(tracker: SettleTracker) -> None:
    for now_s in range(100, 10_000, 100):
        assert tracker.look(TALK, look(), now_s, moved_in=True, closed=True, promise=Promise.MISSING) == math.inf
    assert tracker.reasons() == {"no_marker": 1}


def test_file_whose_marker_comes_is_taken_at_once_when_it_has_not_changed_meanwhile(tracker: SettleTracker) -> None:
    tracker.look(TALK, look(), 100, promise=Promise.MISSING)
    assert tracker.look(TALK, look(), 200, promise=Promise.GIVEN) == 0

    assert tracker.reasons() == {"settling": 1}
    assert tracker.weigh(TALK, UNKNOWN, 200) == 0


def test_file_that_comes_with_its_marker_is_taken_after_one_confirmation(tracker: SettleTracker) -> None:
    confirmed(tracker, promise=Promise.GIVEN)

    assert tracker.weigh(TALK, UNKNOWN, 101) == 0


def test_file_that_changed_behind_its_marker_stays_for_the_quiet_window(tracker: SettleTracker) -> None:
    confirmed(tracker, promise=Promise.EARLIER)

    assert tracker.weigh(TALK, UNKNOWN, 101) == 4
    assert tracker.weigh(TALK, UNKNOWN, 105) == 0


def test_file_that_changed_behind_its_marker_and_proves_to_be_whole_is_taken(tracker: SettleTracker) -> None:
    confirmed(tracker, promise=Promise.EARLIER)

    assert tracker.weigh(TALK, COMPLETE, 101) == 0


def test_file_that_is_proven_short_waits_whatever_its_marker_says(tracker: SettleTracker) -> None:
    confirmed(tracker, promise=Promise.GIVEN)

    assert tracker.weigh(TALK, SHORT, 101) > 0
    assert tracker.weigh(TALK, SHORT, 399) > 0
    assert tracker.weigh(TALK, SHORT, 400) == 0


def test_empty_file_waits_whatever_its_marker_says(tracker: SettleTracker) -> None:
    for now_s in range(100, 1000):
        assert tracker.look(TALK, look(st_size=0), now_s, promise=Promise.GIVEN) > 0
    assert tracker.reasons() == {"empty": 1}


def test_file_whose_marker_was_taken_away_waits_again(tracker: SettleTracker) -> None:
    confirmed(tracker, promise=Promise.EARLIER)
    tracker.weigh(TALK, UNKNOWN, 101)

    assert tracker.look(TALK, look(), 105, promise=Promise.MISSING) == math.inf
    assert tracker.reasons() == {"no_marker": 1}


def test_file_waits_no_more_when_marker_mode_is_switched_off(tracker: SettleTracker) -> None:
    tracker.look(TALK, look(), 100, promise=Promise.MISSING)

    assert tracker.look(TALK, look(), 101) == 0
    assert tracker.weigh(TALK, UNKNOWN, 101) == 4


# --- parked -----------------------------------------------------------------------------------------


def park_for_ever(tracker: SettleTracker, reason: str, until_s: float) -> list[float]:
    """Park again whenever it is due; return the moments."""
    tracker.look(TALK, look(), 100)
    now_s, moments = 105.0, []
    while now_s < until_s:
        assert tracker.look(TALK, look(), now_s) == 0
        moments.append(now_s)
        now_s += tracker.park(TALK, reason, now_s)
    return moments


def test_file_that_is_parked_is_tried_again_for_ever_at_growing_intervals(tracker: SettleTracker) -> None:
    moments = park_for_ever(tracker, "being_written", 100_000)
    gaps = [later - sooner for sooner, later in pairwise(moments)]

    assert gaps[0] <= 1
    assert set(gaps[10:]) == {64}
    assert tracker.reasons() == {"being_written": 1}


def test_files_that_are_parked_for_long_are_due_together(tracker: SettleTracker) -> None:
    now_s, due = 100.0, set()
    paths = [TALK.with_name(f"{number}.wav") for number in range(100)]
    for number, path in enumerate(paths):
        tracker.look(path, look(), now_s + number)
    for turn in range(12):
        for number, path in enumerate(paths):
            tracker.park(path, "not_readable", 300 + 100 * turn + number / 10)
    due = {tracker.look(path, look(), 2000) for path in paths}

    assert len(due) <= 2


def test_file_that_is_parked_inside_its_quiet_window_counts_as_settling_until_it_is_over(
    tracker: SettleTracker,
) -> None:
    confirmed(tracker)
    tracker.park(TALK, "being_written", 101)
    assert tracker.reasons() == {"settling": 1}
    assert not tracker.is_parked(TALK)
    tracker.park(TALK, "being_written", 105)
    assert tracker.reasons() == {"being_written": 1}
    assert tracker.is_parked(TALK)


def test_file_whose_writer_closes_it_is_looked_into_at_once(tracker: SettleTracker) -> None:
    park_for_ever(tracker, "being_written", 1000)
    assert tracker.look(TALK, look(), 1001) > 0

    assert tracker.look(TALK, look(), 1002, closed=True) == 0


def test_file_that_changed_proves_itself_anew(tracker: SettleTracker) -> None:
    tracker.look(TALK, look(), 100)
    tracker.restart(TALK)

    assert tracker.look(TALK, look(), 105) == 1


def test_restart_of_an_unknown_file_is_fine(tracker: SettleTracker) -> None:
    tracker.restart(TALK)

    assert tracker.look(TALK, look(), 105) == 1


def test_file_that_is_empty_never_settles(tracker: SettleTracker) -> None:
    waits = [tracker.look(TALK, look(st_size=0), 100.0 + 60 * turn, moved_in=True) for turn in range(50)]

    assert all(wait > 0 for wait in waits)
    assert tracker.reasons() == {"empty": 1}


def test_file_that_may_be_empty_settles_like_any_other(tracker: SettleTracker) -> None:
    waits = [tracker.look(TALK, look(st_size=0), now_s, may_be_empty=True) for now_s in (100, 101)]

    assert waits == [1, 0]
    assert tracker.weigh(TALK, UNKNOWN, 101) == 4
    assert tracker.weigh(TALK, UNKNOWN, 105) == 0


def test_file_that_stays_empty_is_looked_at_less_and_less(tracker: SettleTracker) -> None:
    now_s, looks = 100.0, 0
    while now_s < 100 + 86_400:
        now_s += tracker.look(TALK, look(st_size=0), now_s)
        looks += 1

    assert looks < 86_400 / 64 + 12


def test_file_that_was_empty_is_confirmed_when_its_content_came(tracker: SettleTracker) -> None:
    tracker.look(TALK, look(st_size=0), 100)
    assert tracker.look(TALK, look(st_size=10), 200) == 1
    assert tracker.look(TALK, look(st_size=10), 201) == 0
    assert tracker.reasons() == {"settling": 1}


def test_forget_all_but_keeps_the_named_and_drops_the_others(tracker: SettleTracker) -> None:
    gone = TALK.with_name("gone.wav")
    for path in (TALK, gone):
        tracker.look(path, look(), 100)
    tracker.forget_all_but([TALK])

    assert tracker.look(TALK, look(), 105) == 0
    assert tracker.look(gone, look(), 105) == 1


# --- the windows of a filesystem --------------------------------------------------------------------


def test_windows_of_a_local_disk_confirm_in_a_moment() -> None:
    assert Windows.of(SpoolSettings(), is_remote=False) == Windows(0.2, 5, 300)


def test_windows_of_a_share_outlast_what_its_client_remembers() -> None:
    assert Windows.of(SpoolSettings(), is_remote=True) == Windows(3, 30, 300)


def test_windows_never_confirm_longer_than_they_are_quiet_nor_wait_shorter_for_what_is_missing() -> None:
    spool = SpoolSettings(quiet_s=0.1, quiet_remote_s=900, short_grace_s=60)

    assert Windows.of(spool, is_remote=False) == Windows(0.1, 0.1, 60)
    assert Windows.of(spool, is_remote=True) == Windows(3, 900, 900)
