"""Run an actor in a thread: turn after turn, paused by systemic faults, ended by the stop.

An actor never decides about threads, signals or sleeping; it says how long it has nothing to do.
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from cesar_watch.core.errors import CesarError, folder_fault
from cesar_watch.service.attempt import Stop
from cesar_watch.service.house import Clock

log = logging.getLogger(__name__)

PAUSE_S = 5.0
"""How long after a systemic fault the actor looks whether its cause is gone."""
BEAT_S = 5.0


class Actor(Protocol):
    """Something that works in turns."""

    name: str

    def turn(self, now_s: float) -> float:
        """Do what is due at `now_s` (monotonic seconds); return the seconds until the next turn is wanted."""
        ...

    def close(self) -> None:
        """Let go of everything; called once, in the actor's own thread."""
        ...


class ActorThread(threading.Thread):
    """The thread that owns one actor.

    `fault` is the systemic fault that pauses it, if any; `crash` the bug that ended it. `beat_s` is
    when it last showed life, in monotonic seconds.
    """

    def __init__(self, actor: Actor, *, wake: threading.Event, stop: Stop, clock: Clock) -> None:
        super().__init__(name=actor.name)
        self._actor = actor
        self._wake = wake
        self._stop_asked = stop
        self._clock = clock
        self.beat_s = clock.monotonic_s()
        self.fault: CesarError | None = None
        self.crash: Exception | None = None

    def beat(self) -> None:
        """Show life; the actor may call it from inside a long turn."""
        self.beat_s = self._clock.monotonic_s()

    def run(self) -> None:
        """Take turns until the stop; never raises."""
        try:
            while self._stop_asked.since_s is None:
                self._wait(self._turn())
        except Exception as fault:
            log.exception("The %s thread ended by an unexpected error; please report it", self.name)
            self.crash = fault
        finally:
            self._actor.close()

    def _turn(self) -> float:
        self.beat()
        try:
            wait_s = self._actor.turn(self._clock.monotonic_s())
        except CesarError as fault:
            return self._pause(fault)
        except OSError as fault:
            return self._pause(folder_fault(fault))
        if self.fault is not None:
            log.warning("%s goes on: the fault is gone.", self.name.capitalize())
            self.fault = None
        return wait_s

    def _pause(self, fault: CesarError) -> float:
        if self.fault is None or self.fault.reason != fault.reason:
            log.error("%s pauses: %s", self.name.capitalize(), fault)
        self.fault = fault
        return PAUSE_S

    def _wait(self, wait_s: float) -> None:
        until_s = self._clock.monotonic_s() + wait_s
        while self._stop_asked.since_s is None:
            self.beat()
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0 or self._wake.wait(min(left_s, BEAT_S)):
                break
        self._wake.clear()
