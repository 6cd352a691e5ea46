"""A worker: one job at a time, beside others that share its engine."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable
from functools import partial

from cesar_watch.core.errors import BadOverride, LeaseLost, ModelError, UsageError
from cesar_watch.core.job import Failure, Job, State
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.service import endings, recovery, retrying
from cesar_watch.service.attempt import Attempt, Stop
from cesar_watch.service.house import House
from cesar_watch.service.places import Places
from cesar_watch.service.taken_over import forget_taken_over
from cesar_watch.speech.protocol import Engine, Loaded

log = logging.getLogger(__name__)

IDLE_S = 1.0
"""How often the ledger is looked at for jobs whose time has come."""
HELD_UP_S = 0.2
"""The same, while a job waits for others to let go of the engine."""


class Worker:
    """Owned by its thread. `failed` and `completed` count jobs since the start.

    Args:
        places: Shared with the other workers.
        beat: Called whenever the worker shows life inside a long turn.
        going_on: Called when work has become durable inside a long turn, so that no earlier fault is in force.
        finished: Called after each attempt, when there may be notices to send.
        loaded: Takes what the engine says of a model that was loaded.
    """

    def __init__(
        self,
        house: House,
        *,
        stop: Stop,
        places: Places,
        name: str = "worker",
        beat: Callable[[], None] = lambda: None,
        going_on: Callable[[], None] = lambda: None,
        finished: Callable[[], None] = lambda: None,
        loaded: Callable[[Loaded], None] = lambda _: None,
    ) -> None:
        self._house = house
        self._stop = stop
        self._places = places
        self.name = name
        self._beat = beat
        self._going_on = going_on
        self._finished = finished
        self._loaded = loaded
        self._interrupted_lease: str | None = None
        self.completed = 0
        self.failed = 0

    def turn(self, now_s: float) -> float:
        """Work on the job that is next. Returns the seconds until the next turn is wanted.

        Raises:
            CesarError: A systemic fault: nothing can be worked on. No attempt was consumed.
        """
        house = self._house
        house.spool.check()
        if self._interrupted_lease is not None:
            self._pick_up(self._interrupted_lease)
        if self._stop.since_s is not None:
            return IDLE_S
        due = self._next_due()
        if due is None:
            self._places.unload_if_idle(now_s)
            return IDLE_S
        if due.error is not None and due.error.reason == BadOverride.reason:
            self._give_up(due, due.error)
            return 0.0
        try:
            return self._work_on(due)
        except ModelError as fault:
            own = retrying.as_own_fault(due, fault)
            if own is fault or self._interrupted_lease is not None:
                raise
            self._places.clear(due.job_id)
            self._carry_out(due, lambda job: retrying.fail_attempt(self._house, job, own))
            return 0.0

    def _next_due(self) -> Job | None:
        """Return the job that comes next: one that has to go on alone before all others."""
        ledger = self._house.ledger
        for job_id in sorted(self._places.suspects):
            with contextlib.suppress(UsageError):
                suspect = ledger.get(job_id)
                if suspect.state is State.PENDING and suspect.request is None:
                    return suspect
                if suspect.state is State.PROCESSING:
                    continue
            self._places.clear(job_id)
        due = ledger.next_due(self._house.clock.now(), self._house.settings.retry.backoff_max_s)
        if due is not None and due.interruptions > self._house.settings.retry.max_attempts:
            # Beside others it would be blamed for what one of them does, and may not even have a turn before the death.
            self._places.suspect(due.job_id)
        return due

    def _settings_for(self, job: Job) -> EngineSettings:
        """Return the engine that a job needs: the settings', with what was chosen for the recording."""
        chosen = {key: value for key, value in job.options["engine"].items() if key in retrying.MODEL_KEYS}
        return self._house.settings.engine.model_copy(update=chosen)

    def _work_on(self, due: Job) -> float:
        # Before the lease, since a missing model is nobody's attempt.
        settings = self._settings_for(due)
        if not self._places.are_ready(settings, beat=self._beat, is_ending=lambda: self._stop.since_s is not None):
            return IDLE_S
        with self._places.taken(self.name, due, settings) as engine:
            if engine is None:
                return HELD_UP_S
            self._carry_out(due, partial(self._attempt, engine))
        return 0.0

    def _attempt(self, engine: Engine, job: Job) -> Job:
        lost: list[Job] = []

        def suspect(one: Job) -> None:
            # At once: when it is queued again, another worker may lease it in that moment.
            self._places.suspect(one.job_id)
            lost.append(one)

        attempt = Attempt(
            self._house,
            engine,
            job,
            stop=self._stop,
            beat=self._beat,
            loaded=self._loaded,
            durable=self._durable,
            lost=suspect,
        )
        try:
            return attempt.run()
        finally:
            if not lost:
                self._places.clear(job.job_id)

    def _durable(self, job: Job) -> bool:
        """Take note of a window that has become durable; return whether another job is to have the place."""
        self._going_on()
        self._places.clear(job.job_id)
        self._places.works_on(self.name, job)
        due = self._house.ledger.next_due(self._house.clock.now(), self._house.settings.retry.backoff_max_s)
        return self._places.gives_way(job, due, self._settings_for(due) if due else None)

    def _carry_out(self, due: Job, work: Callable[[Job], Job]) -> None:
        """Lease a job and work on it, unless somebody else has it by now."""
        lease = f"{self._house.spool.instance}:{secrets.token_hex(4)}"
        # Before the commit, since an error may come behind it.
        self._interrupted_lease = lease
        with self._places.deciding:
            job = self._house.ledger.lease(due, lease, self._house.clock.now())
        if job is not None:
            self._ended(due, lambda: work(job))
        self._interrupted_lease = None

    def _give_up(self, due: Job, failure: Failure) -> None:
        """End a job that can't be worked on; nobody leases it meanwhile."""
        with self._places.deciding:
            if self._house.ledger.get(due.job_id) == due:
                self._ended(due, lambda: endings.give_up(self._house, due, failure))

    def _ended(self, job: Job, do: Callable[[], Job]) -> None:
        """Do something that may end a job, unless somebody else has it by now."""
        try:
            done = do()
        except LeaseLost as fault:
            log.warning("%s: %s", job.display_name, fault)
            forget_taken_over(self._house)
        else:
            self.completed += done.state is State.COMPLETED
            self.failed += done.state is State.FAILED
            self._finished()

    def _pick_up(self, lease: str) -> None:
        """Go on after a turn that a systemic fault broke off, if its cause is gone; hand back what it had leased.

        The proof comes first: else a full disk would cost a decoded window every few seconds.

        Raises:
            CesarError: The cause is still there; no job was touched.
        """
        self._places.close_engine()
        self._house.prove()
        recovery.recover_attempts(self._house, died=False, lease=lease)
        self._interrupted_lease = None

    def close(self) -> None:
        """Give the place up; the engine ends with the last one."""
        self._places.leave()
