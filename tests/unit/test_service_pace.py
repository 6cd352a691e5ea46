"""Percent, real-time factor and time left: arithmetic with times passed in."""

from __future__ import annotations

import pytest

from cesar_watch.service.pace import Pace


def test_percent_is_the_share_done_and_keeps_the_last_one_for_publishing() -> None:
    pace = Pace(0.0, 2.0)
    assert pace.percent(30.0, 120.0) == 25.0
    assert pace.percent(120.0, 120.0) == 99.0


def test_percent_of_a_recording_of_unknown_length_is_zero() -> None:
    assert Pace(0.0, 2.0).percent(30.0, None) == 0.0


def test_remaining_before_the_first_window_is_not_known() -> None:
    pace = Pace(100.0, 2.0)
    pace.seen(0.0, 105.0)
    assert pace.remaining_s(0.0, 600.0) is None


def test_remaining_before_the_first_window_follows_the_usual_pace() -> None:
    pace = Pace(100.0, 2.0, usual_rtf=0.1)
    pace.seen(0.0, 105.0)
    assert pace.remaining_s(0.0, 600.0) == pytest.approx(60.0)


def test_remaining_follows_the_pace_of_this_attempt() -> None:
    pace = Pace(100.0, 2.0)
    pace.seen(0.0, 100.0)
    pace.seen(120.0, 112.0)
    assert pace.remaining_s(120.0, 600.0) == pytest.approx(48.0)


def test_remaining_of_a_resumed_attempt_leaves_out_what_an_earlier_one_did() -> None:
    pace = Pace(100.0, 2.0)
    pace.seen(480.0, 100.0)
    pace.seen(540.0, 106.0)
    assert pace.remaining_s(540.0, 600.0) == pytest.approx(6.0)


def test_real_time_factor_is_processing_time_over_what_this_attempt_did() -> None:
    pace = Pace(0.0, 2.0)
    pace.seen(300.0, 0.0)
    pace.seen(600.0, 30.0)
    assert pace.rtf(30.0, 600.0) == pytest.approx(0.1)


def test_real_time_factor_of_an_attempt_that_had_nothing_left_is_none() -> None:
    pace = Pace(0.0, 2.0)
    pace.seen(600.0, 0.0)
    assert pace.rtf(1.0, 600.0) is None


def test_real_time_factor_of_an_attempt_that_decoded_nothing_is_none() -> None:
    assert Pace(0.0, 2.0).rtf(0.1, 600.0) is None


def test_remaining_of_more_than_a_year_is_not_told() -> None:
    pace = Pace(0.0, 2.0)
    pace.seen(0.0, 0.0)
    pace.seen(10.0, 86_400.0)
    assert pace.remaining_s(10.0, 20.0) == pytest.approx(86_400.0)
    assert pace.remaining_s(10.0, 10_000.0) is None


def test_sidecar_is_due_at_most_once_in_its_interval() -> None:
    pace = Pace(0.0, 2.0)
    assert [pace.sidecar_due(now_s) for now_s in (1.0, 2.0, 3.0, 4.5)] == [False, True, False, True]
