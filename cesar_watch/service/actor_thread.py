"""Run an actor in a thread: turn after turn, paused by systemic faults, ended by the stop.

An actor never decides about threads, signals or sleeping; it says how long it has nothing to do.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Protocol

from cesar_watch.core.errors import CesarError, folder_fault
from cesar_watch.service.attempt import Stop
from cesar_watch.service.house import Clock

log = logging.getLogger(__name__)

PAUSE_S = 5.0
"""How long after a systemic fault the actor looks whether its cause is gone; doubled as long as it isn't."""
LONGEST_PAUSE_S = 30.0
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


class Paused:
    """How many actors of a kind pause for which reason; any thread may use it.

    The log hears once of what several of a kind ("worker 1", "worker 2") meet.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        """For how many reasons something pauses."""
        return len(self._numbers)

    def begin(self, kind: str, reason: str) -> bool:
        """Note one more; return whether it is the first."""
        with self._lock:
            self._numbers[kind, reason] += 1
            return self._numbers[kind, reason] == 1

    def end(self, kind: str, reason: str) -> bool:
        """Note one less; return whether nothing of its kind pauses any more."""
        with self._lock:
            self._numbers -= Counter([(kind, reason)])  # which leaves no zeros behind
            return not any(other == kind for other, _ in self._numbers)


class ActorThread(threading.Thread):
    """The thread that owns one actor. Without `start`, whoever calls `turn` stands for the thread.

    `fault` is the systemic fault that pauses it, if any; `crash` the bug that ended it. `beat_s` is
    when it last showed life, in monotonic seconds.

    Args:
        paused: Shared by all actors.
    """

    def __init__(
        self,
        actor: Actor,
        *,
        wake: threading.Event,
        stop: Stop,
        clock: Clock,
        paused: Paused | None = None,
    ) -> None:
        super().__init__(name=actor.name)
        self._actor = actor
        self._wake = wake
        self._stop_asked = stop
        self._clock = clock
        self._kind = actor.name.partition(" ")[0]
        self._paused = Paused() if paused is None else paused
        self.beat_s = clock.monotonic_s()
        self._pause_s = 0.0
        self.fault: CesarError | None = None
        self.crash: Exception | None = None

    def beat(self) -> None:
        """Show life; the actor may call it from inside a long turn."""
        self.beat_s = self._clock.monotonic_s()

    def run(self) -> None:
        """Take turns until the stop; never raises."""
        try:
            while self._stop_asked.since_s is None:
                self._wait(self.turn())
        except Exception as fault:
            log.exception("The %s thread ended by an unexpected error; please report it", self.name)
            self.crash = fault
        finally:
            self._actor.close()

    def turn(self) -> float:
        """Let the actor take one turn; return the seconds until the next one is wanted.

        A turn that meets a systemic fault pauses the actor; the next turn that ends, or `going_on`, ends the pause.
        """
        self.beat()
        try:
            wait_s = self._actor.turn(self._clock.monotonic_s())
        except CesarError as fault:
            return self._pause(fault)
        except OSError as fault:
            return self._pause(folder_fault(fault))
        self.going_on()
        return wait_s

    def going_on(self) -> None:
        """End the pause; a turn that lasts for hours calls it as soon as work has become durable again."""
        self._pause_s = 0.0
        if self.fault is not None:
            if self._paused.end(self._kind, self.fault.reason):
                log.warning("%s goes on: the fault is gone.", self._kind.capitalize())
            self.fault = None

    def _pause(self, fault: CesarError) -> float:
        if self.fault is None or self.fault.reason != fault.reason:
            if self.fault is not None:
                self._paused.end(self._kind, self.fault.reason)
            if self._paused.begin(self._kind, fault.reason):
                log.error("%s pauses: %s", self._kind.capitalize(), fault)
        self.fault = fault
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S) or PAUSE_S
        return self._pause_s

    def _wait(self, wait_s: float) -> None:
        until_s = self._clock.monotonic_s() + wait_s
        while self._stop_asked.since_s is None:
            self.beat()
            left_s = until_s - self._clock.monotonic_s()
            woken = left_s > 0 and self._wake.wait(min(left_s, BEAT_S))
            self._wake.clear()
            # A pause is not cut short: its own proof, in the inbox, would wake the intake again and again.
            if left_s <= 0 or (woken and self.fault is None):
                break
