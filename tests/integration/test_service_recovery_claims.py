"""A claim whose process died is finished as durably as one that did not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.durable import link_noreplace, rename_noreplace
from cesar_watch.core.job import Job, State
from cesar_watch.core.spool import Spool
from cesar_watch.service import recovery
from cesar_watch.service.house import open_house
from tests.fakes import FakeEngine
from tests.service_builders import open_rig, settings_for


class Died(BaseException):
    """The process ends here; nothing of it may tidy up."""


def die_in_claim(root: Path, move: Any) -> Job:
    """Live until a recording is being moved into its job folder; return its row."""
    with open_rig(root, FakeEngine()) as rig:

        def rename(source: Path, target: Path) -> None:
            if "processing" in target.parts:
                move(source, target)
                raise Died
            rename_noreplace(source, target)

        spool = rig.house.spool
        rig.house.spool = Spool(spool.root, spool.instance, spool.spool_id, rename)
        rig.drop("talk.mp3")
        with pytest.raises(Died):
            rig.claim_all()
        (job,) = rig.house.ledger.jobs([State.CLAIMING])
        return job


def test_rename_of_a_dead_process_is_made_durable_before_the_job_counts_as_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = die_in_claim(tmp_path, rename_noreplace)
    with open_house(settings_for(tmp_path)) as house:
        synced: list[str] = []
        states: list[State] = []
        fsync = os.fsync

        def watched(descriptor: int) -> None:
            fsync(descriptor)
            synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path))
            states.append(house.ledger.get(job.job_id).state)

        monkeypatch.setattr(os, "fsync", watched)
        recovery.recover_claims(house)

        assert job.moving_to is not None
        recording = os.fsdecode(job.moving_to)
        assert synced[:3] == [recording, "inbox", os.path.dirname(recording)]
        assert synced[-1] == "outbox"  # its sidecar, before any worker could have written a later one
        assert set(states) == {State.CLAIMING}
        assert house.ledger.get(job.job_id).state is State.PENDING


def test_move_that_died_between_link_and_unlink_loses_its_old_name(tmp_path: Path) -> None:
    die_in_claim(tmp_path, os.link)

    with open_rig(tmp_path, FakeEngine()) as rig:
        assert rig.only_job().state is State.PENDING
        assert os.listdir(tmp_path / "inbox") == []


def test_recording_dropped_anew_under_the_old_name_is_another_one(tmp_path: Path) -> None:
    die_in_claim(tmp_path, link_noreplace)
    (tmp_path / "inbox/talk.mp3").write_bytes(b"another")

    with open_rig(tmp_path, FakeEngine()) as rig:
        assert rig.only_job().state is State.PENDING
        assert (tmp_path / "inbox/talk.mp3").read_bytes() == b"another"
