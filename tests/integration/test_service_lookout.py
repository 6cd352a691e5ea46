"""The intake looks at each folder as its filesystem wants it, and never so often that looking is all it does."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from cesar_watch.core.job import State
from cesar_watch.core.mounts import Mounts
from cesar_watch.service.house import Clock
from cesar_watch.service.intake import Intake
from tests.fakes import FakeEngine
from tests.mounting import tmpfs
from tests.service_builders import HandClock, open_rig


def test_recording_on_a_network_mount_inside_the_inbox_waits_longer_than_one_beside_it(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"recursive": True}) as rig:
        for name in ("local/a.mp3", "nas/b.mp3"):
            rig.drop(name)
        nas = os.path.realpath(rig.house.spool.inbox / "nas")
        intake = Intake(rig.house, wake=threading.Event(), mounts=lambda: Mounts({"/": "ext4", nas: "nfs4"}))
        claimed = []
        for _ in range(4):
            intake.turn(rig.hand.elapsed_s)
            claimed.append(sorted(job.name for job in rig.house.ledger.jobs([State.PENDING])))
            rig.hand.move(10)

        assert claimed == [[], [b"a.mp3"], [b"a.mp3"], [b"a.mp3", b"b.mp3"]]


def test_recording_on_another_mount_inside_the_inbox_stays_there_and_stops_nothing_else(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"recursive": True}) as rig:
        rig.drop("b.mp3")
        with tmpfs(rig.house.spool.inbox / "stick", size_kib=64):
            stays = rig.drop("stick/a.mp3")
            claimed = [job.name for job in rig.claim_all()]
            assert stays.is_file()
        assert claimed == [b"b.mp3"]
        assert rig.intake.parked == {"not_movable": 1}


class TickingClock(HandClock):
    """Whoever asks for the monotonic time finds that two seconds have passed."""

    def clock(self) -> Clock:
        standing = super().clock()

        def ticking_s() -> float:
            self.move(2)
            return self.elapsed_s

        return Clock(ticking_s, standing.now)


def test_intake_whose_looks_take_long_rests_whatever_wakes_it(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), hand=TickingClock()) as rig:
        for _ in range(2):
            now_s = rig.hand.elapsed_s
            rig.intake.turn(now_s)  # looks for two seconds
        rig.drop("talk.mp3")
        assert rig.intake.turn(now_s + 5) == 15
        assert rig.intake.settling == 0
        rig.intake.turn(now_s + 20)
        assert rig.intake.settling == 1


@pytest.mark.parametrize(("mode", "wait_s"), [("poll", 5), ("events", 30)])
def test_intake_without_events_looks_more_often(tmp_path: Path, mode: str, wait_s: float) -> None:
    with open_rig(tmp_path, FakeEngine(), spool={"watch_mode": mode}) as rig:
        assert rig.intake.turn(rig.hand.elapsed_s) == wait_s
