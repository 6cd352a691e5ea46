"""The transcripts that are kept, to make other formats of."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cesar_watch.core.errors import UsageError
from cesar_watch.delivery.formats.about import About
from cesar_watch.delivery.kept import Kept, forget, keep, kept_path, read_kept
from tests.builders import make_job, make_segment, make_transcript, make_word
from tests.transcripts import PassingWindows

JOB = make_job()
SPOKEN = make_transcript(make_segment(0, 1.1, " Žluť.", (make_word(0.1, 1 / 3, " Žluť."),), speaker="L"))


def test_kept_transcript_is_read_back_with_the_facts_of_its_recording(tmp_path: Path) -> None:
    keep(tmp_path, JOB, SPOKEN)

    assert read_kept(tmp_path, JOB.job_id) == Kept(about=About.of(JOB), transcript=SPOKEN)


def test_kept_transcript_does_not_tell_when_it_was_written(tmp_path: Path) -> None:
    keep(tmp_path, JOB, SPOKEN)

    # RFC 1952, section 2.3.1: MTIME, four bytes; 0 is no time.
    assert kept_path(tmp_path, JOB.job_id).read_bytes()[4:8] == b"\0\0\0\0"


def test_transcript_kept_again_replaces_the_one_before(tmp_path: Path) -> None:
    keep(tmp_path, JOB, make_transcript())
    keep(tmp_path, JOB, SPOKEN)

    kept = read_kept(tmp_path, JOB.job_id)
    assert kept is not None
    assert kept.transcript == SPOKEN


def test_keeping_leaves_nothing_else_behind(tmp_path: Path) -> None:
    keep(tmp_path, JOB, SPOKEN)

    assert [path.name for path in tmp_path.rglob("*")] == ["transcripts", f"{JOB.job_id}.json.gz"]


def test_keeping_where_the_state_directory_is_gone_makes_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        keep(tmp_path / "gone", JOB, SPOKEN)

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_read_of_a_job_that_was_never_kept(tmp_path: Path) -> None:
    assert read_kept(tmp_path, JOB.job_id) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        gzip.compress(b"{}", mtime=0),
        gzip.compress(b"\xff", mtime=0),
        gzip.compress(b"{" * 99, mtime=0)[:-9],
        b"\x1f\x8b\x08\x00" * 9,
    ],
    ids=["empty", "no gzip", "no fields", "no text", "half", "garbage"],
)
def test_damaged_transcript_is_told_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = kept_path(tmp_path, JOB.job_id)
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(UsageError, match=rf"{path} is damaged"):
        read_kept(tmp_path, JOB.job_id)


def test_transcript_that_can_not_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    kept_path(tmp_path, JOB.job_id).mkdir(parents=True)

    with pytest.raises(UsageError, match=r"can't be read: Is a directory"):
        read_kept(tmp_path, JOB.job_id)


def test_forgotten_transcript_is_gone_and_can_be_forgotten_again(tmp_path: Path) -> None:
    keep(tmp_path, JOB, SPOKEN)

    for _ in range(2):
        forget(tmp_path, JOB.job_id)

    assert read_kept(tmp_path, JOB.job_id) is None


def test_transcript_is_kept_without_holding_its_windows_and_read_back_whole(tmp_path: Path) -> None:
    windows = PassingWindows(20)
    keep(tmp_path, JOB, windows.transcript)
    assert windows.most <= 2

    kept = read_kept(tmp_path, JOB.job_id)
    assert kept is not None
    assert kept.transcript.text == " ".join(["Yes."] * 20)
