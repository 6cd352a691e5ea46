"""Marker mode: recordings are taken when their senders say so, and the markers go where the recordings go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.companions import beside
from cesar_watch.core.errors import RecordingError
from cesar_watch.core.job import Job, State
from cesar_watch.core.spool import Spool
from cesar_watch.service import ended
from cesar_watch.verify.examine import Examination
from tests.fakes import FakeEngine
from tests.service_builders import Rig, open_rig
from tests.sounds import voice, write_wav

MARKED: dict[str, Any] = {"spool": {"ready_marker": ".ok", "recursive": True}}
ROOMS = ("inbox", "processing", "archive", "failed", "duplicates")


def pass_time(rig: Rig, seconds: float, *, step_s: float = 1.0) -> None:
    """Let the intake look at the inbox again and again for so long."""
    for _ in range(round(seconds / step_s)):
        rig.hand.move(step_s)
        rig.intake.turn(rig.hand.elapsed_s)


def announced(rig: Rig, name: str = "talk.mp3", content: bytes | None = None) -> Path:
    """Drop a recording, and its marker behind it."""
    path = rig.drop(name, content)
    rig.drop(f"{name}.ok", b"")
    return path


def behind(path: Path, other: Path) -> None:
    """Let a file be changed later than another, by the kernel's own clock, which is a coarse one."""
    while path.lstat().st_ctime_ns <= other.lstat().st_ctime_ns:
        os.utime(path)


def recordings(rig: Rig) -> list[str]:
    """Return all files in the rooms where recordings lie."""
    return [name for name in rig.files() if name.split("/")[0] in ROOMS]


def state_of(rig: Rig) -> tuple[State, str]:
    job: Job = rig.only_job()
    return job.state, job.error.reason if job.error else ""


def findings(root: Path) -> list[tuple[str, str]]:
    """Return what an examination finds wrong."""
    report = Examination(root, root / ".state", lambda: False, wait=lambda seconds: None).run()
    return [(finding.code, finding.shown_path) for finding in report.findings]


# --- taken or not -----------------------------------------------------------------------------------


def test_recording_without_its_marker_waits_for_ever_and_is_counted(tmp_path: Path) -> None:
    whole = write_wav(tmp_path / "whole.wav", voice(1.0)).read_bytes()
    with open_rig(tmp_path / "spool", FakeEngine(), **MARKED) as rig:
        rig.drop("talk.wav", whole)
        rig.drop("sub/talk.mp3")
        pass_time(rig, 10_000, step_s=100)
        assert rig.house.ledger.jobs() == []
        assert (rig.intake.settling, rig.intake.parked) == (0, {"no_marker": 2})


def test_recording_whose_marker_comes_is_taken_at_once(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        rig.drop("talk.mp3")
        pass_time(rig, 3)
        rig.drop("talk.mp3.ok", b"")
        pass_time(rig, 0.1, step_s=0.1)
        assert state_of(rig) == (State.PENDING, "")


def test_recording_that_comes_with_its_marker_needs_one_confirmation_and_no_quiet_window(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        announced(rig)
        assert rig.intake.turn(rig.hand.elapsed_s) == pytest.approx(0.2)
        assert rig.house.ledger.jobs() == []
        pass_time(rig, 0.25, step_s=0.25)
        assert state_of(rig) == (State.PENDING, "")


def test_recording_that_comes_after_its_marker_is_taken_after_the_quiet_window(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        marker = rig.drop("talk.mp3.ok", b"")
        pass_time(rig, 10)
        assert (rig.intake.settling, rig.intake.parked) == (0, {})
        behind(rig.drop("talk.mp3"), marker)
        pass_time(rig, 5)
        assert rig.intake.settling == 1
        pass_time(rig, 1)
        assert state_of(rig) == (State.PENDING, "")


def test_recording_with_a_temporary_files_name_is_taken_at_once_when_its_marker_is_there(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        announced(rig, "~talk.temp.mp4")
        pass_time(rig, 2)
        assert state_of(rig) == (State.PENDING, "")


def test_empty_recording_waits_whatever_its_marker_says(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        announced(rig, content=b"")
        pass_time(rig, 600, step_s=10)
        assert rig.intake.parked == {"empty": 1}


def test_recording_that_is_open_for_writing_waits_whatever_its_marker_says(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        path = announced(rig)
        with path.open("ab"):
            pass_time(rig, 600, step_s=10)
            assert rig.intake.parked == {"being_written": 1}
        pass_time(rig, 70)
        assert state_of(rig) == (State.PENDING, "")


def test_recording_that_is_cut_short_waits_for_the_rest_and_then_fails_whatever_its_marker_says(
    tmp_path: Path,
) -> None:
    half = write_wav(tmp_path / "whole.wav", voice(1.0)).read_bytes()[:9_000]
    with open_rig(tmp_path / "spool", FakeEngine(), **MARKED) as rig:
        announced(rig, "talk.wav", half)
        pass_time(rig, 290, step_s=10)
        assert rig.intake.parked == {"short": 1}
        pass_time(rig, 70)
        rig.work()
        assert state_of(rig) == (State.FAILED, "truncated")
        assert recordings(rig) == ["failed/talk.wav", "failed/talk.wav.ok", "failed/talk.wav.reason.txt"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_marker_that_is_no_file_announces_nothing_and_stays(tmp_path: Path, make: Callable[[Path], None]) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        make(rig.drop("talk.mp3").with_name("talk.mp3.ok"))
        pass_time(rig, 600, step_s=10)
        assert rig.intake.parked == {"no_marker": 1}
        assert os.path.lexists(rig.house.spool.inbox / "talk.mp3.ok")


def test_marker_that_has_no_recording_stays_and_nothing_waits_for_it(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        rig.drop("talk.mp3.ok", b"")
        rig.drop("notes.txt.ok", b"")
        pass_time(rig, 600, step_s=10)
        assert (rig.intake.settling, rig.intake.parked) == (0, {})
        assert recordings(rig) == ["inbox/notes.txt.ok", "inbox/talk.mp3.ok"]


def test_marker_without_marker_mode_is_one_more_file_that_is_no_recording(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        announced(rig)
        rig.claim_all()
        rig.work()
        assert recordings(rig) == ["archive/talk.mp3", "inbox/talk.mp3.ok"]


# --- where the marker goes --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["talk.mp3", "sub/talk.mp3", os.fsdecode(b"t\xe4lk\n.mp3"), "ü" * 125 + ".mp3"])
def test_marker_goes_where_its_recording_goes_and_all_is_well(tmp_path: Path, name: str) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        path = rig.drop(name)
        marker = beside(path, ".ok")
        marker.touch()
        rig.claim_all()
        job_dir = rig.house.spool.job_dir(rig.only_job().job_id)
        assert sorted(os.listdir(job_dir)) == sorted([path.name, marker.name])
        assert findings(tmp_path) == []
        rig.work()
        assert sorted(os.listdir((tmp_path / "archive" / name).parent)) == sorted([path.name, marker.name])
        assert [name for name in rig.files() if name.startswith(("inbox", "processing"))] == []
        assert findings(tmp_path) == []


def test_next_recording_of_the_name_waits_for_a_marker_of_its_own(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        announced(rig)
        rig.claim_all()
        rig.work()
        rig.drop("talk.mp3", b"another sound")
        pass_time(rig, 600, step_s=10)
        assert rig.intake.parked == {"no_marker": 1}
        rig.drop("talk.mp3.ok", b"")
        rig.claim_all()
        rig.work()
        assert recordings(rig) == [
            "archive/talk-2.mp3",
            "archive/talk-2.mp3.ok",
            "archive/talk.mp3",
            "archive/talk.mp3.ok",
        ]


def test_recording_finds_a_name_where_its_marker_has_room_too(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        (rig.house.spool.root / "archive" / "talk.mp3.ok").write_bytes(b"somebody's")
        announced(rig)
        rig.claim_all()
        rig.work()
        assert recordings(rig) == ["archive/talk-2.mp3", "archive/talk-2.mp3.ok", "archive/talk.mp3.ok"]


def test_marker_and_settings_file_go_together(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        rig.drop("talk.mp3.toml", b"beam_size = 3")
        announced(rig)
        rig.claim_all()
        rig.work()
        assert rig.only_job().options["engine"]["beam_size"] == 3
        assert recordings(rig) == ["archive/talk.mp3", "archive/talk.mp3.ok", "archive/talk.mp3.toml"]


def test_marker_of_a_duplicate_goes_to_duplicates(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        for name in ("talk.mp3", "copy.mp3"):
            announced(rig, name, b"the same")
            rig.claim_all()
            rig.work()
        assert recordings(rig)[2:] == ["duplicates/copy.mp3", "duplicates/copy.mp3.ok"]


def test_marker_of_a_failed_recording_comes_back_with_it_and_goes_on(tmp_path: Path) -> None:
    broken = FakeEngine(default=[RecordingError("no sound in it", reason="not_media")])
    with open_rig(tmp_path, broken, **MARKED) as rig:
        announced(rig)
        rig.claim_all()
        rig.work()
        assert recordings(rig) == ["failed/talk.mp3", "failed/talk.mp3.ok", "failed/talk.mp3.reason.txt"]
    with open_rig(tmp_path, FakeEngine()) as rig:  # and marker mode was switched off since
        ended.requeue(rig.house, rig.only_job())
        rig.work()
        assert recordings(rig) == ["archive/talk.mp3", "archive/talk.mp3.ok"]


@pytest.mark.parametrize("recording", [False, True])
def test_deleting_a_recording_takes_its_marker_too(tmp_path: Path, recording: bool) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        announced(rig)
        rig.claim_all()
        rig.work()
        ended.delete(rig.house, rig.only_job(), recording=recording)
        assert recordings(rig) == ([] if recording else ["archive/talk.mp3", "archive/talk.mp3.ok"])


def test_deleting_a_recording_leaves_a_file_that_only_looks_like_its_marker(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        (tmp_path / "archive" / "talk.mp3.ok").touch()
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        ended.delete(rig.house, rig.only_job(), recording=True)
        assert recordings(rig) == ["archive/talk.mp3.ok"]


def test_marker_in_an_inbox_of_somebody_elses_stays_with_its_recording(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"ready_marker": ".ok", "claim": "copy"}) as rig:
        rig.drop("later.mp3")
        announced(rig)
        rig.claim_all()
        rig.work()
        ended.delete(rig.house, rig.only_job(), recording=True)
        pass_time(rig, 60)
        assert recordings(rig) == ["inbox/later.mp3", "inbox/talk.mp3", "inbox/talk.mp3.ok"]
        assert rig.intake.parked == {"no_marker": 1}


# --- lives that ended -------------------------------------------------------------------------------


@pytest.mark.parametrize("has_sidecar", [True, False])
def test_lost_ledger_takes_no_marker_for_a_recording(tmp_path: Path, has_sidecar: bool) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        announced(rig)
        rig.claim_all()
    for left in (tmp_path / ".state").glob("ledger.db*"):
        left.unlink()
    if not has_sidecar:
        (tmp_path / "outbox" / "talk.status.json").unlink()
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        rig.work()
        assert state_of(rig) == (State.COMPLETED, "")
        assert recordings(rig) == ["archive/talk.mp3", "archive/talk.mp3.ok"]
        assert os.listdir(rig.house.spool.processing) == []


def test_marker_that_alone_cannot_be_moved_stays_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(source: Path, target: Path) -> None:
        if source.suffix == ".ok":
            raise PermissionError(1, "Operation not permitted")
        os.rename(source, target)

    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        rig.house.spool = Spool(tmp_path, rig.house.spool.instance, rig.house.spool.spool_id, rename=refuse)
        announced(rig)
        rig.claim_all()
        rig.work()
        assert recordings(rig) == ["archive/talk.mp3", "inbox/talk.mp3.ok"]
        assert "talk.mp3.ok can't be moved (Operation not permitted), and stays." in caplog.text


def test_marker_that_stayed_does_not_vouch_for_the_next_recording_of_its_name(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), **MARKED) as rig:
        stale = rig.drop("talk.mp3.ok", b"")
        talk = rig.drop("talk.mp3")
        for _ in range(20):
            with talk.open("ab") as stream:
                stream.write(b"more")
            behind(talk, stale)
            pass_time(rig, 3)
        assert rig.house.ledger.jobs() == []
