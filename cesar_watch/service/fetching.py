"""Fetch a model while the service lives on: it can take longer than the service manager's patience."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from cesar_watch.core.errors import ModelError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.models import needs_fetching, require_model

BEAT_S = 1.0


class Fetch(Protocol):
    """Sees that the model of an engine is there; as `fetched`."""

    def __call__(self, settings: EngineSettings, *, beat: Callable[[], None], is_ending: Callable[[], bool]) -> bool:
        """Return False where the stop came first."""
        ...


def nothing_to_fetch(settings: EngineSettings, *, beat: Callable[[], None], is_ending: Callable[[], bool]) -> bool:
    """Stand for `fetched` where engines need no model."""
    del settings, beat, is_ending
    return True


def fetched(settings: EngineSettings, *, beat: Callable[[], None], is_ending: Callable[[], bool]) -> bool:
    """Fetch the model if it has to be, in a thread of its own; return False where the stop came first.

    What came until then is kept.

    Args:
        beat: Called every second meanwhile.

    Raises:
        ModelError: As `models.require_model`.
    """
    if not _is_needed(settings):
        return True
    fetching = _begun(lambda: require_model(settings))
    while not is_ending():
        beat()
        with contextlib.suppress(TimeoutError):
            fetching.result(BEAT_S)
            return True
    return False


def _is_needed(settings: EngineSettings) -> bool:
    """Whether there is something to fetch; what else is wrong with a model is told when its engine is made."""
    try:
        return needs_fetching(settings)
    except ModelError:
        return False


def _begun(fetch: Callable[[], Path]) -> Future[Path]:
    """Begin to fetch in a thread that keeps nobody from ending."""
    future: Future[Path] = Future()

    def run() -> None:
        try:
            future.set_result(fetch())
        except Exception as fault:
            future.set_exception(fault)

    threading.Thread(target=run, name="fetching", daemon=True).start()
    return future
