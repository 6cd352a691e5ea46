"""Systemic faults, made with real things: the service pauses, blames no recording, and goes on by itself."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.config import NotifySettings
from cesar_watch.core.errors import AttemptError, RecordingError
from cesar_watch.core.job import Request, State
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.service.actor_thread import ActorThread
from cesar_watch.service.clerk import Clerk
from cesar_watch.service.courier import Courier
from cesar_watch.service.intake import Intake
from cesar_watch.service.pauses import Pauses
from cesar_watch.service.places import Places
from cesar_watch.service.worker import Worker
from cesar_watch.speech.models import DEMO_DIR, require_model
from cesar_watch.speech.protocol import Engine, Event, Started, Transcribe, WindowDone
from tests.fakes import FakeEngine, window
from tests.mounting import fill, immutable, mount, plug_in, tmpfs, unmount
from tests.service_builders import Rig, open_rig

SOUND = b"a recording that exists only once"
TOLD = ["cesar-watch: paused", "talk.mp3: completed", "cesar-watch: resumed"]
FEWEST_POINTS = 30
"""A sweep with fewer points has lost its grip on the code."""
MOST_REQUESTS = 2
"""The one that the fault broke off, and the one after it."""


class Interruptible(FakeEngine):
    """Lets something happen in the world behind the n-th event of the first request that comes so far."""

    def __init__(self) -> None:
        super().__init__()
        self.behind: type[Event] | None = None
        self.happening: Callable[[], object] = lambda: None

    def transcribe(self, request: Transcribe, **polling: Any) -> Generator[Event, None, None]:
        for event in super().transcribe(request, **polling):
            yield event
            if self.behind is not None and isinstance(event, self.behind):
                self.behind = None
                self.happening()


@dataclass
class Service:
    """The actors of one service with what the supervisor does about their pauses; time by hand."""

    rig: Rig
    engine: Interruptible
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        house, self.stop = self.rig.house, self.rig.stop
        courier = Courier(house, sender=self._send)
        self.pauses = Pauses(house, courier.tell)
        intake = Intake(house, wake=threading.Event())
        places = Places(self._make)
        worker = Worker(house, stop=self.stop, places=places, going_on=self._goes_on)
        self.threads = [
            ActorThread(actor, wake=threading.Event(), stop=self.stop, clock=house.clock)
            for actor in (intake, worker, courier, Clerk(house, places))
        ]

    def _goes_on(self) -> None:
        self.threads[1].going_on()

    def _make(self, settings: EngineSettings) -> Engine:
        require_model(settings)
        return self.engine

    def _send(self, channel: NotifySettings, title: str, body: str, attach: Path | None) -> None:
        self.told.append(title)

    def live(self, seconds: float) -> None:
        """Let the actors take turns, and the supervisor look on."""
        until_s = self.rig.hand.elapsed_s + seconds
        while self.rig.hand.elapsed_s < until_s:
            for thread in self.threads:
                thread.turn()
            self.pauses.look(self.faults(), self.rig.hand.elapsed_s)
            self.rig.hand.move(7.0)

    def faults(self) -> list[Any]:
        return [thread.fault for thread in self.threads if thread.fault is not None]

    def reasons(self) -> set[str]:
        return {fault.reason for fault in self.faults()}


@contextlib.contextmanager
def _service(root: Path, **sections: Any) -> Iterator[Service]:
    engine = Interruptible()
    with open_rig(root, engine, **sections) as rig:
        rig.house.ballast.take()
        yield Service(rig, engine)


@dataclass
class Trouble:
    """A fault in the world: how it begins, how it is mended, and the reasons that it may be told with."""

    service: Service
    begin: Callable[[], object]
    mend: Callable[[], object]
    reasons: set[str]


Maker = Callable[[Path], contextlib.AbstractContextManager[Trouble]]


@contextlib.contextmanager
def _full_disk(folder: Path) -> Iterator[Trouble]:
    with tmpfs(folder / "disk", size_kib=1024) as disk, _service(disk / "spool") as service:
        film = disk / "somebody-elses-film"
        yield Trouble(service, lambda: fill(disk), film.unlink, {"disk_full"})


@contextlib.contextmanager
def _full_disk_with_ballast(folder: Path) -> Iterator[Trouble]:
    with tmpfs(folder / "disk", size_kib=70 << 10) as disk, _service(disk / "spool") as service:
        film = disk / "somebody-elses-film"
        yield Trouble(service, lambda: fill(disk), film.unlink, {"disk_full"})
        assert (disk / "spool/.state/ballast").exists()


@contextlib.contextmanager
def _read_only_disk(folder: Path) -> Iterator[Trouble]:
    state = {"spool": {"state_dir": folder / "state"}}
    with tmpfs(folder / "spool", size_kib=1024) as root, _service(root, **state) as service:
        yield Trouble(
            service,
            lambda: mount("-o", "remount,ro", root),
            lambda: mount("-o", "remount,rw", root),
            {"read_only"},
        )


@contextlib.contextmanager
def _read_only_ledger(folder: Path) -> Iterator[Trouble]:
    state = {"spool": {"state_dir": folder / "disk/state"}}
    with tmpfs(folder / "disk", size_kib=4096) as disk, _service(folder / "spool", **state) as service:

        def begin() -> None:
            service.rig.house.ledger.close()  # else the kernel would refuse, as the file is open for writing
            mount("-o", "remount,ro", disk)

        yield Trouble(service, begin, lambda: mount("-o", "remount,rw", disk), {"read_only", "ledger_unusable"})


@contextlib.contextmanager
def _marker_gone(folder: Path) -> Iterator[Trouble]:
    marker, aside = folder / "spool/.cesar-watch", folder / "marker"
    with _service(folder / "spool") as service:
        yield Trouble(service, lambda: marker.rename(aside), lambda: aside.rename(marker), {"spool_missing"})


@contextlib.contextmanager
def _model_gone(folder: Path) -> Iterator[Trouble]:
    model, aside = folder / "model", folder / "aside"
    shutil.copytree(DEMO_DIR, model)
    with _service(folder / "spool", engine={"model": str(model)}) as service:
        yield Trouble(service, lambda: model.rename(aside), lambda: aside.rename(model), {"model_missing"})


@contextlib.contextmanager
def _room_gone(folder: Path) -> Iterator[Trouble]:
    room, aside = folder / "spool/outbox", folder / "aside"
    with _service(folder / "spool") as service:
        yield Trouble(service, lambda: room.rename(aside), lambda: aside.rename(room), {"spool_missing"})


@contextlib.contextmanager
def _unplugged_share(folder: Path) -> Iterator[Trouble]:
    share, mount_point = folder / "share", folder / "spool"
    share.mkdir()
    mount_point.mkdir()
    plug_in(share, mount_point)
    try:
        with _service(mount_point, spool={"state_dir": folder / "state"}) as service:

            def mend() -> None:
                assert list(mount_point.iterdir()) == []
                plug_in(share, mount_point)

            yield Trouble(service, lambda: unmount(mount_point), mend, {"spool_missing"})
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):  # a test that failed left it unplugged
            unmount(mount_point)


TROUBLES = [
    _full_disk,
    _full_disk_with_ballast,
    _read_only_disk,
    _read_only_ledger,
    _marker_gone,
    _room_gone,
    _unplugged_share,
]
every_trouble = pytest.mark.parametrize("make", [*TROUBLES, _model_gone], ids=lambda make: make.__name__.strip("_"))


def _check_completed(service: Service) -> None:
    """Everything is as if nothing had happened."""
    rig = service.rig
    job = rig.only_job()
    assert (job.state, job.attempts, job.error) == (State.COMPLETED, 1, None)
    assert [name for name in rig.files() if not name.endswith("film")] == [
        *("archive/talk.mp3", "outbox/talk.json", "outbox/talk.status.json", "outbox/talk.txt")
    ]
    root = rig.house.spool.root
    assert (root / "archive/talk.mp3").read_bytes() == SOUND
    assert (root / "outbox/talk.txt").read_text().split() == ["hello", "world"]
    assert rig.sidecar()["status"] == "completed"
    assert len(service.engine.requests) <= MOST_REQUESTS
    assert sorted(service.told) == sorted(TOLD)
    assert service.told.index(TOLD[0]) < service.told.index(TOLD[2])


@every_trouble
def test_recording_that_came_during_the_trouble_is_transcribed_after_it(tmp_path: Path, make: Maker) -> None:
    with make(tmp_path) as trouble:
        service = trouble.service
        service.rig.drop("talk.mp3", SOUND)
        trouble.begin()
        service.live(300)
        assert service.reasons() <= trouble.reasons
        assert service.reasons()
        assert service.engine.requests == []
        trouble.mend()
        service.live(300)
        assert service.reasons() == set()
        _check_completed(service)


@every_trouble
def test_claimed_recording_waits_for_the_end_of_the_trouble(tmp_path: Path, make: Maker) -> None:
    with make(tmp_path) as trouble:
        service = trouble.service
        service.rig.drop("talk.mp3", SOUND)
        service.rig.claim_all()
        trouble.begin()
        service.live(300)
        assert service.reasons() <= trouble.reasons
        assert service.reasons()
        assert service.engine.requests == []
        trouble.mend()
        service.live(300)
        _check_completed(service)
        history = service.rig.house.ledger.history(service.rig.only_job())
        assert [row["event"] for row in history].count("leased") <= MOST_REQUESTS


@pytest.mark.parametrize(
    "blame",
    [
        AttemptError("It can't be read.", reason="source_unreadable"),
        RecordingError("It is a text file.", reason="not_media"),
        RecordingError("It is too short.", reason="truncated"),
        ZeroDivisionError("a bug that only shows when the file is gone"),
    ],
    ids=lambda fault: getattr(fault, "reason", "internal"),
)
@pytest.mark.parametrize("make", [_marker_gone, _unplugged_share], ids=lambda make: make.__name__.strip("_"))
def test_decoder_that_blames_the_recording_while_the_share_is_gone_is_not_believed(
    tmp_path: Path, make: Maker, blame: Exception
) -> None:
    with make(tmp_path) as trouble:
        service = trouble.service
        service.rig.drop("talk.mp3", SOUND)
        service.engine.scripts = {"talk.mp3": [window(0, "hello"), blame]}
        service.engine.behind, service.engine.happening = WindowDone, trouble.begin
        service.live(300)
        assert service.reasons() == {"spool_missing"}
        service.engine.scripts = {}
        trouble.mend()
        service.live(300)
        _check_completed(service)


@pytest.mark.parametrize("behind", [Started, WindowDone], ids=["before-a-window", "behind-a-window"])
@pytest.mark.parametrize("make", TROUBLES, ids=lambda make: make.__name__.strip("_"))
def test_trouble_in_mid_work_costs_no_attempt_and_no_second_decoding(
    tmp_path: Path, make: Maker, behind: type[Event]
) -> None:
    with make(tmp_path) as trouble:
        service = trouble.service
        service.rig.drop("talk.mp3", SOUND)
        service.engine.behind, service.engine.happening = behind, trouble.begin
        service.live(300)
        assert service.reasons() <= trouble.reasons
        assert service.reasons()
        assert len(service.engine.requests) == 1
        trouble.mend()
        durable = _windows_in(service.rig.house.spool.processing)
        assert durable is None or durable >= (behind is WindowDone)
        service.live(300)
        _check_completed(service)
        assert [request.first_index for request in service.engine.requests][1:] in ([], [durable])


def _windows_in(processing: Path) -> int | None:
    """Return how many windows the checkpoint of the only job holds; None where the job has ended."""
    checkpoints = list(processing.glob("*/.cesar-checkpoint.jsonl"))
    return checkpoints[0].read_text().count('"window":') if checkpoints else None


class _Unplugger:
    """Unplugs the share before the n-th call of ours that changes the disk."""

    def __init__(self, point: int, unplug: Callable[[], object]) -> None:
        self._left = point
        self._unplug = unplug

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self._unplug()
            return call(*args, **kwargs)

        return watched

    @property
    def has_struck(self) -> bool:
        return self._left <= 0


@pytest.mark.timeout(300)
def test_share_that_vanishes_at_any_call_leaves_nothing_on_the_disk_below_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for point in itertools.count(1):
        folder = tmp_path / str(point)
        folder.mkdir()
        with _unplugged_share(folder) as trouble:
            service, house = trouble.service, trouble.service.rig.house
            service.rig.drop("talk.mp3", SOUND)
            unplugger = _Unplugger(point, trouble.begin)
            house.spool = dataclasses.replace(house.spool, rename=unplugger.watch(house.spool.rename))
            with monkeypatch.context() as patch:
                for name in ("fsync", "link", "unlink", "replace", "mkdir", "rmdir"):
                    patch.setattr(os, name, unplugger.watch(getattr(os, name)))
                service.live(120)
            if not unplugger.has_struck:
                break
            trouble.mend()
            service.live(600)
            job = service.rig.only_job()
            assert (job.state, job.attempts, job.error) == (State.COMPLETED, 1, None), f"at point {point}"
            assert (folder / "share/archive/talk.mp3").read_bytes() == SOUND
            assert (folder / "share/outbox/talk.txt").read_text().split() == ["hello", "world"]
            assert list((folder / "share/failed").iterdir()) == []
    assert point > FEWEST_POINTS


def test_recording_that_can_not_be_deleted_stops_no_other_and_goes_when_it_can(tmp_path: Path) -> None:
    with _service(tmp_path / "spool") as service:
        rig = service.rig
        rig.drop("talk.mp3", SOUND)
        service.live(60)
        with immutable(tmp_path / "spool/archive/talk.mp3"):
            rig.house.ledger.ask(rig.only_job(), Request.DELETE_RECORDING)
            rig.drop("next.mp3", SOUND[::-1])
            service.live(60)
            assert service.faults() == []
            half, done = rig.house.ledger.jobs()
            assert (half.request, done.state) == (Request.DELETE_RECORDING, State.COMPLETED)
            assert "is refused" in half.message
        service.live(60)
        assert [job.name for job in rig.house.ledger.jobs()] == [b"next.mp3"]
        assert not (tmp_path / "spool/archive/talk.mp3").exists()


def test_recording_that_can_not_be_moved_stops_no_other_and_is_taken_when_it_can(tmp_path: Path) -> None:
    with _service(tmp_path / "spool") as service:
        rig = service.rig
        with immutable(rig.drop("talk.mp3", SOUND)):
            rig.drop("next.mp3", SOUND[::-1])
            service.live(300)
            assert service.faults() == []
            assert rig.only_job().name == b"next.mp3"
        service.live(60)
        assert {job.state for job in rig.house.ledger.jobs()} == {State.COMPLETED}
        assert len(rig.house.ledger.jobs()) == 2


def test_person_can_delete_a_job_while_the_disk_is_full_and_that_ends_the_pause(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size_kib=70 << 10) as disk, _service(disk / "spool") as service:
        rig = service.rig
        rig.drop("talk.mp3", SOUND)
        rig.drop("large.mp3", os.urandom(4 << 20))
        service.live(60)
        rig.drop("next.mp3", SOUND[::-1])
        fill(disk)
        service.live(60)
        assert service.reasons() == {"disk_full"}
        (large,) = [job for job in rig.house.ledger.jobs() if job.name == b"large.mp3"]
        assert large.state is State.COMPLETED
        rig.house.ledger.ask(large, Request.DELETE_RECORDING)
        service.live(120)
        assert service.reasons() == set()
        assert {job.name: job.state for job in rig.house.ledger.jobs()} == {
            b"talk.mp3": State.COMPLETED,
            b"next.mp3": State.COMPLETED,
        }
