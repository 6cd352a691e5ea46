"""Tables and lines about jobs: what a person sees."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from cesar_watch.cli.tables import ago, facts_table, job_facts, jobs_table, plain, progress_words, until
from cesar_watch.core.job import State
from tests.builders import NOW, make_job


def _printed(renderable: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80, highlight=False).print(renderable)
    return stream.getvalue()


def test_ago_of_a_clock_that_was_set_back_is_just_now() -> None:
    assert ago(NOW + timedelta(hours=1), NOW) == "just now"
    assert ago(NOW - timedelta(seconds=125), NOW) == "2 min ago"


def test_until_of_a_time_past_or_unknown_says_nothing() -> None:
    assert until(NOW - timedelta(seconds=1), NOW) == ""
    assert until(None, NOW) == ""
    assert until(NOW + timedelta(seconds=90), NOW) == "in 1 min 30 s"


def test_plain_text_lets_no_control_character_reach_the_terminal() -> None:
    assert "\x1b" not in plain("a\x1b[31mb\n").plain


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLAIMING])
def test_jobs_table_fits_80_columns_whatever_the_names(state: State) -> None:
    job = make_job(state=state, name="ü".encode() * 100 + b".mp3", message="m" * 300, progress=33.3)
    lines = _printed(jobs_table([job], NOW)).splitlines()
    assert max(map(len, lines)) <= 80
    assert job.job_id[:8] in lines[1]
    assert state.shown in lines[1]


def test_progress_of_a_running_job_tells_percent_and_time_left() -> None:
    job = make_job(progress=41.0, estimated_completion_at=NOW + timedelta(seconds=65))
    assert progress_words(job, NOW) == "41 %, done in 1 min 5 s"


def test_progress_of_a_job_that_waits_for_another_attempt_tells_when() -> None:
    job = make_job(state=State.PENDING, attempts=1, not_before_at=NOW + timedelta(seconds=30))
    assert progress_words(job, NOW) == "attempt 2 in 30 s"


def test_progress_of_a_copy_that_waits_for_the_first_names_its_job() -> None:
    job = make_job(state=State.PENDING, duplicate_of="fedcba9876543210")
    assert progress_words(job, NOW) == "waiting for job fedcba98, the same recording"


def test_facts_of_a_duplicate_name_the_other_job() -> None:
    job = make_job(state=State.DUPLICATE, duplicate_of="fedcba9876543210", outputs=["../radio/talk.txt"])
    assert ("Same as", "job fedcba9876543210") in job_facts(job, NOW)
    assert ("Outputs", "../radio/talk.txt") in job_facts(job, NOW)


def test_facts_tell_of_interruptions_once_there_are_some() -> None:
    assert ("Interrupted", "") in job_facts(make_job(), NOW)
    assert ("Interrupted", "2 times in a row") in job_facts(make_job(interruptions=2), NOW)


def test_facts_leave_out_what_is_not_known() -> None:
    job = replace(make_job(state=State.PENDING), duration_s=None)
    shown = _printed(facts_table(job_facts(job, NOW)))
    assert "Language" not in shown
    assert "talk.mp3" in shown
