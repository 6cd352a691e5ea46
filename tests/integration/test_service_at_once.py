"""Several recordings in work at once, in the whole service: who goes first, who is to blame, and that nobody pays for
another.

The engine's process does what the names of the recordings ask for (`tests.scripted_engine`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cesar_watch.core.errors import EngineLost, ModelError
from cesar_watch.core.job import Job, State
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.service import attempt, supervisor
from cesar_watch.service.places import Places
from cesar_watch.service.worker import HELD_UP_S, Worker
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.protocol import Event, Loaded
from tests.builders import make_job
from tests.fakes import FakeEngine
from tests.processes import alive, until
from tests.running import LIMIT_S, Running, running, scripted
from tests.service_builders import open_rig

AT_ONCE = {"retry": {"max_attempts": 2, "backoff_s": 0}}
PLACES = 4
LONG = [f"long-{number}.mp3" for number in range(PLACES)]


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    engine = scripted()
    yield engine
    engine.close()


def is_counted(service: Running, name: str) -> bool:
    """Whether a job has failed an attempt."""
    return any(event in ("retry_later", "gave_up") for event, _ in service.events(name))


# --- cancel and timeout ---------------------------------------------------------------------------


def test_cancel_of_one_recording_takes_effect_soon_and_the_other_goes_on(tmp_path: Path, engine: EngineProcess) -> None:
    with running(tmp_path, lambda _: engine, "stall.mp3", "long.mp3") as service:
        service.until_done_s("long.mp3", 10)
        service.until("stall.mp3", State.PROCESSING)
        pid = engine.pid
        service.cancel("stall.mp3")
        service.until("stall.mp3", State.CANCELLED)
        service.until_done_s("long.mp3", service.jobs()["long.mp3"].done_s + 10)
        assert engine.pid == pid
        assert service.events("long.mp3") == [("claimed", None), ("leased", None)]


def test_cancel_of_a_recording_that_hangs_the_engine_hands_the_other_back_uncounted(
    tmp_path: Path, engine: EngineProcess
) -> None:
    with running(tmp_path, lambda _: engine, "deaf.mp3", "long.mp3") as service:
        service.until_done_s("long.mp3", 10)
        service.until("deaf.mp3", State.PROCESSING)
        pid = engine.pid
        service.cancel("deaf.mp3")
        service.until("deaf.mp3", State.CANCELLED)
        job = service.until_done_s("long.mp3", service.jobs()["long.mp3"].done_s + 10)
        assert job.attempts == 1
        assert ("released", "engine_replaced") in service.events("long.mp3")
        assert engine.pid != pid


def test_recording_over_its_time_limit_ends_and_the_other_goes_on(tmp_path: Path, engine: EngineProcess) -> None:
    limited = [{"match": "stall*", "timeout_s": 1}]
    with running(
        tmp_path, lambda _: engine, "stall.mp3", "long.mp3", profile=limited, retry={"max_attempts": 1}
    ) as service:
        stalled = service.until("stall.mp3", State.FAILED)
        assert stalled.error is not None
        assert (stalled.error.reason, stalled.attempts) == ("timeout", 1)
        service.until_done_s("long.mp3", service.jobs()["long.mp3"].done_s + 10)
        assert not is_counted(service, "long.mp3")


# --- who is to blame ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("culprit", "reason"), [("SIGSEGV", "poison"), ("SIGKILL", "poison"), ("memory", "out_of_memory")]
)
def test_engine_that_dies_over_one_of_two_recordings_fails_that_one_only(
    tmp_path: Path, engine: EngineProcess, culprit: str, reason: str
) -> None:
    with running(tmp_path, lambda _: engine, f"{culprit}.mp3", "talk.mp3", **AT_ONCE) as service:
        failed = service.until(f"{culprit}.mp3", State.FAILED)
        innocent = service.until("talk.mp3", State.COMPLETED)
        assert failed.error is not None
        assert (failed.error.reason, failed.attempts) == (reason, 2)
        assert innocent.attempts == 1
        assert not is_counted(service, "talk.mp3")


class Watched:
    """A ledger; before each change of a job's state something is looked at."""

    def __init__(self, ledger: Any, look: Callable[[Job], None]) -> None:
        self._ledger = ledger
        self._look = look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def apply(self, job: Job, *args: Any, **changes: Any) -> Job:
        self._look(job)
        applied: Job = self._ledger.apply(job, *args, **changes)
        return applied


def test_recording_over_which_the_engine_may_have_died_is_suspected_before_it_is_queued_again(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(default=[EngineLost("It died.")])) as rig:
        places = Places(lambda _: rig.engine)
        suspected: list[bool] = []
        ledger: Any = Watched(rig.house.ledger, lambda job: suspected.append(job.job_id in places.suspects))
        rig.drop("talk.mp3")
        rig.claim_all()
        rig.house.ledger = ledger
        Worker(rig.house, stop=rig.stop, places=places).turn(rig.hand.elapsed_s)
        assert rig.only_job().state is State.PENDING
        assert suspected == [True]


def test_recording_with_which_the_service_died_too_many_times_goes_on_alone_until_it_has_a_window(
    tmp_path: Path,
) -> None:
    with open_rig(tmp_path, FakeEngine(), retry={"max_attempts": 2}) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        ledger, places = rig.house.ledger, Places(lambda _: rig.engine, 2)
        worker = Worker(rig.house, stop=rig.stop, places=places)
        other = make_job(seq=99, job_id="other")
        ledger.update(job, rig.house.clock.now(), interruptions=3)
        with places.taken("other", other, rig.house.settings.engine):
            assert worker.turn(rig.hand.elapsed_s) == HELD_UP_S
            assert rig.only_job().state is State.PENDING
            assert places.gives_way(other, None, None)
        worker.turn(rig.hand.elapsed_s)
        assert rig.only_job().state is State.COMPLETED
        assert places.suspects == set()


def test_recording_with_which_the_service_died_a_few_times_goes_on_beside_others(tmp_path: Path) -> None:
    with open_rig(tmp_path, FakeEngine(), retry={"max_attempts": 2}) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        places = Places(lambda _: rig.engine, 2)
        rig.house.ledger.update(job, rig.house.clock.now(), interruptions=2)
        with places.taken("other", make_job(seq=99, job_id="other"), rig.house.settings.engine):
            Worker(rig.house, stop=rig.stop, places=places).turn(rig.hand.elapsed_s)
        assert rig.only_job().state is State.COMPLETED


def test_suspect_whose_model_is_not_there_any_more_waits_for_its_next_attempt_like_any_other(tmp_path: Path) -> None:
    def maker(settings: EngineSettings) -> FakeEngine:
        raise ModelError("The hub does not answer.", reason="model_unreachable")

    wished = [{"match": "*", "model": "other"}]
    with open_rig(tmp_path, FakeEngine(), profile=wished) as rig:
        rig.drop("talk.mp3")
        (job,) = rig.claim_all()
        places = Places(maker)
        places.suspect(job.job_id)
        worker = Worker(rig.house, stop=rig.stop, places=places)
        while worker.turn(rig.hand.elapsed_s) == 0.0:
            pass
        assert (rig.only_job().state, rig.only_job().attempts) == (State.PENDING, 1)


def test_gpu_that_fails_with_two_recordings_in_work_is_told_once_and_held_against_neither(tmp_path: Path) -> None:
    engine = scripted(str(tmp_path / "gpu"))
    with running(tmp_path / "spool", lambda _: engine, "talk-1.mp3", "talk-2.mp3") as service:
        for name in ("talk-1.mp3", "talk-2.mp3"):
            assert service.until(name, State.COMPLETED).attempts == 1
            assert not is_counted(service, name)
        until(lambda: len(service.told) >= 3, "the notices")
    assert len([title for title in service.told if "talk" not in title]) == 1


def test_fallback_that_two_recordings_hear_of_at_once_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    both = threading.Barrier(2, timeout=0.5)

    class Fallback(str):
        """Takes its time to be compared."""

        def __ne__(self, other: object) -> bool:
            is_other = not str.__eq__(self, other)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait()
            return is_other

        __hash__ = str.__hash__

    class Falling(FakeEngine):
        def transcribe(self, *request: Any, **asking: Any) -> Generator[Event, None, None]:
            fallback = Fallback("The GPU failed.")
            yield Loaded.model_construct(device="cpu", compute_type="int8", load_s=0.0, fallback=fallback)
            events = super().transcribe(*request, **asking)
            yield from (event for event in events if not isinstance(event, Loaded))

    engine = Falling()
    with running(tmp_path, lambda _: engine, "a.mp3", "b.mp3") as service:
        for name in ("a.mp3", "b.mp3"):
            service.until(name, State.COMPLETED)
        until(lambda: len(service.told) >= 3, "the notices")
    assert len([title for title in service.told if ".mp3" not in title]) == 1
    assert caplog.messages.count("The model runs on cpu with int8.") == 1


# --- who goes first -------------------------------------------------------------------------------


def test_short_recording_comes_before_long_ones_of_which_one_gives_way_for_it(
    tmp_path: Path, engine: EngineProcess
) -> None:
    with running(tmp_path, lambda _: engine, *LONG) as service:
        for name in LONG:
            service.until_done_s(name, 120)
        service.drop("short.mp3")
        service.until("short.mp3", State.COMPLETED)
        ways = [event for name in LONG for event in service.events(name) if event[0] != "claimed"]
        assert ways.count(("released", "gave_way")) == 1
        assert set(ways) == {("leased", None), ("released", "gave_way")}


def test_recording_with_priority_that_comes_late_gets_the_place_of_one_without(
    tmp_path: Path, engine: EngineProcess
) -> None:
    urgent = [{"match": "*urgent*", "priority": 10}]
    with running(tmp_path, lambda _: engine, *LONG, profile=urgent) as service:
        for name in LONG:
            service.until_done_s(name, 10)
        service.drop("long-urgent.mp3")
        service.until_done_s("long-urgent.mp3", 10)
        gave_way = [name for name in LONG if ("released", "gave_way") in service.events(name)]
        assert len(gave_way) == 1
        assert not is_counted(service, gave_way[0])


def test_recordings_begin_in_the_order_of_their_priority(tmp_path: Path) -> None:
    engine = FakeEngine()
    order = [{"match": "last*", "priority": -1}, {"match": "first*", "priority": 1}]
    with open_rig(tmp_path, engine, profile=order) as rig:
        for name in ("last.mp3", "middle.mp3", "first.mp3"):
            rig.drop(name)
        rig.claim_all()
        rig.work()
        assert [Path(request.path).stem for request in engine.requests] == ["first", "middle", "last"]


def test_same_content_dropped_twice_at_once_is_transcribed_once(tmp_path: Path, engine: EngineProcess) -> None:
    with running(tmp_path, lambda _: engine) as service:
        for name in ("talk-1.mp3", "talk-2.mp3"):
            service.drop(name, b"one and the same sound")
        ended = [service.until(name, State.COMPLETED, State.DUPLICATE) for name in ("talk-1.mp3", "talk-2.mp3")]
        assert sorted(job.state for job in ended) == [State.COMPLETED, State.DUPLICATE]
        assert len(list((tmp_path / "outbox").glob("*.txt"))) == 1


def test_recording_with_another_model_gets_its_engine_and_the_others_theirs_again(tmp_path: Path) -> None:
    engines: list[tuple[str, EngineProcess]] = []

    def maker(settings: EngineSettings) -> EngineProcess:
        engines.append((settings.model, scripted()))
        return engines[-1][1]

    other = [{"match": "*other*", "model": "other"}]
    with running(tmp_path, maker, "long-1.mp3", "long-2.mp3", profile=other) as service:
        for name in ("long-1.mp3", "long-2.mp3"):
            service.until_done_s(name, 10)
        service.drop("short-other.mp3")
        assert service.until("short-other.mp3", State.COMPLETED).attempts == 1
        for name in ("long-1.mp3", "long-2.mp3"):
            job = service.until_done_s(name, service.jobs()[name].done_s + 10)
            assert job.attempts == 1
            assert ("released", "gave_way") in service.events(name)
            assert not is_counted(service, name)
        assert [model for model, _ in engines] == ["demo", "other", "demo"]
        assert [engine.pid is None for _, engine in engines] == [True, True, False]


# --- the end --------------------------------------------------------------------------------------


def test_engine_process_ends_when_it_has_been_idle_and_comes_back_for_the_next_recording(tmp_path: Path) -> None:
    engine = scripted(idle_unload_s=0.1)
    with running(tmp_path, lambda _: engine, "short-1.mp3", "short-2.mp3") as service:
        for name in ("short-1.mp3", "short-2.mp3"):
            service.until(name, State.COMPLETED)
        until(lambda: engine.pid is None, "the end of the engine process")
        service.drop("short-3.mp3")
        assert service.until("short-3.mp3", State.COMPLETED).attempts == 1


@pytest.mark.parametrize("name", ["long", "stall"])
def test_stop_with_all_places_taken_hands_all_back_and_leaves_neither_thread_nor_process(
    tmp_path: Path, engine: EngineProcess, name: str
) -> None:
    before = set(threading.enumerate())
    names = [f"{name}-{number}.mp3" for number in range(PLACES)]
    with running(tmp_path, lambda _: engine, *names) as service:
        if name == "long":
            for each in names:
                service.until_done_s(each, 10)
        else:
            service.until_at_work(*names)
        pid = until(lambda: engine.pid, "the engine")
        service.stop()
        jobs = service.jobs()
        assert {(job.state, job.attempts) for job in jobs.values()} == {(State.PENDING, 0)}
        assert all(service.events(each)[-1] == ("released", "stopped") for each in names)
        assert not alive(pid)
    assert set(threading.enumerate()) == before


@pytest.mark.timeout(4 * LIMIT_S)
def test_stop_while_the_model_is_being_loaded_does_not_wait_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stop that waits goes on for as long as it may: here for longer than anybody waits for it.
    monkeypatch.setattr(attempt, "STOP_GRACE_S", 1.5 * LIMIT_S)
    monkeypatch.setattr(supervisor, "JOIN_S", 2 * LIMIT_S)
    engine = scripted("unloaded")
    with running(tmp_path, lambda _: engine, "talk.mp3") as service:
        service.until("talk.mp3", State.PROCESSING)
        until(lambda: engine.pid, "the engine")
        service.stop()
        job = service.jobs()["talk.mp3"]
        assert (job.state, job.attempts) == (State.PENDING, 0)
        assert service.events("talk.mp3")[-1] == ("released", "stopped")
