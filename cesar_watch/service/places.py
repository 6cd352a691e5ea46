"""Who works on what: the places of the workers, the engine that they share, and who has to give way to whom.

A recording never waits for another one to end when it comes before it (`core.job.precedence`): a worker whose recording
is last gives its place up at the next durable window. What an engine died over, nobody knows while several recordings
were in work; so each of them then goes on alone until it has a durable window, and what kills an engine is found. So
does each that was in work when the service died, too many times in a row.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator

from cesar_watch.core.errors import CesarError
from cesar_watch.core.job import Job
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.service.fetching import Fetch, nothing_to_fetch
from cesar_watch.speech.engines import make_engine
from cesar_watch.speech.measured import Figure
from cesar_watch.speech.models import require_model
from cesar_watch.speech.protocol import Engine

EngineMaker = Callable[[EngineSettings], Engine]


def engine_on_disk(settings: EngineSettings, measured: Iterable[Figure] = ()) -> Engine:
    """Return the engine for a model that is there, or can be fetched.

    Args:
        measured: What is known of this machine.

    Raises:
        ModelError: It is not there; nothing was started.
    """
    return make_engine(settings, require_model(settings), measured)


class Places:
    """As many places as there are workers; any thread may use it.

    Args:
        maker: Returns the engine for settings, or raises ModelError.
        number: How many workers there are.
        fetch: Brings the model of settings to this machine, before its engine is made.
    """

    def __init__(self, maker: EngineMaker, number: int = 1, *, fetch: Fetch = nothing_to_fetch) -> None:
        self._maker = maker
        self._fetch = fetch
        self.number = number
        self._left = 0
        self._lock = threading.RLock()
        self._working: dict[str, Job] = {}
        self._suspects: set[str] = set()
        self._engine: Engine | None = None
        self._settings: EngineSettings | None = None
        self.deciding = threading.Lock()
        """Held while a job that nobody works on is leased, ended or changed: each has one who does it."""

    @property
    def suspects(self) -> set[str]:
        """The ids of the jobs that go on alone; one of them at a time, and nobody else."""
        with self._lock:
            return set(self._suspects)

    def are_ready(self, settings: EngineSettings, *, beat: Callable[[], None], is_ending: Callable[[], bool]) -> bool:
        """See that the model is there, which may take long; return False where the stop came first.

        Args:
            beat: Called now and then meanwhile.

        Raises:
            ModelError: It can't be had.
        """
        with self._lock:
            is_there = self._engine is not None and settings == self._settings
        return is_there or self._fetch(settings, beat=beat, is_ending=is_ending)

    @contextlib.contextmanager
    def taken(self, worker: str, job: Job, settings: EngineSettings) -> Iterator[Engine | None]:
        """Hold a place for a job that is about to be leased; None where it can't begin now.

        That is so while others work with another model, or while a suspect has to be alone.

        Raises:
            ModelError: There is no engine for these settings; nobody has one then.
        """
        with self._lock:
            engine = self._engine_for(settings) if self._may_begin(settings) else None
            if engine is not None:
                self._working[worker] = job
        try:
            yield engine
        finally:
            with self._lock:
                self._working.pop(worker, None)

    def works_on(self, worker: str, job: Job) -> None:
        """Note how a worker's job stands now."""
        with self._lock:
            self._working[worker] = job

    def _may_begin(self, settings: EngineSettings) -> bool:
        return not self._working or (settings == self._settings and not self._suspects)

    def _engine_for(self, settings: EngineSettings) -> Engine:
        if self._engine is None or settings != self._settings:
            self.close_engine()
            self._engine = self._maker(settings)
            self._settings = settings
        return self._engine

    def gives_way(self, job: Job, due: Job | None, settings: EngineSettings | None) -> bool:
        """Whether the worker on `job` is the one to end, so that `due`, the next in order, can begin.

        Args:
            settings: The engine that `due` needs.
        """
        with self._lock:
            if self._suspects:
                return True
            if due is None or not _comes_before(due, job):
                return False
            others = self._working.values()
            is_last = all(other.precedence <= job.precedence for other in others)
            # Where one of those at work does not come after `due`, it is no longer than that, and ends soon.
            is_shut_out = len(others) >= self.number and all(_comes_before(due, other) for other in others)
            return is_last and (is_shut_out or settings != self._settings)

    def suspect(self, job_id: str) -> None:
        """Note that the engine, or the service, may have died over a job."""
        with self._lock:
            self._suspects.add(job_id)

    def clear(self, job_id: str) -> None:
        """Note that a job has shown that it does no harm, or is of no interest any more."""
        with self._lock:
            self._suspects.discard(job_id)

    def unload_if_idle(self, now_s: float) -> None:
        """Let the engine go if nobody has used it for long."""
        with self._lock:
            if self._engine is not None and not self._working:
                self._engine.unload_if_idle(now_s)

    def close_engine(self) -> None:
        """End the engine if nobody works with it: the next one has to find its model again."""
        with self._lock:
            if self._engine is not None and not self._working:
                with contextlib.suppress(CesarError):
                    self._engine.close()
                self._engine = None

    def leave(self) -> None:
        """Give a place up for good; with the last one the engine ends."""
        with self._lock:
            self._left += 1
            if self._left == self.number:
                self.close_engine()


def _comes_before(one: Job, other: Job) -> bool:
    """Whether a job comes before another one by more than the order of their claims."""
    return one.precedence[:2] < other.precedence[:2]
