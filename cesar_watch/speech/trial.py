"""Try a way to run a model on this machine: how fast it is, and how much memory it takes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.engines import make_engine
from cesar_watch.speech.measured import Figure
from cesar_watch.speech.memory import peak_bytes
from cesar_watch.speech.protocol import Failed, Finished, Heard, Loaded, Transcribe, request_for


def measure(
    settings: EngineSettings,
    model_path: Path,
    recording: Path,
    *,
    workers: int,
    threads: int,
    on_heard: Callable[[float], None] = lambda _: None,
) -> Figure:
    """Transcribe a recording with an engine process of its own, which is gone afterwards, and return what it came to.

    The time counts from when the model is loaded.

    Args:
        model_path: What `models.require_model(settings)` returned.
        on_heard: Takes how many seconds of the recording have been heard.

    Raises:
        CesarError: As `Engine.transcribe`, or the engine's own fault.
    """
    divided = {"workers": workers, "threads": threads, "isolation": "process"}
    engine = make_engine(settings.model_copy(update=divided), model_path)
    assert isinstance(engine, EngineProcess), "the settings say so"
    with contextlib.closing(engine):
        loaded, rtf = _run(engine, request_for(recording, settings.model_dump()), on_heard)
        assert engine.pid is not None, "it lives until it is closed"
        peak = peak_bytes(engine.pid)
    return Figure(
        model=settings.model,
        asked_device=settings.device,
        asked_compute_type=settings.compute_type,
        device=loaded.device,
        compute_type=loaded.compute_type,
        batch_size=settings.batch_size,
        cores=len(os.sched_getaffinity(0)),
        workers=workers,
        threads=threads,
        rtf=rtf,
        peak_bytes=peak,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def _run(engine: EngineProcess, request: Transcribe, on_heard: Callable[[float], None]) -> tuple[Loaded, float]:
    """Return what the model runs on, and its real-time factor."""
    loaded, began_s = None, 0.0
    for event in engine.transcribe(request, poll=lambda: None):
        match event:
            case Loaded():
                loaded, began_s = event, time.monotonic()
            case Heard():
                on_heard(event.heard_s)
            case Failed():
                raise event.error()
            case Finished() if loaded is not None:
                return loaded, (time.monotonic() - began_s) / event.duration_s
    raise AssertionError("an engine loads its model, and its last event is Finished or Failed")
