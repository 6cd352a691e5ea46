"""The thread around an actor: paused by systemic faults, going on by itself, ended by the stop."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

import pytest

from cesar_watch.core.errors import SpoolError
from cesar_watch.service.actor_thread import ActorThread
from cesar_watch.service.attempt import Stop
from cesar_watch.service.house import Clock


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


def test_unexpected_exception_ends_the_thread_and_is_kept_for_the_supervisor() -> None:
    thread, actor = _run(_raise(ZeroDivisionError("surprise")), lambda: 0.0)
    assert isinstance(thread.crash, ZeroDivisionError)
    assert actor.closed_in == "scripted"
