"""The supervisor: starts the parts, watches their health, owns the signals, ends everything in order.

SIGTERM or SIGINT: stop claiming, make the running windows durable, hand the leases back, exit within 30 s; a second
one exits at once. SIGHUP: read the settings again; bad ones are refused and the old ones stay.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from cesar_watch.core.config import Settings
from cesar_watch.core.errors import CesarError, Unfinished, folder_fault
from cesar_watch.core.job import State
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.delivery.notices import service_notices
from cesar_watch.delivery.send import send
from cesar_watch.service import recovery
from cesar_watch.service.actor_thread import Actor, ActorThread, Paused
from cesar_watch.service.clerk import Clerk
from cesar_watch.service.courier import Courier, Sender
from cesar_watch.service.fetching import fetched, nothing_to_fetch
from cesar_watch.service.house import House
from cesar_watch.service.instances import left_behind
from cesar_watch.service.intake import Intake
from cesar_watch.service.neighbours import Neighbours
from cesar_watch.service.pauses import Pauses
from cesar_watch.service.places import EngineMaker, Places, engine_on_disk
from cesar_watch.service.signals import Signals
from cesar_watch.service.state_file import ServiceState, write_state
from cesar_watch.service.systemd import sd_notify, watchdog_interval_s
from cesar_watch.service.worker import Worker
from cesar_watch.speech.measured import read_measured
from cesar_watch.speech.memory import memory_warning
from cesar_watch.speech.models import require_model
from cesar_watch.speech.parallel import plan
from cesar_watch.speech.protocol import Loaded

log = logging.getLogger(__name__)

TICK_S = 0.5
STALE_S = 120.0
"""An actor that has not shown life for this long is taken for hung: the watchdog hears no more from us."""
SPARE_PLACES = 2
"""So many more recordings than windows are in work at once: reading, hashing and publishing keep no core idle."""
JOIN_S = 25.0
LEAST_JOIN_S = 1.0
"""What each part gets at least to end in, also when a SIGSTOP has used the time up."""


class Supervisor:
    """One run of the service on an open house. Owned by the main thread.

    Args:
        reload: Reads the settings again, for SIGHUP.
        drain: End when nothing is left to do, instead of waiting for more.
        maker, sender: Stand for the engine and the network, where the real ones are not wanted.
        signals: Those of the process; left out, nobody asks for anything.
    """

    def __init__(
        self,
        house: House,
        *,
        reload: Callable[[], Settings],
        drain: bool = False,
        maker: EngineMaker | None = None,
        sender: Sender = send,
        signals: Signals | None = None,
    ) -> None:
        self._house = house
        self._reload = reload
        self._drain = drain
        self._signals = signals or Signals(house.clock.monotonic_s)
        self._stop = self._signals.stop
        self._started_at = self._now()
        self._account: ServiceState | None = None
        self._is_account_written = False
        self._pinged_s = 0.0
        self._runs_on = ""
        self._degraded = ""
        self._degrading = threading.Lock()
        self._wakes: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self.intake = Intake(house, wake=self._wakes["intake"], claimed=self._claimed, poll=self._poll_intake)
        measured = read_measured(house.settings.state_dir)
        places = Places(
            maker or functools.partial(engine_on_disk, measured=measured),
            plan(house.settings.engine, measured)[0] + SPARE_PLACES,
            fetch=fetched if maker is None else nothing_to_fetch,
        )
        self._workers = [self._worker(f"worker {number + 1}", places) for number in range(places.number)]
        self._courier = Courier(house, sender=sender)
        self._pauses = Pauses(house, self._courier.tell)
        self._neighbours = Neighbours(house, taken=self._wake_workers)
        actors: list[Actor] = [self.intake, *self._workers, Clerk(house, places), self._courier, self._neighbours]
        paused = Paused()
        self._threads = {
            actor.name: ActorThread(
                actor, wake=self._wakes[actor.name], stop=self._stop, clock=house.clock, paused=paused
            )
            for actor in actors
        }

    def _worker(self, name: str, places: Places) -> Worker:
        return Worker(
            self._house,
            stop=self._stop,
            places=places,
            name=name,
            beat=functools.partial(self._beat, name),
            going_on=functools.partial(self._goes_on, name),
            finished=self._job_ended,
            loaded=self._loaded,
        )

    @property
    def completed(self) -> int:
        """How many jobs were completed since the start."""
        return sum(worker.completed for worker in self._workers)

    @property
    def failed(self) -> int:
        """How many jobs failed since the start."""
        return sum(worker.failed for worker in self._workers)

    def _poll_intake(self) -> None:
        self._threads["intake"].beat()
        if self._stop.since_s is not None:
            raise Unfinished("It waits: the service is stopping.", reason="stopping")

    def _job_ended(self) -> None:
        self._wakes["courier"].set()
        if self._house.spool.is_inbox_foreign:
            self._wakes["intake"].set()  # there is space for another copy

    def _wake_workers(self) -> None:
        for worker in self._workers:
            self._wakes[worker.name].set()

    def _claimed(self) -> None:
        self._wake_workers()
        # From now on there is something that another instance might take over.
        self._wakes["neighbours"].set()

    def _beat(self, name: str) -> None:
        self._threads[name].beat()

    def _goes_on(self, name: str) -> None:
        self._threads[name].going_on()

    def _loaded(self, loaded: Loaded) -> None:
        """Say what the model runs on; where that is less than what was tried first, tell people too."""
        runs_on = f"The model runs on {loaded.device} with {loaded.compute_type}."
        # All workers whose recordings wait for the model hear of it at once.
        with self._degrading:
            if runs_on != self._runs_on:
                log.info("%s", runs_on)
            self._runs_on = runs_on
            is_news = loaded.fallback is not None and loaded.fallback != self._degraded
            self._degraded = loaded.fallback or self._degraded
        if is_news:
            message = f"Recordings are transcribed on the CPU, and slower. {loaded.fallback}"
            log.warning("%s", message)
            self._courier.tell(service_notices("degraded", message, self._house.settings.notify))
            self._wakes["courier"].set()

    def announce(self, config_path: Path | None) -> None:
        """Say in the log what runs where, with which model and which settings."""
        settings = self._house.settings
        where = f"settings from {config_path}" if config_path else "settings from the environment"
        log.info("Spool %s, model %s, %s.", self._house.spool.root, settings.engine.model, where)
        if settings.engine.model == "demo":
            log.info("The model demo knows only a few dozen English words; set engine.model for real recordings.")

    def run(self) -> int:
        """Recover, serve until stopped (or drained), and return the exit code.

        Raises:
            CesarError: It could not start, or in a drain could not go on.
        """
        self._enter("starting", "putting right what an earlier run left")
        _see_to_model(self._house.settings.engine)
        self._house.ballast.take()
        try:
            self._neighbours.show()
            recovery.recover(self._house)
            for left in left_behind(self._house.spool, self._house.clock.now()):
                log.warning("%s", left)
        except OSError as fault:
            raise folder_fault(fault) from None
        self._signals.serving = True
        try:
            for thread in self._threads.values():
                thread.start()
            self._enter("ready", "")
            sd_notify("READY=1")
            while self._stop.since_s is None:
                time.sleep(TICK_S)
                self.tick(self._house.clock.monotonic_s())
        finally:
            self._shut_down()
        return self._exit_code()

    def tick(self, now_s: float) -> None:
        """Look after the parts once."""
        if self._signals.reload_asked:
            self._signals.reload_asked = False
            self._read_settings_again()
        faults = [fault for fault in [thread.fault for thread in self._threads.values()] if fault is not None]
        self._pauses.look(faults, now_s)
        if faults:
            self._enter("paused", str(faults[0]), faults[0].reason)
        elif self._stop.since_s is None:
            self._enter("ready", "")
        broken = any(not thread.is_alive() for thread in self._threads.values())
        if broken or (self._drain and (faults or self._is_drained())):
            self._stop.since_s = self._stop.since_s or now_s
        self._ping(now_s)

    def _is_drained(self) -> bool:
        # Looked at first: what the intake has claimed by then is in the counts.
        if self.intake.settling != 0:
            return False
        counts = self._house.ledger.counts()
        busy = sum(counts[state] for state in (State.CLAIMING, State.PENDING, State.PROCESSING, State.TRANSCRIBED))
        due = self._house.ledger.notices.due(self._house.clock.now(), self._house.settings.retry.backoff_max_s)
        return not busy and due is None

    def _ping(self, now_s: float) -> None:
        interval_s = watchdog_interval_s()
        healthy = all(now_s - thread.beat_s < STALE_S for thread in self._threads.values())
        if interval_s is not None and healthy and now_s - self._pinged_s >= interval_s:
            self._pinged_s = now_s
            sd_notify("WATCHDOG=1")

    def _enter(self, phase: str, message: str, reason: str = "") -> None:
        """Tell other processes how the service fares; again and again until the disk takes it."""
        old = self._account
        account = ServiceState(
            pid=os.getpid(),
            phase=phase,
            message=message,
            started_at=self._started_at,
            reason=reason,
            parked=self.intake.parked,
            since_at=old.since_at if old is not None and old.phase == phase else self._now(),
        )
        if account != old:
            self._account, self._is_account_written = account, False
            sd_notify(f"STATUS={phase}{': ' + message if message else ''}")
        if not self._is_account_written:
            self._is_account_written = write_state(self._house.settings.state_dir, account)

    def _now(self) -> str:
        return self._house.clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")

    def _read_settings_again(self) -> None:
        try:
            fresh = self._reload()
            _see_to_model(fresh.engine)
        except CesarError as fault:
            log.error("The settings were not taken over; the old ones stay. %s", fault)
            return
        old = self._house.settings.spool
        fixed = {key: getattr(old, key) for key in ("root", "state_dir", "claim", "inbox")}
        self._house.settings = fresh.model_copy(update={"spool": fresh.spool.model_copy(update=fixed)})
        log.info("The settings were read again.")

    def _shut_down(self) -> None:
        self._stop.since_s = self._stop.since_s or self._house.clock.monotonic_s()
        sd_notify("STOPPING=1")
        self._enter("stopping", "finishing the running window")
        for wake in self._wakes.values():
            wake.set()
        until_s = self._house.clock.monotonic_s() + JOIN_S
        for thread in self._threads.values():
            if thread.ident is not None:
                thread.join(timeout=max(LEAST_JOIN_S, until_s - self._house.clock.monotonic_s()))
        late = [thread.name for thread in self._threads.values() if thread.is_alive()]
        self._enter("stopped", "")
        if late:
            # A thread may hang in the kernel on a dead share; what it holds is recovered at the next start.
            log.error("These parts did not end in time: %s.", ", ".join(late))
            os._exit(1)

    def _exit_code(self) -> int:
        crashed = any(thread.crash for thread in self._threads.values())
        fault = next((thread.fault for thread in self._threads.values() if thread.fault), None)
        if self._drain and fault is not None:
            raise fault
        return 1 if crashed or (self._drain and self.failed) else 0


def _see_to_model(settings: EngineSettings) -> None:
    """Have the model on disk, and say so in the log if there is too little memory for it.

    Raises:
        ModelError: It is not there, and can't be fetched.
    """
    warning = memory_warning(settings, require_model(settings))
    if warning:
        log.warning("%s", warning)
