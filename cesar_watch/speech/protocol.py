"""What service and engine say to each other, one JSON object a line: messages one way, events the other.

Several recordings may be in work at once; each line says by number which one it is about. The engine begins no further
window while `workers` windows, of all recordings together, are begun and not known to be durable, so that a death,
however slow the disk, costs no more than those. Each window is therefore answered with `Durable`, or its recording
dropped. The same values pass in memory when the engine runs in the service's own process. Nothing here is heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import Field, ValidationInfo, field_serializer, field_validator

from cesar_watch.core.errors import AttemptError, CesarError, Kind, ModelError, RecordingError
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Value, Window

CONCLUDED = "concluded"
"""The reason of a failure that the service itself has asked for: the other windows are for another attempt."""
SAMPLE_RATE = 16_000
"""Samples a second of every sound inside this room: float32, -1 to 1."""


class Setup(Value):
    """Which model an engine loads, and how it runs; fixed for the engine's life.

    `workers` windows are worked on at once, with `threads` CPU threads each. The last three are for an engine in a
    process of its own: see `confine`.
    """

    model_path: str
    device: str = "auto"
    compute_type: str = "default"
    workers: int = 1
    threads: int = 1
    nice: int = 0
    io_idle: bool = False
    memory_limit_bytes: int = 0


class Transcribe(Value):
    """Ask for the windows of one recording, from `start_sample` (16 kHz) on, without those in `done`.

    `options` are the job's; those that say where the engine runs are not looked at. When an attempt resumes, `done_s`
    tells how much is durable, `language` is the one that was detected, which is kept, and `context` the text before the
    first window. `priority` and `seq`, the number of the claim, tell who goes first (`core.job.precedence`).
    """

    type: Literal["transcribe"] = "transcribe"
    path: str
    options: EngineSettings
    first_index: int = 0
    start_sample: int = 0
    done: tuple[int, ...] = ()
    done_s: float = 0.0
    language: str | None = None
    context: str = ""
    priority: int = 0
    seq: int = 0

    @field_serializer("path", when_used="json")
    def _spell(self, path: str) -> str:
        """Names are bytes, which JSON can't spell where they are not UTF-8."""
        return quote_from_bytes(os.fsencode(path))

    @field_validator("path")
    @classmethod
    def _read(cls, path: str, info: ValidationInfo) -> str:
        return os.fsdecode(unquote_to_bytes(path)) if info.mode == "json" else path


class Durable(Value):
    """The window with this index can't be lost any more."""

    type: Literal["durable"] = "durable"
    index: int


class Conclude(Value):
    """Begin no further window of the recording: when those in flight have been sent, answer with `Failed`.

    The answer is `Finished` where none is left.
    """

    type: Literal["conclude"] = "conclude"


class Drop(Value):
    """Nobody wants further windows: end the work on the recording at once, and answer with `Failed`."""

    type: Literal["drop"] = "drop"


Message = Transcribe | Durable | Conclude | Drop


class Loading(Value):
    """The model is being loaded; comes once in an engine's life."""

    type: Literal["loading"] = "loading"


class Loaded(Value):
    """The model is ready, and what it runs on in fact; `fallback` says why that is not what was tried first."""

    type: Literal["loaded"] = "loaded"
    device: str
    compute_type: str
    load_s: float
    fallback: str | None = None


class Started(Value):
    """The recording is open.

    `declared_s` is the length its header promises, if it can be trusted; `expected_s` the same, or else a guess.
    """

    type: Literal["started"] = "started"
    declared_s: float | None
    expected_s: float | None


class Heard(Value):
    """So many seconds of what was asked for have gone through the model, durable or not."""

    type: Literal["heard"] = "heard"
    heard_s: float


class WindowDone(Value):
    """A window, in any order. `Durable` answers it."""

    type: Literal["window"] = "window"
    window: Window


class Finished(Value):
    """All windows have been sent. Nothing follows."""

    type: Literal["finished"] = "finished"
    duration_s: float
    declared_s: float | None
    skipped_packets: int


_NO_MEMORY = ("failed to allocate memory", "std::bad_alloc")
"""How errors of CTranslate2's allocators and of ONNX Runtime end that have no type of their own."""


def is_out_of_memory(fault: Exception) -> bool:
    """Whether an exception says that there was no more memory."""
    return isinstance(fault, MemoryError) or (
        not isinstance(fault, (CesarError, OSError)) and str(fault).endswith(_NO_MEMORY)
    )


class Failed(Value):
    """The request failed; windows sent before stay good. Nothing follows."""

    type: Literal["failed"] = "failed"
    kind: Kind
    reason: str
    message: str

    @classmethod
    def from_fault(cls, fault: Exception) -> Failed:
        """Return the message for an exception; one that isn't ours counts against the attempt only."""
        if isinstance(fault, CesarError):
            # It may name a recording whose name is not UTF-8.
            message = str(fault).encode("utf-8", "replace").decode()
            return cls(kind=fault.kind, reason=fault.reason, message=message)
        if is_out_of_memory(fault):
            message = "The engine ran out of memory: use a smaller model or a shorter engine.window_s."
            return cls(kind=Kind.TRANSIENT, reason="out_of_memory", message=message)
        message = f"The engine failed ({type(fault).__name__}: {fault}). It is tried again with a fresh engine."
        return cls(kind=Kind.TRANSIENT, reason="engine_failed", message=message)

    @classmethod
    def concluded(cls) -> Failed:
        """Return the answer to `Conclude`."""
        return cls(kind=Kind.TRANSIENT, reason=CONCLUDED, message="The rest of the recording is left for later.")

    @classmethod
    def dropped(cls) -> Failed:
        """Return the answer to `Drop`."""
        return cls(kind=Kind.TRANSIENT, reason="dropped", message="Nobody wanted the recording's windows any more.")

    def error(self) -> CesarError:
        """Return the error to raise on the service's side."""
        kinds: dict[Kind, type[CesarError]] = {
            Kind.PERMANENT: RecordingError,
            Kind.TRANSIENT: AttemptError,
            Kind.SYSTEMIC: ModelError,
        }
        return kinds[self.kind](self.message, reason=self.reason)


Event = Loading | Loaded | Started | Heard | WindowDone | Finished | Failed


class Order(Value):
    """A message about the recording with this number."""

    number: int
    message: Annotated[Message, Field(discriminator="type")]


class Report(Value):
    """An event of the recording with this number; 0 where it is about the engine itself."""

    number: int
    event: Annotated[Event, Field(discriminator="type")]


def encode(line: Order | Report) -> bytes:
    """Return the line that says this, newline included."""
    return line.model_dump_json().encode() + b"\n"


def request_for(
    source: Path, options: Mapping[str, Any], *, windows: Iterable[Window] = (), priority: int = 0, seq: int = 0
) -> Transcribe:
    """Return the request for a recording with a job's stored engine options.

    Keys that this version does not know are left out: a job may be older than the program.

    Args:
        windows: Those that are durable, by their index; gone through once.
    """
    known = {key: value for key, value in options.items() if key in EngineSettings.model_fields}
    last: Window | None = None
    first_index, done_s = 0, 0.0
    done: list[int] = []
    language: str | None = None
    for window in windows:
        if window.index == first_index:
            last, first_index = window, first_index + 1
        else:
            done.append(window.index)
        done_s += window.end_s - window.start_s
        language = language or window.language
    return Transcribe(
        path=str(source.absolute()),
        options=EngineSettings.model_validate(known),
        first_index=first_index,
        start_sample=round(last.end_s * SAMPLE_RATE) if last else 0,
        done=tuple(done),
        done_s=done_s,
        language=language,
        context=last.text if last else "",
        priority=priority,
        seq=seq,
    )


class Engine(Protocol):
    """Something that turns requests into events. Any thread may use it; several may at once."""

    def transcribe(
        self,
        request: Transcribe,
        *,
        poll: Callable[[], None],
        poll_every_s: float = 0.5,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> Generator[Event, None, None]:
        """Yield the request's events, the last of which is `Finished` or `Failed`.

        Whoever asks for the next event says by that that the window before is durable.

        Args:
            poll: Called now and then while waiting. It may raise to interrupt: the work is ended
                before the exception goes on, and the engine can be used again.
            poll_every_s: The longest time between two calls.
            is_ending: Once it is true, no further window is begun; when those in flight have come, the last event is
                `Failed.concluded()`, unless all have come.

        Raises:
            AttemptError: The engine died in mid-work: over this recording (reason `engine_crashed`), or while it
                worked on others too (`EngineLost`).
        """
        ...

    def unload_if_idle(self, now_s: float) -> bool:
        """Let go of the model if it has been idle for `engine.idle_unload_s`; return whether it did."""
        ...

    def close(self) -> None:
        """Let go of everything; harmless when repeated. The next request starts afresh."""
        ...
