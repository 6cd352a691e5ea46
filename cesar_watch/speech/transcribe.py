"""One attempt at one recording: engine in front, checkpoint behind, a whole transcript or a typed error.

This is what the worker calls. It owns no thread, no clock and no ledger.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cesar_watch.core.errors import RecordingError
from cesar_watch.core.transcript import Transcript
from cesar_watch.speech.checkpoint import Checkpoint
from cesar_watch.speech.protocol import (
    Engine,
    Event,
    Failed,
    Finished,
    Started,
    Transcribe,
    WindowDone,
    request_for,
)
from cesar_watch.speech.quality import missing_s


@dataclass(frozen=True)
class Progress:
    """How far an attempt has come: `done_s` of the recording are durable, in `windows` windows.

    `declared_s` is the recording's length if its header can be trusted.
    """

    done_s: float
    declared_s: float | None
    windows: int


def transcribe(
    engine: Engine,
    source: Path,
    checkpoint: Checkpoint,
    options: Mapping[str, Any],
    *,
    accept_short: bool = False,
    on_progress: Callable[[Progress], None],
    poll: Callable[[], None],
) -> Transcript:
    """Return the recording's transcript, durable in the checkpoint.

    A finished checkpoint is returned without touching the recording; otherwise work begins behind the
    last durable window, and each further window is durable before it is reported.

    Args:
        options: The engine options stored on the job.
        accept_short: Take what can be decoded of a recording that is shorter than it declares.
        on_progress: Called when the recording is open and after each window.
        poll: Called twice a second while waiting; may raise to interrupt, and what it raises comes out.

    Raises:
        RecordingError: This recording can't be transcribed (`not_media`, `truncated` ...).
        AttemptError: Another attempt may succeed (`engine_crashed`, `source_unreadable` ...).
        ModelError: The model can't be loaded.
        OSError: The checkpoint can't be written; open it anew.

    Whatever is raised, the durable windows stay for the next attempt.
    """
    if checkpoint.transcript is not None:
        return checkpoint.transcript
    request = _next_request(source, checkpoint, options)
    declared_s: float | None = None
    with contextlib.closing(engine.transcribe(request, poll=poll)) as events:
        for event in events:
            if isinstance(event, Finished):
                if not accept_short and missing_s(event.duration_s, event.declared_s):
                    raise _truncated(source, event)
                return checkpoint.finish(**event.model_dump(exclude={"type"}))
            if isinstance(event, Started):
                declared_s = event.declared_s
            if _advance(checkpoint, event):
                on_progress(_progress(checkpoint, declared_s))
    raise AssertionError("an engine's last event is Finished or Failed")


def _next_request(source: Path, checkpoint: Checkpoint, options: Mapping[str, Any]) -> Transcribe:
    windows = checkpoint.windows
    return request_for(
        source,
        options,
        first_index=len(windows),
        start_s=windows[-1].end_s if windows else 0.0,
        language=next((window.language for window in windows if window.language), None),
    )


def _advance(checkpoint: Checkpoint, event: Event) -> bool:
    """Take in one event; return whether there is progress to report."""
    if isinstance(event, Failed):
        raise event.error()
    if isinstance(event, WindowDone):
        checkpoint.append(event.window)
    return isinstance(event, Started | WindowDone)


def _progress(checkpoint: Checkpoint, declared_s: float | None) -> Progress:
    windows = checkpoint.windows
    return Progress(done_s=windows[-1].end_s if windows else 0.0, declared_s=declared_s, windows=len(windows))


def _truncated(source: Path, end: Finished) -> RecordingError:
    return RecordingError(
        f"{source.name} should be {end.declared_s:.1f} s long, but only {end.duration_s:.1f} s of it can be "
        "decoded: its copy may have been broken off, or it is damaged. Drop the whole recording; or set "
        'spool.short = "transcribe" and retry this one.',
        reason="truncated",
    )
