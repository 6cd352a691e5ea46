"""Choose the engine: in a process of its own, or in threads of the service's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cesar_watch.core.errors import ModelError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.calls import Calls, converse, drop
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.measured import Figure
from cesar_watch.speech.memory import workers_that_fit
from cesar_watch.speech.parallel import plan
from cesar_watch.speech.protocol import Engine, Event, Failed, Loaded, Loading, Setup, Transcribe

if TYPE_CHECKING:
    from cesar_watch.speech.scheduler import Scheduler


def make_engine(settings: EngineSettings, model_path: Path, measured: Iterable[Figure] = ()) -> Engine:
    """Return the engine that the settings ask for, with nothing loaded or started yet.

    Args:
        model_path: What `models.require_model(settings)` returned.
        measured: What is known of this machine.
    """
    workers, threads = division(settings, model_path, measured)
    setup = Setup(
        model_path=str(model_path),
        device=settings.device,
        compute_type=settings.compute_type,
        workers=workers,
        threads=threads,
        nice=settings.nice,
        io_idle=settings.io_idle,
        memory_limit_bytes=settings.memory_limit_bytes,
    )
    if settings.isolation == "process":
        return EngineProcess(setup, idle_unload_s=settings.idle_unload_s)
    return ThreadEngine(setup, idle_unload_s=settings.idle_unload_s)


def division(settings: EngineSettings, model_path: Path, measured: Iterable[Figure] = ()) -> tuple[int, int]:
    """Return how many windows an engine of these settings works on at once, and how many threads on each.

    Arguments as for `make_engine`. What the settings leave open is no more than memory allows.
    """
    workers, threads = plan(settings, measured)
    fitting = settings.workers or workers_that_fit(settings, model_path, workers)
    if fitting < workers:
        return plan(settings.model_copy(update={"workers": fitting}), measured)
    return workers, threads


class ThreadEngine:
    """The engine in threads of the process that uses it: simpler, but nothing can stop it inside of 30 s of sound.

    Arguments as for `EngineProcess`.
    """

    def __init__(
        self, setup: Setup, *, idle_unload_s: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._setup = setup
        self._idle_unload_s = idle_unload_s
        self._clock = clock
        self._idle_since_s = clock()
        self._lock = threading.Lock()
        self._calls = Calls()
        self._scheduler: Scheduler | None = None

    def transcribe(
        self,
        request: Transcribe,
        *,
        poll: Callable[[], None],
        poll_every_s: float = 0.5,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> Generator[Event, None, None]:
        """Yield the request's events, the last of which is `Finished` or `Failed`."""
        poll()
        with self._lock:
            if self._scheduler is None:
                yield Loading()
                try:
                    yield self._load()
                except ModelError as fault:
                    yield Failed.from_fault(fault)
                    return
            scheduler, call = self._scheduler, self._calls.begin()
        assert scheduler is not None
        assert call is not None, "an engine in threads is never gone"
        try:
            yield from converse(
                call, request, scheduler.take, poll=poll, poll_every_s=poll_every_s, is_ending=is_ending
            )
        finally:
            drop(call, scheduler.take, threading.TIMEOUT_MAX)
            self._calls.end(call)
            self._idle_since_s = self._clock()

    def unload_if_idle(self, now_s: float) -> bool:
        """Let go of the model if it has been idle for long enough; return whether it did."""
        with self._lock:
            if self._scheduler is None or self._calls or not self._idle_unload_s:
                return False
            if now_s - self._idle_since_s < self._idle_unload_s:
                return False
            # Before anybody can ask it for something.
            scheduler, self._scheduler = self._scheduler, None
        scheduler.close()
        return True

    def close(self) -> None:
        """Let go of the model. Harmless when repeated."""
        with self._lock:
            scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.close()

    def _load(self) -> Loaded:
        began_s = self._clock()
        from cesar_watch.speech.recognizer import Recognizer  # noqa: PLC0415  (heavy: only when work begins)
        from cesar_watch.speech.scheduler import Scheduler  # noqa: PLC0415

        recognizer = Recognizer(self._setup)
        self._scheduler = Scheduler(recognizer, self._setup.workers, self._calls.deliver)
        return recognizer.told_loaded(self._clock() - began_s)
