"""The wall clock is set by ten years, forward or back, at every single look that the service takes at it.

Nothing may depend on it: not the order of the work, not a lease, no wait beyond `retry.backoff_max_s`, no duration
that people are told. Settling, timeouts and paces go by monotonic time, which nobody can set.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.config import NotifySettings
from cesar_watch.core.errors import AttemptError
from cesar_watch.core.job import State
from cesar_watch.core.notice import NoticeStatus
from cesar_watch.service.courier import Courier
from cesar_watch.service.house import Clock
from cesar_watch.speech.protocol import Event, Transcribe
from tests.fakes import FakeEngine, window
from tests.service_builders import HandClock, Rig, open_rig

TEN_YEARS = timedelta(days=3653)
LONGEST_WAIT_S = 100.0
RETRY = {"backoff_s": 30, "backoff_max_s": LONGEST_WAIT_S}
FEWEST_LOOKS = 30
"""A sweep over fewer looks has lost its grip on the code."""


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a sweep syncs thousands of times."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="cesar-clock-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@dataclass
class SetClock(HandClock):
    """Is set by `by` just before the look number `first`, and set right before the look `first + lasts`."""

    by: timedelta = timedelta()
    first: int = 1
    lasts: float = float("inf")
    looks: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    looked: int = 0

    def clock(self) -> Clock:
        right = super().clock()

        def now() -> datetime:
            self.looked = next(self.looks)
            is_wrong = self.first <= self.looked < self.first + self.lasts
            return right.now() + (self.by if is_wrong else timedelta())

        return Clock(right.monotonic_s, now)


class Sender:
    """A channel that refuses its first message."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self._refused = False

    def __call__(self, channel: NotifySettings, title: str, body: str, attach: Path | None) -> None:
        if not self._refused:
            self._refused = True
            raise AttemptError("No answer.", reason="notice_failed")
        self.titles.append(title)


def _whole_life(root: Path, hand: HandClock) -> tuple[list[str], list[str]]:
    """Work two recordings off, the first of which fails at first, with a restart; return what people are told."""
    crash = AttemptError("The engine died.", reason="engine_crashed")
    engine, sender = FakeEngine({"first.mp3": [window(0, "one"), crash]}), Sender()
    with open_rig(root, engine, hand=hand, retry=RETRY) as rig:
        for name in ("first.mp3", "second.mp3"):
            rig.drop(name)
            rig.claim_all()
        rig.worker.turn(hand.elapsed_s)
        engine.scripts = {}
        _all_turns(rig, sender)
    hand.move(LONGEST_WAIT_S)
    with open_rig(root, engine, hand=hand, retry=RETRY) as rig:
        _all_turns(rig, sender)
        hand.move(LONGEST_WAIT_S)
        _all_turns(rig, sender)
        jobs = rig.house.ledger.jobs()
        assert [(job.name, job.state) for job in jobs] == [
            (b"first.mp3", State.COMPLETED),
            (b"second.mp3", State.COMPLETED),
        ]
        assert rig.house.ledger.notices.counts()[NoticeStatus.SENT] == 2
        assert len(rig.house.ledger.notices.recent()) == 2
        for base in ("first", "second"):
            _assert_times_are_rfc3339(rig, base)
        return [job.message for job in jobs], sorted(sender.titles)


def _all_turns(rig: Rig, sender: Sender) -> None:
    rig.work()
    courier = Courier(rig.house, sender=sender)
    while courier.turn(rig.hand.elapsed_s) == 0.0:
        pass


def _assert_times_are_rfc3339(rig: Rig, base: str) -> None:
    told = rig.sidecar(base)
    for key in ("created_at", "started_at", "updated_at", "completed_at"):
        assert datetime.strptime(told[key], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).year in range(2016, 2037)


@pytest.mark.parametrize("by", [TEN_YEARS, -TEN_YEARS], ids=["forward", "back"])
@pytest.mark.parametrize("lasts", [float("inf"), 3], ids=["for good", "for three looks"])
@pytest.mark.timeout(120)
def test_clock_set_by_ten_years_at_any_look_changes_nothing_but_times(ram: Path, by: timedelta, lasts: float) -> None:
    undisturbed = SetClock()
    told = _whole_life(ram / "undisturbed", undisturbed)
    assert undisturbed.looked > FEWEST_LOOKS
    for first in range(1, undisturbed.looked + 1):
        hand = SetClock(by=by, first=first, lasts=lasts)
        assert _whole_life(ram / f"look-{first}", hand) == told


@pytest.mark.parametrize("by", [TEN_YEARS, -TEN_YEARS], ids=["forward", "back"])
def test_clock_set_while_a_recording_is_transcribed_is_not_told_as_the_time_it_took(
    tmp_path: Path, by: timedelta
) -> None:
    class Setting(FakeEngine):
        """Takes five seconds, during which somebody sets the clock."""

        def transcribe(self, request: Transcribe, **polling: Any) -> Generator[Event, None, None]:
            for event in super().transcribe(request, **polling):
                yield event
                if event.type == "window" and event.window.index == 0:
                    rig.hand.move(5.0)
                    rig.hand.set_wall(by)

    with open_rig(tmp_path, Setting()) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        assert rig.only_job().message == "Transcribed 20 s in 5.0 s: 2 words."
        assert rig.only_job().rtf == 0.25


def test_clock_set_back_by_less_than_the_longest_wait_lets_nobody_wait_longer_than_that(tmp_path: Path) -> None:
    engine = FakeEngine(default=[AttemptError("The engine died.", reason="engine_crashed")])
    with open_rig(tmp_path, engine, retry=RETRY) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        rig.hand.set_wall(-timedelta(seconds=LONGEST_WAIT_S / 2))
        rig.hand.move(LONGEST_WAIT_S - 1)
        rig.work()
        assert len(engine.requests) == 2


def test_clock_set_back_by_far_does_not_repeat_an_attempt_without_its_wait(tmp_path: Path) -> None:
    """Only the wait that was running when the clock was set is cut short; the next one is a whole one."""
    engine = FakeEngine(default=[AttemptError("The engine died.", reason="engine_crashed")])
    with open_rig(tmp_path, engine, retry=RETRY) as rig:
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.work()
        rig.hand.set_wall(-TEN_YEARS)
        rig.work()
        assert len(engine.requests) == 2
        rig.work()
        assert (len(engine.requests), rig.only_job().state) == (2, State.PENDING)
