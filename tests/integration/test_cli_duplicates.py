"""What the commands say of a duplicate, and what they do with one; in real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.job import Job, State
from tests.fakes import FakeEngine
from tests.processes import command
from tests.service_builders import open_rig


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A stopped spool with a completed job and its duplicate."""
    assert command("init", "spool", cwd=tmp_path).returncode == 0
    with open_rig(tmp_path / "spool", FakeEngine()) as rig:
        for name in ("talk.mp3", "copy.mp3"):
            rig.drop(name, b"the same sound")
            rig.claim_all()
            rig.work()
    return tmp_path / "spool"


def _jobs(spool: Path) -> tuple[Job, Job]:
    with open_rig(spool, FakeEngine()) as rig:
        first, second = rig.house.ledger.jobs()
        return first, second


def _told(spool: Path, *words: str) -> Any:
    done = command(*words, cwd=spool.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout) if "--json" in words else " ".join(done.stdout.split())


def test_commands_show_a_duplicate_and_whose(spool: Path) -> None:
    first, second = _jobs(spool)
    listed = _told(spool, "jobs", "--status", "duplicate", "--json")
    assert [(job["job_id"], job["duplicate_of"]) for job in listed["jobs"]] == [(second.job_id, first.job_id)]
    assert "1 completed, 0 failed, 0 cancelled, 1 duplicate" in _told(spool, "status")
    shown = _told(spool, "show", second.job_id)
    assert f"Same as job {first.job_id}" in shown
    assert "processing -> duplicate: recognised" in shown


def test_retry_queues_a_duplicate_to_be_transcribed_by_itself(spool: Path) -> None:
    _, second = _jobs(spool)
    assert "pending" in _told(spool, "retry", second.job_id)
    assert _jobs(spool)[1].options["on_duplicate"] == "transcribe"


def test_retry_of_all_that_failed_leaves_duplicates_alone(spool: Path) -> None:
    assert _told(spool, "retry", "--failed") == "No job failed."
    assert _jobs(spool)[1].state is State.DUPLICATE


def test_delete_says_before_it_asks_what_hangs_on_the_job(spool: Path) -> None:
    first, second = _jobs(spool)
    asked = command("delete", first.job_id, cwd=spool.parent)
    assert asked.returncode == 1
    assert "1 duplicate of it will point at nothing" in asked.stdout
    asked = command("delete", second.job_id, cwd=spool.parent)
    assert "the transcripts are another job's" in asked.stdout
    _told(spool, "delete", "--yes", "--recording", second.job_id)
    assert (spool / "outbox/talk.txt").exists()
    assert not (spool / "duplicates/copy.mp3").exists()
