"""What service and engine say to each other: one request, then events; one JSON object a line.

After each window the engine waits for the service to say that it is durable, so that a death, however slow the
disk, costs one window at most. The same values pass in memory when the engine runs in a thread. Nothing here is heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import Field, TypeAdapter, ValidationInfo, field_serializer, field_validator

from cesar_watch.core.config import EngineSettings
from cesar_watch.core.errors import AttemptError, CesarError, Kind, ModelError, RecordingError
from cesar_watch.core.transcript import Value, Window

SAMPLE_RATE = 16_000
"""Samples a second of every sound inside this room: float32, mono, -1 to 1."""


GO_ON = b"\n"
"""The line by which the service asks for the next window: the one before is durable."""


class Setup(Value):
    """Which model an engine loads, and how it runs; fixed for the engine's life. `threads` 0: as many as cores.

    The last three are for an engine in a process of its own: see `confine`.
    """

    model_path: str
    device: str = "auto"
    compute_type: str = "default"
    threads: int = 0
    nice: int = 0
    io_idle: bool = False
    memory_limit_bytes: int = 0


class Transcribe(Value):
    """Ask for the windows of one recording, from `start_sample` (16 kHz) on.

    `language` is the one already detected, when the attempt resumes; it is kept. `options` are the
    job's; those that say where the engine runs are not looked at.
    """

    path: str
    options: EngineSettings
    first_index: int = 0
    start_sample: int = 0
    language: str | None = None

    @field_serializer("path", when_used="json")
    def _spell(self, path: str) -> str:
        """Names are bytes, which JSON can't spell where they are not UTF-8."""
        return quote_from_bytes(os.fsencode(path))

    @field_validator("path")
    @classmethod
    def _read(cls, path: str, info: ValidationInfo) -> str:
        return os.fsdecode(unquote_to_bytes(path)) if info.mode == "json" else path


class Loading(Value):
    """The model is being loaded; comes once in an engine's life."""

    type: Literal["loading"] = "loading"


class Loaded(Value):
    """The model is ready, and what it runs on in fact."""

    type: Literal["loaded"] = "loaded"
    device: str
    compute_type: str
    load_s: float


class Started(Value):
    """The recording is open; `declared_s` is the length its header promises, if it can be trusted."""

    type: Literal["started"] = "started"
    declared_s: float | None


class WindowDone(Value):
    """The next window in order; `decoded_s` tells how far the decoder has read ahead. `GO_ON` answers it."""

    type: Literal["window"] = "window"
    window: Window
    decoded_s: float


class Finished(Value):
    """All windows have been sent. Nothing follows."""

    type: Literal["finished"] = "finished"
    duration_s: float
    declared_s: float | None
    skipped_packets: int


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
        if isinstance(fault, MemoryError):
            message = "The engine ran out of memory: use a smaller model or a shorter engine.window_s."
            return cls(kind=Kind.TRANSIENT, reason="out_of_memory", message=message)
        message = f"The engine failed ({type(fault).__name__}: {fault}). It is tried again with a fresh engine."
        return cls(kind=Kind.TRANSIENT, reason="engine_failed", message=message)

    def error(self) -> CesarError:
        """Return the error to raise on the service's side."""
        kinds: dict[Kind, type[CesarError]] = {
            Kind.PERMANENT: RecordingError,
            Kind.TRANSIENT: AttemptError,
            Kind.SYSTEMIC: ModelError,
        }
        return kinds[self.kind](self.message, reason=self.reason)


Event = Loading | Loaded | Started | WindowDone | Finished | Failed

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def encode(message: Value) -> bytes:
    """Return the message's line, newline included."""
    return message.model_dump_json().encode() + b"\n"


def decode_event(line: bytes) -> Event:
    """Return the event on a line.

    Raises:
        pydantic.ValidationError: It is not one of our events.
    """
    return _EVENT.validate_json(line)


def decode_request(line: bytes) -> Transcribe:
    """Return the request on a line.

    Raises:
        pydantic.ValidationError: It is not one of our requests.
    """
    return Transcribe.model_validate_json(line)


def request_for(
    source: Path,
    options: Mapping[str, Any],
    *,
    first_index: int = 0,
    start_s: float = 0.0,
    language: str | None = None,
) -> Transcribe:
    """Return the request for a recording with a job's stored engine options.

    Keys that this version does not know are left out: a job may be older than the program.
    """
    known = {key: value for key, value in options.items() if key in EngineSettings.model_fields}
    return Transcribe(
        path=str(source.absolute()),
        options=EngineSettings.model_validate(known),
        first_index=first_index,
        start_sample=round(start_s * SAMPLE_RATE),
        language=language,
    )


class Engine(Protocol):
    """Something that turns requests into events. Owned by one worker thread."""

    def transcribe(
        self, request: Transcribe, *, poll: Callable[[], None], poll_every_s: float = 0.5
    ) -> Generator[Event, None, None]:
        """Yield the request's events, the last of which is `Finished` or `Failed`.

        Args:
            poll: Called now and then while waiting. It may raise to interrupt: the work is ended
                before the exception goes on, and the engine can be used again.
            poll_every_s: The longest time between two calls, where the engine can keep to it.

        Raises:
            AttemptError: The engine died in mid-work (reason `engine_crashed`).
        """
        ...

    def unload_if_idle(self, now_s: float) -> bool:
        """Let go of the model if it has been idle for `engine.idle_unload_s`; return whether it did."""
        ...

    def close(self) -> None:
        """Let go of everything; harmless when repeated. The next request starts afresh."""
        ...
