"""The thread around an actor: paused by systemic faults, going on by itself, ended by the stop."""

from __future__ import annotations

import errno
import itertools
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from cesar_watch.core.errors import CesarError, SpoolError
from cesar_watch.service.actor_thread import ActorThread, Paused
from cesar_watch.service.attempt import Stop
from cesar_watch.service.house import Clock
from tests.service_builders import HandClock


class Scripted:
    """An actor whose turns are given; it stops the thread when they are used up."""

    name = "scripted"

    def __init__(self, stop: Stop, *turns: Callable[[], float]) -> None:
        self._stop = stop
        self._turns = list(turns)
        self.closed_in = ""

    def turn(self, now_s: float) -> float:
        turn = self._turns.pop(0)
        if not self._turns:
            self._stop.since_s = now_s
        return turn()

    def close(self) -> None:
        self.closed_in = threading.current_thread().name


def _raise(fault: Exception) -> Callable[[], float]:
    def turn() -> float:
        raise fault

    return turn


def _run(*turns: Callable[[], float]) -> tuple[ActorThread, Scripted]:
    stop, wake = Stop(), threading.Event()
    wake.set()
    actor = Scripted(stop, *turns)
    thread = ActorThread(actor, wake=wake, stop=stop, clock=Clock())
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    return thread, actor


def test_actor_is_closed_in_its_own_thread_at_the_stop() -> None:
    thread, actor = _run(lambda: 0.0, lambda: 0.0)
    assert actor.closed_in == "scripted"
    assert thread.crash is None


def test_systemic_fault_pauses_and_is_forgotten_when_a_turn_succeeds() -> None:
    thread, _ = _run(_raise(SpoolError("The marker is gone.", reason="spool_missing")))
    assert thread.fault is not None
    assert thread.fault.reason == "spool_missing"
    thread, _ = _run(_raise(SpoolError("The marker is gone.")), lambda: 0.0)
    assert thread.fault is None


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "read_only"), (errno.ESTALE, "share_gone")]
)
def test_operating_system_error_of_our_folders_pauses_with_its_reason(number: int, reason: str) -> None:
    thread, _ = _run(_raise(OSError(number, "no")))
    assert thread.fault is not None
    assert thread.fault.reason == reason


def _unstarted(*turns: Callable[[], float]) -> ActorThread:
    stop = Stop()
    return ActorThread(Scripted(stop, *turns), wake=threading.Event(), stop=stop, clock=Clock())


def test_pause_is_looked_into_after_five_seconds_and_then_less_and_less_often() -> None:
    gone = _raise(SpoolError("The marker is gone."))
    thread = _unstarted(*[gone] * 5, lambda: 0.0, gone)
    assert [thread.turn() for _ in range(5)] == [5.0, 10.0, 20.0, 30.0, 30.0]
    assert thread.turn() == 0.0
    assert thread.turn() == 5.0


def test_pause_ends_in_the_middle_of_a_turn_whose_work_became_durable_again() -> None:
    seen: list[CesarError | None] = []

    def long_turn() -> float:
        thread.going_on()
        seen.append(thread.fault)
        return 0.0

    thread = _unstarted(_raise(SpoolError("The marker is gone.")), long_turn)
    thread.turn()
    assert thread.fault is not None
    thread.turn()
    assert seen == [None]


FAULTS = 1500


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads that are interrupted all the time."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


@pytest.mark.usefixtures("impatient")
def test_pauses_of_several_actors_of_a_kind_do_not_disturb_each_other(caplog: pytest.LogCaptureFixture) -> None:
    class Flapping:
        """Meets another fault every other turn."""

        def __init__(self, number: int) -> None:
            self.name = f"worker {number}"
            self._faults = [SpoolError("It is gone.", reason=f"gone_{number}_{each}") for each in range(FAULTS)]
            self._turns = itertools.chain.from_iterable((fault, None) for fault in self._faults)

        def turn(self, now_s: float) -> float:
            fault = next(self._turns)
            if fault is not None:
                raise fault
            return 0.0

        def close(self) -> None:
            """Nothing is held."""

    def take_turns(actor: ActorThread) -> None:
        together.wait()
        for _ in range(2 * FAULTS):
            actor.turn()
        ended.append(actor.name)

    ended: list[str] = []
    together = threading.Barrier(3)
    paused = Paused()
    actors = [
        ActorThread(Flapping(number), wake=threading.Event(), stop=Stop(), clock=Clock(), paused=paused)
        for number in range(3)
    ]
    threads = [threading.Thread(target=take_turns, args=(actor,)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == [actor.name for actor in actors]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 3 * FAULTS
    assert not paused


def test_pause_is_not_cut_short_by_a_wake() -> None:
    hand, stop = HandClock(), Stop()
    woken: list[float] = []

    class Restless(threading.Event):
        """Wakes at once whenever it is waited for, and lets two seconds pass."""

        def wait(self, timeout: float | None = None) -> bool:
            hand.move(2.0)
            return True

    class Actor(Scripted):
        def turn(self, now_s: float) -> float:
            woken.append(now_s)
            return super().turn(now_s)

    actor = Actor(stop, _raise(SpoolError("The marker is gone.")), lambda: 60.0, lambda: 60.0)
    ActorThread(actor, wake=Restless(), stop=stop, clock=hand.clock()).run()
    assert [round(now_s - woken[0]) for now_s in woken] == [0, 6, 8]


def test_unexpected_exception_ends_the_thread_and_is_kept_for_the_supervisor() -> None:
    thread, actor = _run(_raise(ZeroDivisionError("surprise")), lambda: 0.0)
    assert isinstance(thread.crash, ZeroDivisionError)
    assert actor.closed_in == "scripted"
