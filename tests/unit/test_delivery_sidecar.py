"""The sidecar tells how a recording fares, and never takes another job's place."""

from __future__ import annotations

import json
import os
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from cesar_watch.core.errors import NameTaken
from cesar_watch.core.job import Failure, State
from cesar_watch.delivery.sidecar import read_sidecar, sidecar, sidecar_path, write_sidecar
from tests.builders import NOW, make_job, make_spool

SCHEMA_1 = [
    *("schema", "job_id", "status", "progress", "message", "source", "created_at", "started_at", "updated_at"),
    *("completed_at", "estimated_completion", "attempts", "language", "language_probability", "duration_s", "model"),
    *("options", "outputs", "outputs_sha256", "duplicate_of", "rtf", "quality", "error"),
]


def test_sidecar_has_exactly_the_fields_of_schema_1() -> None:
    assert list(sidecar(make_job())) == SCHEMA_1


def test_sidecar_in_the_outbox_says_whose_it_is() -> None:
    assert sidecar(make_job(), instance="0a1b2c3d")["instance"] == "0a1b2c3d"


def test_sidecar_of_a_running_job_tells_where_it_stands() -> None:
    fields = sidecar(
        make_job(progress=41.6, message="Window 3 of 7", estimated_completion_at=NOW + timedelta(minutes=5))
    )

    assert fields["status"] == "processing"
    assert fields["progress"] == 42
    assert fields["message"] == "Window 3 of 7"
    assert fields["estimated_completion"] == "2026-03-01T12:05:00Z"
    assert fields["completed_at"] is None
    assert fields["error"] is None
    assert fields["model"] == "demo"


def test_sidecar_of_a_transcribed_job_still_says_processing() -> None:
    assert sidecar(make_job(state=State.TRANSCRIBED))["status"] == "processing"


@pytest.mark.parametrize(("progress", "shown"), [(-1.0, 0), (0.0, 0), (0.1, 1), (99.6, 100), (250.0, 100)])
def test_sidecar_progress_is_0_to_100_and_0_only_before_the_beginning(progress: float, shown: int) -> None:
    assert sidecar(make_job(progress=progress))["progress"] == shown


def test_sidecar_of_a_failed_job_carries_reason_and_message() -> None:
    fields = sidecar(make_job(state=State.FAILED, error=Failure("bad_recording", "It is a text file.")))

    assert fields["error"] == {"reason": "bad_recording", "message": "It is a text file."}


def test_sidecar_times_are_utc_whatever_zone_they_came_in() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert sidecar(make_job(created_at=elsewhere))["created_at"] == "2026-03-01T12:00:00Z"


def test_sidecar_source_of_a_utf8_name_needs_no_base64() -> None:
    assert sidecar(make_job(name="kůň.mp3".encode(), source="inbox/kůň.mp3".encode()))["source"] == {
        "name": "kůň.mp3",
        "path": "inbox/kůň.mp3",
        "size_bytes": 3000,
        "sha256": "ab" * 32,
    }


def test_sidecar_source_of_another_name_keeps_its_bytes() -> None:
    source = sidecar(make_job(name=b"\xff.mp3", source=b"archive/\xff.mp3"))["source"]

    assert source["name"] == "\ufffd.mp3"
    assert source["name_b64"] == "/y5tcDM="
    assert source["path"] == "archive/\ufffd.mp3"
    assert source["path_b64"] == "YXJjaGl2ZS//Lm1wMw=="


def test_sidecar_with_a_coming_place_names_it_instead_of_the_present_one() -> None:
    assert sidecar(make_job(), source=b"archive/talk.mp3")["source"]["path"] == "archive/talk.mp3"


def test_write_sidecar_from_a_subfolder_makes_the_mirrored_folder(tmp_path: Path) -> None:
    job = make_job(subfolder=b"radio/monday", base="talk.mp3-2")
    spool = make_spool(tmp_path / "spool", job=job)

    write_sidecar(spool, job)

    assert sidecar_path(spool, job) == spool.outbox / "radio" / "monday" / "talk.mp3-2.status.json"
    assert read_sidecar(sidecar_path(spool, job)) == sidecar(job, instance="host")


def test_write_sidecar_again_replaces_our_own(tmp_path: Path) -> None:
    job = make_job()
    spool = make_spool(tmp_path / "spool", job=job)
    write_sidecar(spool, job)

    write_sidecar(spool, make_job(progress=50.0), source=b"archive/talk.mp3")

    written = json.loads((spool.outbox / "talk.status.json").read_bytes())
    assert (written["progress"], written["source"]["path"]) == (50, "archive/talk.mp3")
    assert os.listdir(spool.job_dir(job.job_id)) == []


def test_write_sidecar_without_a_job_folder_leaves_no_temporary_file(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")

    write_sidecar(spool, make_job(state=State.COMPLETED))

    assert os.listdir(spool.processing) == []


def test_write_sidecar_with_a_message_that_quotes_raw_bytes_is_valid_utf8(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    job = make_job(message=os.fsdecode(b"inbox/\xff.mp3 is damaged."))

    write_sidecar(spool, job)

    assert json.loads(sidecar_path(spool, job).read_bytes())["message"] == "inbox/?.mp3 is damaged."


@pytest.mark.parametrize(
    "there",
    [
        json.dumps(sidecar(make_job(job_id="fedcba9876543210"))),
        json.dumps({"status": "a user's own file"}),
        json.dumps(["schema", "job_id"]),
        json.dumps({"schema": 2, "job_id": "0123456789abcdef"}),
        "not JSON",
        "",
        "\x80",
    ],
)
def test_write_sidecar_onto_a_file_that_is_not_this_jobs_leaves_it_alone(tmp_path: Path, there: str) -> None:
    spool = make_spool(tmp_path / "spool")
    target = spool.outbox / "talk.status.json"
    target.write_text(there, encoding="latin-1")

    with pytest.raises(NameTaken, match=r"talk\.status\.json"):
        write_sidecar(spool, make_job())

    assert target.read_text(encoding="latin-1") == there


def test_write_sidecar_onto_a_dangling_link_leaves_it_alone(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    target = spool.outbox / "talk.status.json"
    target.symlink_to("nowhere")

    with pytest.raises(NameTaken):
        write_sidecar(spool, make_job())

    assert target.is_symlink()


def test_read_sidecar_where_nothing_is_gives_none(tmp_path: Path) -> None:
    assert read_sidecar(tmp_path / "talk.status.json") is None


def test_read_sidecar_of_a_pipe_gives_none_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "talk.status.json")

    assert read_sidecar(tmp_path / "talk.status.json") is None
