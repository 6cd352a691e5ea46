"""A recording in failed/ is never without its reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cesar_watch.core.job import Failure
from cesar_watch.core.spool import Spool
from cesar_watch.delivery.reason_file import reason_path, remove_reason, write_reason
from tests.builders import make_job, make_spool

FAILURE = Failure("bad_recording", "It holds no audio:\nrecord it again.")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


def test_reason_file_says_why_and_what_to_do(spool: Spool) -> None:
    written = write_reason(spool, make_job(subfolder=b"radio", attempts=3), spool.root / "failed" / "talk.mp3", FAILURE)

    assert written == spool.root / "failed" / "talk.mp3.reason.txt"
    assert written.read_text() == (
        "reason: bad_recording\n"
        "message: It holds no audio: record it again.\n"
        "job_id: 0123456789abcdef\n"
        "recording: radio/talk.mp3\n"
        "attempts: 3\n"
        "given up at: 2026-03-01T12:00:00Z\n"
        "to try again: cesar-watch retry 0123456789abcdef\n"
    )
    assert os.listdir(spool.processing) == []


def test_reason_file_of_the_same_recording_is_written_anew(spool: Spool) -> None:
    place = spool.root / "failed" / "talk.mp3"
    write_reason(spool, make_job(), place, FAILURE)

    written = write_reason(spool, make_job(), place, Failure("attempt_failed", "The engine crashed."))

    assert written.read_text().startswith("reason: attempt_failed\n")


@pytest.mark.parametrize("name", [b"a" * 251 + b".mp3", ("ž" * 125 + ".mp3").encode(), b"\xff" * 255])
def test_reason_file_of_a_long_name_fits_the_filesystem(spool: Spool, name: bytes) -> None:
    written = write_reason(spool, make_job(name=name), spool.root / "failed" / os.fsdecode(name), FAILURE)

    assert len(os.fsencode(written.name)) <= 255
    assert written.name.endswith(".reason.txt")


def test_reason_path_of_a_long_utf8_name_stays_utf8() -> None:
    assert os.fsencode(reason_path(Path("ž" * 125 + ".mp3")).name).decode()


def test_reason_path_of_long_names_with_one_beginning_differs() -> None:
    assert reason_path(Path("a" * 250 + "1.mp3")) != reason_path(Path("a" * 250 + "2.mp3"))


def test_remove_reason_takes_away_what_was_written(spool: Spool) -> None:
    place = spool.root / "failed" / "talk.mp3"
    written = write_reason(spool, make_job(), place, FAILURE)

    remove_reason(place)

    assert not written.exists()


def test_remove_reason_where_none_is_does_nothing(spool: Spool) -> None:
    remove_reason(spool.root / "failed" / "talk.mp3")
    remove_reason(spool.root / "failed" / "no such folder" / "talk.mp3")
