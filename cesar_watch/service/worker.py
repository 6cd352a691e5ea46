"""The worker: one job at a time, and what people asked for in between."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable
from functools import partial

from cesar_watch.core.config import EngineSettings
from cesar_watch.core.errors import BadOverride, CesarError, LeaseLost, ModelError
from cesar_watch.core.job import Job, State
from cesar_watch.service import endings, recovery, retrying
from cesar_watch.service.attempt import Attempt, Stop
from cesar_watch.service.house import House
from cesar_watch.service.requests import carry_out_requests
from cesar_watch.service.taken_over import forget_taken_over
from cesar_watch.speech.engines import make_engine
from cesar_watch.speech.models import require_model
from cesar_watch.speech.protocol import Engine

log = logging.getLogger(__name__)

IDLE_S = 1.0
"""How often the ledger is looked at for requests of people while there is nothing else to do."""

EngineMaker = Callable[[EngineSettings], Engine]


def engine_on_disk(settings: EngineSettings) -> Engine:
    """Return the engine for a model that is there, or can be fetched.

    Raises:
        ModelError: It is not there; nothing was started.
    """
    return make_engine(settings, require_model(settings))


class Worker:
    """Owned by the worker thread. `failed` and `completed` count jobs since the start.

    Args:
        beat: Called whenever the worker shows life inside a long turn.
        going_on: Called when work has become durable inside a long turn, so that no earlier fault is in force.
        finished: Called after each attempt, when there may be notices to send.
    """

    name = "worker"

    def __init__(
        self,
        house: House,
        *,
        stop: Stop,
        beat: Callable[[], None] = lambda: None,
        going_on: Callable[[], None] = lambda: None,
        finished: Callable[[], None] = lambda: None,
        maker: EngineMaker = engine_on_disk,
    ) -> None:
        self._house = house
        self._stop = stop
        self._beat = beat
        self._going_on = going_on
        self._finished = finished
        self._maker = maker
        self._engine: Engine | None = None
        self._engine_settings: EngineSettings | None = None
        self._interrupted = False
        self.completed = 0
        self.failed = 0

    def turn(self, now_s: float) -> float:
        """Do what is due: requests, then one job. Returns the seconds until the next turn is wanted.

        Raises:
            CesarError: A systemic fault: nothing can be worked on. No attempt was consumed.
        """
        house = self._house
        house.spool.check()
        # Even in a pause: to delete something may be what ends it.
        carry_out_requests(house)
        if self._interrupted:
            self._pick_up()
        if self._stop.since_s is not None:
            return IDLE_S
        longest_wait_s = house.settings.retry.backoff_max_s
        due = house.ledger.next_due(house.clock.now(), longest_wait_s)
        if due is None:
            if self._engine is not None:
                self._engine.unload_if_idle(now_s)
            return IDLE_S
        if due.error is not None and due.error.reason == BadOverride.reason:
            self._carry_out(due, partial(endings.give_up, house, due, due.error))
            return 0.0
        if due.chosen_by(retrying.MODEL_KEYS) is None:
            # Before the lease, since a missing model is nobody's attempt.
            self._engine_for(due)
        # Before the lease, since an error may come behind its commit.
        self._interrupted = True
        lease = f"{house.spool.instance}:{secrets.token_hex(4)}"
        job = house.ledger.lease_next(lease, house.clock.now(), longest_wait_s)
        if job is not None:
            self._carry_out(job, partial(self._attempt, job))
        self._interrupted = False
        return 0.0

    def _pick_up(self) -> None:
        """Go on after a turn that a systemic fault broke off, if its cause is gone; hand back what it had leased.

        The proof comes first: else a full disk would cost a decoded window every few seconds.

        Raises:
            CesarError: The cause is still there; no job was touched.
        """
        self.close()  # the next engine has to find its model again
        self._house.prove()
        recovery.recover_attempts(self._house, died=False)
        self._interrupted = False

    def _carry_out(self, job: Job, do: Callable[[], Job]) -> None:
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

    def _attempt(self, job: Job) -> Job:
        try:
            engine = self._engine_for(job)
        except ModelError as fault:
            own = retrying.as_own_fault(job, fault)
            if own is fault:
                raise
            return retrying.fail_attempt(self._house, job, own)
        return Attempt(self._house, engine, job, stop=self._stop, beat=self._beat, going_on=self._going_on).run()

    def _engine_for(self, job: Job) -> Engine:
        """Return the engine with the job's model, in place of one with another model."""
        chosen = {key: value for key, value in job.options["engine"].items() if key in retrying.MODEL_KEYS}
        settings = self._house.settings.engine.model_copy(update=chosen)
        if self._engine is None or settings != self._engine_settings:
            self.close()
            self._engine = self._maker(settings)
            self._engine_settings = settings
        return self._engine

    def close(self) -> None:
        """End the engine."""
        if self._engine is not None:
            with contextlib.suppress(CesarError):
                self._engine.close()
            self._engine = None
