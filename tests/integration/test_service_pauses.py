"""Pauses: told once when they last, over when they are over, and the ballast of a full disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cesar_watch.core.errors import CesarError, SpoolError
from cesar_watch.core.notice import Notice
from cesar_watch.service.pauses import OVER_AFTER_S, TOLD_AFTER_S, Pauses
from tests.fakes import FakeEngine
from tests.service_builders import open_rig


@dataclass
class Watched:
    """Pauses that are looked at twice a second, as the supervisor does."""

    pauses: Pauses
    told: list[Notice]
    ballast: Path
    now_s: float = field(default=1000.0)

    def pass_time(self, seconds: float, *faults: CesarError) -> None:
        for _ in range(round(2 * seconds)):
            self.pauses.look(faults, self.now_s)
            self.now_s += 0.5

    def events(self) -> list[str]:
        return [notice.event for notice in self.told]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    told: list[Notice] = []

    def tell(notices: Iterable[Notice]) -> None:
        told.extend(notices)

    with open_rig(tmp_path, FakeEngine()) as rig:
        rig.house.ballast.take()
        yield Watched(Pauses(rig.house, tell), told, tmp_path / ".state/ballast")


def _gone() -> CesarError:
    return SpoolError("The share is gone: mount it.", reason="share_gone")


def _full() -> CesarError:
    return SpoolError("The disk is full: free some space.", reason="disk_full")


def test_pause_that_lasts_is_told_once_and_its_end_once(watched: Watched) -> None:
    watched.pass_time(TOLD_AFTER_S - 1, _gone())
    assert watched.told == []
    watched.pass_time(3600, _gone())
    assert watched.events() == ["paused"]
    assert watched.told[0].body == "The share is gone: mount it."
    watched.pass_time(OVER_AFTER_S - 1)
    assert watched.events() == ["paused"]
    watched.pass_time(3600)
    assert watched.events() == ["paused", "resumed"]
    assert "1 h 0 min" in watched.told[1].body
    assert "The share is gone" in watched.told[1].body


def test_pause_of_a_few_seconds_is_not_told(watched: Watched) -> None:
    watched.pass_time(TOLD_AFTER_S - 1, _gone())
    watched.pass_time(3600)
    assert watched.told == []


def test_flapping_is_one_pause_until_it_has_stopped(watched: Watched) -> None:
    for _ in range(100):
        watched.pass_time(10, _gone())
        watched.pass_time(OVER_AFTER_S / 2)
    assert watched.events() == ["paused"]
    watched.pass_time(OVER_AFTER_S)
    assert watched.events() == ["paused", "resumed"]


def test_next_pause_is_told_anew(watched: Watched) -> None:
    for _ in range(2):
        watched.pass_time(60, _gone())
        watched.pass_time(200)
    assert watched.events() == ["paused", "resumed"] * 2


def test_other_fault_in_the_same_pause_is_not_told_apart(watched: Watched) -> None:
    watched.pass_time(60, _gone())
    watched.pass_time(60, _full())
    watched.pass_time(200)
    assert watched.events() == ["paused", "resumed"]
    assert "The disk is full" in watched.told[1].body


def test_ballast_goes_with_a_full_disk_and_comes_back_after_it(watched: Watched) -> None:
    assert watched.ballast.exists()
    watched.pass_time(1, _gone())
    assert watched.ballast.exists()
    watched.pass_time(1, _gone(), _full())
    assert not watched.ballast.exists()
    watched.pass_time(1)
    assert watched.ballast.exists()


def test_ballast_that_a_proof_took_again_is_not_released_for_the_same_fault(watched: Watched) -> None:
    fault = _full()
    watched.pass_time(1, fault)
    watched.ballast.write_bytes(b"taken again by the proof of an actor")
    watched.pass_time(1, fault)
    assert watched.ballast.exists()
    watched.pass_time(1, _full())
    assert not watched.ballast.exists()
