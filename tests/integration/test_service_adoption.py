"""What a start takes up from folders and sidecars beyond its ledger, and what it leaves alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from cesar_watch.core.errors import LedgerError, RecordingError
from cesar_watch.core.job import Failure, Job, State
from cesar_watch.service import ended, recovery
from cesar_watch.service.house import open_house
from tests.builders import lease_next
from tests.fakes import FakeEngine
from tests.service_builders import HandClock, Rig, open_rig, settings_for


def ledger_of(root: Path) -> Path:
    return root / ".state" / "ledger.db"


def lose_ledger(root: Path) -> None:
    for path in ledger_of(root).parent.glob("ledger.db*"):
        path.unlink()


def claimed(root: Path, name: str = "talk.mp3") -> Job:
    """A life that ended when it had claimed a recording."""
    with open_rig(root, FakeEngine()) as rig:
        rig.drop(name)
        (job,) = rig.claim_all()
        return job


def completed(root: Path, name: str = "talk.mp3") -> Job:
    """A life that ended when it had transcribed a recording."""
    with open_rig(root, FakeEngine()) as rig:
        rig.drop(name)
        rig.claim_all()
        rig.work()
        return rig.only_job()


def edit(root: Path, base: str = "talk", **fields: Any) -> dict[str, Any]:
    """Change fields of a sidecar; None takes one away. Returns what it says then."""
    path = root / "outbox" / f"{base}.status.json"
    told: dict[str, Any] = json.loads(path.read_bytes()) | fields
    told = {key: value for key, value in told.items() if key not in fields or value is not None}
    path.write_text(json.dumps(told))
    return told


def jobs_after(root: Path) -> list[Job]:
    with open_rig(root, FakeEngine()) as rig:
        return rig.house.ledger.jobs()


# --- work that was under way --------------------------------------------------------------------


def test_attempts_are_restored_from_the_sidecar(tmp_path: Path) -> None:
    claimed(tmp_path)
    edit(tmp_path, attempts=2)
    lose_ledger(tmp_path)

    (job,) = jobs_after(tmp_path)
    assert (job.state, job.attempts) == (State.PENDING, 2)


def test_job_that_was_being_worked_on_is_released_as_after_any_death(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        assert lease_next(rig.house.ledger, "dead", rig.house.clock.now())
    edit(tmp_path, status="processing", attempts=1)
    kept = tmp_path.parent / "kept"
    shutil.copytree(tmp_path, kept)
    lose_ledger(tmp_path)

    (with_ledger,) = jobs_after(kept)
    (without,) = jobs_after(tmp_path)
    assert (without.state, without.attempts) == (with_ledger.state, with_ledger.attempts)
    assert without.state is State.PENDING


def test_job_folder_without_a_sidecar_is_adopted_with_the_present_settings_and_a_fresh_base(tmp_path: Path) -> None:
    before = claimed(tmp_path)
    (tmp_path / "outbox/talk.status.json").unlink()
    (tmp_path / "outbox/talk.txt").write_text("not ours")
    lose_ledger(tmp_path)

    with open_rig(tmp_path, FakeEngine(), output={"formats": ["txt", "srt"]}) as rig:
        job = rig.only_job()
        assert (job.job_id, job.base, job.attempts) == (before.job_id, "talk.mp3", 0)
        assert job.options["output"]["formats"] == ["txt", "srt"]
        assert rig.sidecar("talk.mp3")["status"] == "pending"
    assert (tmp_path / "outbox/talk.txt").read_text() == "not ours"


@pytest.mark.parametrize("torn", ["", '{"schema": 1, "job_id": ', '{"schema": 1, "job_id": "0123456789abcdef"}', "[]"])
def test_torn_sidecar_is_passed_over_and_left_alone(tmp_path: Path, torn: str) -> None:
    before = claimed(tmp_path)
    (tmp_path / "outbox/talk.status.json").write_text(torn)
    lose_ledger(tmp_path)

    (job,) = jobs_after(tmp_path)
    assert (job.job_id, job.base) == (before.job_id, "talk.mp3")
    assert (tmp_path / "outbox/talk.status.json").read_text() == torn


def test_recording_is_told_from_a_stranger_in_its_folder_by_the_sidecar(tmp_path: Path) -> None:
    before = claimed(tmp_path)
    (before.source_path(tmp_path).parent / "a-stranger.mp3").write_bytes(b"noise")
    lose_ledger(tmp_path)

    assert [job.source for job in jobs_after(tmp_path)] == [before.source]


def test_recording_of_another_size_than_told_is_hashed_anew(tmp_path: Path) -> None:
    before = claimed(tmp_path)
    told = edit(tmp_path)
    edit(tmp_path, source={**told["source"], "sha256": "ab" * 32})
    before.source_path(tmp_path).write_bytes(b"other sound")
    lose_ledger(tmp_path)

    (job,) = jobs_after(tmp_path)
    assert job.sha256 is None


def test_sidecar_that_says_what_is_so_is_not_written_again(tmp_path: Path) -> None:
    claimed(tmp_path)
    before = (tmp_path / "outbox/talk.status.json").stat().st_mtime_ns
    lose_ledger(tmp_path)

    jobs_after(tmp_path)
    assert (tmp_path / "outbox/talk.status.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(("status", "reason"), [("failed", "not_media"), ("cancelled", "cancelled")])
def test_death_on_the_way_into_failed_with_the_ledger_lost_too_ends_there(
    tmp_path: Path, status: str, reason: str
) -> None:
    before = claimed(tmp_path)
    told = edit(tmp_path)
    edit(
        tmp_path,
        status=status,
        error={"reason": reason, "message": "It ended."},
        source={**told["source"], "path": "failed/talk.mp3"},
    )
    lose_ledger(tmp_path)

    with open_rig(tmp_path, FakeEngine()) as rig:
        job = rig.only_job()
        assert (job.job_id, job.state) == (before.job_id, State(status))
        assert job.error is not None
        assert job.error.reason == reason
        assert rig.files() == ["failed/talk.mp3", "failed/talk.mp3.reason.txt", "outbox/talk.status.json"]


# --- finished work ------------------------------------------------------------------------------


def test_finished_jobs_come_back_with_their_reason(tmp_path: Path) -> None:
    engine = FakeEngine({"talk.mp3": [RecordingError("It is a text.", reason="not_media")]})
    with open_rig(tmp_path, engine) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
    lose_ledger(tmp_path)

    (job,) = jobs_after(tmp_path)
    assert (job.state, job.error) == (State.FAILED, Failure("not_media", "It is a text."))
    assert job.source == b"failed/talk.mp3"


def test_two_recordings_of_one_name_come_back_each_with_its_own_file(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine()) as rig:
        for content in (b"first", b"second"):
            rig.drop("talk.mp3", content)
            rig.claim_all()
            rig.work()
        before = {job.job_id: (job.source, job.identity) for job in rig.house.ledger.jobs()}
    lose_ledger(tmp_path)

    assert {job.job_id: (job.source, job.identity) for job in jobs_after(tmp_path)} == before


def test_recording_taken_out_of_the_archive_does_not_unmake_its_job(tmp_path: Path) -> None:
    before = completed(tmp_path)
    (tmp_path / "archive/talk.mp3").unlink()
    lose_ledger(tmp_path)

    (job,) = jobs_after(tmp_path)
    assert (job.job_id, job.state, job.outputs) == (before.job_id, State.COMPLETED, before.outputs)


def test_sidecar_of_an_older_version_counts_only_with_its_recording(tmp_path: Path) -> None:
    before = completed(tmp_path)
    edit(tmp_path, instance=None)
    lose_ledger(tmp_path)
    assert [job.job_id for job in jobs_after(tmp_path)] == [before.job_id]
    lose_ledger(tmp_path)
    (tmp_path / "archive/talk.mp3").unlink()
    assert jobs_after(tmp_path) == []


def test_name_that_is_no_text_comes_back_byte_for_byte(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9/\xff.mp3")
    with open_rig(tmp_path, FakeEngine(), spool={"recursive": True}) as rig:
        rig.drop(name)
        rig.claim_all()
        rig.work()
        before = rig.only_job()
    lose_ledger(tmp_path)

    (job,) = jobs_after(tmp_path)
    assert (job.name, job.subfolder, job.source) == (b"\xff.mp3", b"caf\xe9", b"archive/caf\xe9/\xff.mp3")
    assert job.job_id == before.job_id


def test_sidecar_of_another_instance_is_left_to_it(tmp_path: Path) -> None:
    completed(tmp_path)
    edit(tmp_path, instance="ffffffff")
    lose_ledger(tmp_path)

    assert jobs_after(tmp_path) == []


@pytest.mark.parametrize(
    "source",
    [
        {"path": "../outside.mp3"},
        {"path": "/etc/passwd"},
        {"path": "archive/../../outside.mp3"},
        {"path": "archive"},
        {"path": ".state/instance"},
        {"path_b64": base64.b64encode(b"archive/../../outside.mp3").decode()},
        {"name": "../outside.mp3"},
        {"name_b64": base64.b64encode(b"a/b").decode()},
    ],
)
def test_sidecar_that_points_out_of_the_rooms_is_no_sidecar(tmp_path: Path, source: dict[str, str]) -> None:
    (tmp_path.parent / "outside.mp3").write_bytes(b"somebody's")
    completed(tmp_path)
    edit(tmp_path, source=edit(tmp_path)["source"] | source)
    lose_ledger(tmp_path)

    assert jobs_after(tmp_path) == []


@pytest.mark.parametrize("outputs", [["../config.toml"], ["/etc/passwd"], [""], ["."]])
def test_sidecar_whose_outputs_lie_elsewhere_is_no_sidecar(tmp_path: Path, outputs: list[str]) -> None:
    completed(tmp_path)
    edit(tmp_path, outputs=outputs)
    lose_ledger(tmp_path)

    assert jobs_after(tmp_path) == []


# --- a ledger that is older than the folders ------------------------------------------------------


def older_ledger(root: Path, before: Callable[[Rig], None], after: Callable[[Rig], None]) -> None:
    """Live `before` and `after`, then put the ledger of the time between back: its last commits are lost."""
    hand = HandClock()
    with open_rig(root, FakeEngine(), hand=hand) as rig:
        before(rig)
    kept = ledger_of(root).read_bytes()
    with open_rig(root, FakeEngine(), hand=hand) as rig:
        after(rig)
    ledger_of(root).write_bytes(kept)


def drop_and_claim(rig: Rig) -> None:
    rig.drop("talk.mp3")
    rig.claim_all()


def live_wholly(rig: Rig) -> None:
    drop_and_claim(rig)
    rig.work()


def test_ledger_older_than_a_claim_takes_the_job_up(tmp_path: Path) -> None:
    older_ledger(tmp_path, lambda rig: None, drop_and_claim)

    assert [job.state for job in jobs_after(tmp_path)] == [State.PENDING]


def test_ledger_older_than_claim_and_work_recognises_both(tmp_path: Path) -> None:
    older_ledger(tmp_path, lambda rig: None, live_wholly)

    (job,) = jobs_after(tmp_path)
    assert (job.state, job.source) == (State.COMPLETED, b"archive/talk.mp3")


def test_ledger_older_than_the_work_learns_that_the_job_is_done(tmp_path: Path) -> None:
    older_ledger(tmp_path, drop_and_claim, lambda rig: rig.work())

    engine = FakeEngine()
    with open_rig(tmp_path, engine) as rig:
        job = rig.only_job()
        assert (job.state, job.source, job.base) == (State.COMPLETED, b"archive/talk.mp3", "talk")
        assert job.outputs == ["talk.txt", "talk.json"]
        rig.work()
    assert engine.requests == []


def test_ledger_that_says_worked_on_while_the_job_is_done_learns_it(tmp_path: Path) -> None:
    def lease(rig: Rig) -> None:
        drop_and_claim(rig)
        assert lease_next(rig.house.ledger, "dead", rig.house.clock.now())

    older_ledger(tmp_path, lease, lambda rig: rig.work())

    assert [job.state for job in jobs_after(tmp_path)] == [State.COMPLETED]


def test_ledger_older_than_a_retry_takes_the_job_up_again(tmp_path: Path) -> None:
    def fail(rig: Rig) -> None:
        rig.engine = FakeEngine(default=[RecordingError("No.", reason="not_media")])
        drop_and_claim(rig)
        rig.work()

    def again(rig: Rig) -> None:
        ended.requeue(rig.house, rig.only_job())

    older_ledger(tmp_path, fail, again)

    with open_rig(tmp_path, FakeEngine()) as rig:
        assert rig.only_job().state is State.PENDING
        rig.work()
        assert rig.only_job().state is State.COMPLETED


# --- all at once ----------------------------------------------------------------------------------


def test_adoption_that_fails_half_way_changes_nothing_and_is_done_again_as_a_whole(tmp_path: Path) -> None:
    for name in ("one.mp3", "two.mp3", "three.mp3"):
        with open_rig(tmp_path, FakeEngine()) as rig:
            rig.drop(name)
            rig.claim_all()
            rig.work()
    lose_ledger(tmp_path)
    with open_house(settings_for(tmp_path)) as house, closing(apsw.Connection(str(ledger_of(tmp_path)))) as beside:
        beside.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON job WHEN (SELECT COUNT(*) FROM job) = 2 "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        with pytest.raises(LedgerError):
            recovery.recover(house)
        assert (house.ledger.jobs(), house.ledger.rebuild.is_needed) == ([], True)
        beside.execute("DROP TRIGGER stop")

    assert len(jobs_after(tmp_path)) == 3


def test_ledger_counts_as_new_until_the_folders_were_adopted(tmp_path: Path) -> None:
    before = completed(tmp_path)
    lose_ledger(tmp_path)
    for _ in range(2):
        with open_house(settings_for(tmp_path)) as house:
            assert house.ledger.rebuild.is_needed
    with open_house(settings_for(tmp_path)) as house:
        recovery.recover(house)
        assert not house.ledger.rebuild.is_needed
        assert [job.job_id for job in house.ledger.jobs()] == [before.job_id]
