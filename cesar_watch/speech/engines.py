"""Choose the engine: in a process of its own, or in the worker's thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

from cesar_watch.core.config import EngineSettings
from cesar_watch.core.errors import ModelError
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.protocol import Engine, Event, Failed, Loaded, Loading, Setup, Transcribe

if TYPE_CHECKING:
    from cesar_watch.speech.recognizer import Recognizer


def make_engine(settings: EngineSettings, model_path: Path) -> Engine:
    """Return the engine that the settings ask for, with nothing loaded or started yet.

    Args:
        model_path: What `models.require_model(settings)` returned.
    """
    setup = Setup(
        model_path=str(model_path),
        device=settings.device,
        compute_type=settings.compute_type,
        threads=settings.threads,
        nice=settings.nice,
        io_idle=settings.io_idle,
        memory_limit_bytes=settings.memory_limit_bytes,
    )
    if settings.isolation == "process":
        return EngineProcess(setup, idle_unload_s=settings.idle_unload_s)
    return ThreadEngine(setup, idle_unload_s=settings.idle_unload_s)


class ThreadEngine:
    """The engine in the thread that calls it: simpler, but nothing can stop it inside a window.

    Arguments as for `EngineProcess`.
    """

    def __init__(
        self, setup: Setup, *, idle_unload_s: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._setup = setup
        self._idle_unload_s = idle_unload_s
        self._clock = clock
        self._idle_since_s = clock()
        self._recognizer: Recognizer | None = None

    def transcribe(
        self, request: Transcribe, *, poll: Callable[[], None], poll_every_s: float = 0.5
    ) -> Generator[Event, None, None]:
        """Yield the request's events, the last of which is `Finished` or `Failed`.

        `poll` is called before each event, so once a window; `poll_every_s` can't be kept.
        """
        try:
            poll()
            if self._recognizer is None:
                yield Loading()
                began_s = self._clock()
                try:
                    self._recognizer = _load(self._setup)
                except ModelError as fault:
                    yield Failed.from_fault(fault)
                    return
                yield Loaded(
                    device=self._recognizer.device,
                    compute_type=self._recognizer.compute_type,
                    load_s=self._clock() - began_s,
                )
            yield from self._perform(request, self._recognizer, poll)
        finally:
            self._idle_since_s = self._clock()

    def unload_if_idle(self, now_s: float) -> bool:
        """Let go of the model if it has been idle for long enough; return whether it did."""
        if self._recognizer is None or not self._idle_unload_s or now_s - self._idle_since_s < self._idle_unload_s:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Let go of the model. Harmless when repeated."""
        self._recognizer = None

    @staticmethod
    def _perform(request: Transcribe, recognizer: Recognizer, poll: Callable[[], None]) -> Generator[Event, None, None]:
        from cesar_watch.speech.perform import perform  # noqa: PLC0415  (heavy: only when work begins)

        # Closed at once when `poll` raises: its decoder thread must not outlive the request.
        with contextlib.closing(perform(request, recognizer)) as events:
            for event in events:
                poll()
                yield event


def _load(setup: Setup) -> Recognizer:
    from cesar_watch.speech.recognizer import Recognizer  # noqa: PLC0415  (heavy: only when work begins)

    return Recognizer(setup)
