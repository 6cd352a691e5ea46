"""How often the inbox is looked through: seldom where events tell, rarely while nothing comes, never dearly."""

from __future__ import annotations

import pytest

from cesar_watch.core.config import SpoolSettings
from cesar_watch.intake.rhythm import Rhythm

SPOOL = SpoolSettings()


def polled_after(silence_s: float, spool: SpoolSettings = SPOOL) -> float:
    """Return the wait that follows a look which found nothing new for so long."""
    rhythm = Rhythm()
    rhythm.looked(1000.0, 0.0, is_changed=True)
    rhythm.looked(1000.0 + silence_s, 0.0, is_changed=False)
    return rhythm.next_s(1000.0 + silence_s, spool, is_watched=False)


def test_watched_inbox_is_looked_through_in_the_time_that_is_set_however_long_nothing_came() -> None:
    rhythm = Rhythm()
    rhythm.looked(0.0, 0.0, is_changed=True)

    assert rhythm.next_s(0.0, SPOOL, is_watched=True) == rhythm.next_s(1e6, SPOOL, is_watched=True) == 30


@pytest.mark.parametrize(
    ("silence_s", "wait_s"), [(0, 5), (60, 5), (300, 5), (600, 10), (1800, 30), (3600, 60), (86400, 60)]
)
def test_polls_stretch_to_once_a_minute_after_an_hour_of_silence(silence_s: float, wait_s: float) -> None:
    assert polled_after(silence_s) == wait_s


def test_polls_that_are_set_to_be_rare_stay_so() -> None:
    assert polled_after(0, SpoolSettings(poll_s=600)) == polled_after(86400, SpoolSettings(poll_s=600)) == 600


def test_first_change_snaps_the_polls_back() -> None:
    rhythm = Rhythm()
    rhythm.looked(0.0, 0.0, is_changed=True)
    rhythm.looked(3600.0, 0.0, is_changed=False)
    rhythm.looked(3660.0, 0.0, is_changed=True)

    assert rhythm.next_s(3660.0, SPOOL, is_watched=False) == 5


def test_silence_begins_with_the_first_look() -> None:
    rhythm = Rhythm()
    rhythm.looked(1e6, 0.0, is_changed=False)

    assert rhythm.next_s(1e6, SPOOL, is_watched=False) == 5


def test_looks_take_a_tenth_of_the_time_at_most() -> None:
    rhythm = Rhythm()
    rhythm.looked(0.0, 4.0, is_changed=True)
    rhythm.looked(100.0, 4.0, is_changed=True)

    assert rhythm.rest_s(104.0) == 36
    assert rhythm.rest_s(140.0) == rhythm.rest_s(150.0) == 0


def test_single_slow_look_holds_nothing_up() -> None:
    rhythm = Rhythm()
    rhythm.looked(0.0, 60.0, is_changed=True)
    assert rhythm.rest_s(60.0) == 0
    rhythm.looked(60.0, 0.01, is_changed=True)

    assert rhythm.rest_s(60.01) == pytest.approx(0.09)


def test_looks_are_allowed_before_the_first() -> None:
    assert Rhythm().rest_s(-5.0) == 0
