"""One attempt at one recording: engine in front, checkpoint behind, a whole transcript or a typed error.

This is what the worker calls. It owns no thread, no clock and no ledger.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cesar_watch.core.errors import RecordingError
from cesar_watch.core.transcript import Transcript
from cesar_watch.speech.checkpoint import Checkpoint
from cesar_watch.speech.protocol import (
    Engine,
    Failed,
    Finished,
    Heard,
    Loaded,
    Loading,
    Started,
    WindowDone,
    request_for,
)
from cesar_watch.speech.quality import missing_s


@dataclass(frozen=True)
class Progress:
    """How far an attempt has come: `done_s` of the recording are durable, in `windows` windows.

    `heard_s` has gone through the model, durable or not. `declared_s` is the recording's length if its header can be
    trusted; `expected_s` the same, or else a guess.
    """

    done_s: float
    heard_s: float
    declared_s: float | None
    windows: int
    expected_s: float | None = None


def transcribe(
    engine: Engine,
    source: Path,
    checkpoint: Checkpoint,
    options: Mapping[str, Any],
    *,
    accept_short: bool = False,
    priority: int = 0,
    seq: int = 0,
    on_progress: Callable[[Progress], None],
    on_loaded: Callable[[Loaded], None] = lambda _: None,
    poll: Callable[[], None],
    is_ending: Callable[[], bool] = lambda: False,
) -> Transcript:
    """Return the recording's transcript, durable in the checkpoint.

    A finished checkpoint is returned without touching the recording; otherwise only windows that are not durable yet
    are worked on, and each is durable before it is reported.

    Args:
        options: The engine options stored on the job.
        accept_short: Take what can be decoded of a recording that is shorter than it declares.
        priority, seq: The job's place among others (`core.job.precedence`).
        on_progress: Called when the recording is open, after each window, and now and then inside of one.
        on_loaded: Called where the model was loaded for this.
        poll: Called twice a second while waiting; may raise to interrupt, and what it raises comes out.
        is_ending: Once it is true, no further window is begun, and those in flight are waited for.

    Raises:
        RecordingError: This recording can't be transcribed (`not_media`, `truncated` ...).
        AttemptError: Another attempt may succeed (`engine_crashed`, `source_unreadable` ...); or goes on (`concluded`).
        ModelError: The model can't be loaded.
        OSError: The checkpoint can't be written; open it anew.

    Whatever is raised, the durable windows stay for the next attempt.
    """
    if checkpoint.transcript is not None:
        return checkpoint.transcript
    request = request_for(source, options, windows=checkpoint.windows, priority=priority, seq=seq)
    progress = Progress(request.done_s, request.done_s, None, len(checkpoint.windows))
    events = engine.transcribe(request, poll=poll, is_ending=is_ending)
    with contextlib.closing(events):
        for event in events:
            match event:
                case Finished():
                    if not accept_short and missing_s(event.duration_s, event.declared_s):
                        raise _truncated(source, event)
                    return checkpoint.finish(**event.model_dump(exclude={"type"}))
                case Failed():
                    raise event.error()
                case Loading():
                    continue
                case Loaded():
                    on_loaded(event)
                    continue
                case WindowDone():
                    checkpoint.append(event.window)
            progress = _further(progress, request.done_s, event)
            on_progress(progress)
    raise AssertionError("an engine's last event is Finished or Failed")


def _further(before: Progress, done_before_s: float, event: Started | Heard | WindowDone) -> Progress:
    """Return the progress after an event; `done_before_s` was durable when the attempt began."""
    if isinstance(event, Started):
        return replace(before, declared_s=event.declared_s, expected_s=event.expected_s)
    if isinstance(event, Heard):
        return replace(before, heard_s=done_before_s + event.heard_s)
    done_s = before.done_s + event.window.end_s - event.window.start_s
    return replace(before, done_s=done_s, heard_s=max(before.heard_s, done_s), windows=before.windows + 1)


def _truncated(source: Path, end: Finished) -> RecordingError:
    return RecordingError(
        f"{source.name} should be {end.declared_s:.1f} s long, but only {end.duration_s:.1f} s of it can be "
        "decoded: its copy may have been broken off, or it is damaged. Drop the whole recording; or set "
        'spool.short = "transcribe" and retry this one.',
        reason="truncated",
    )
