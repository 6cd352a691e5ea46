"""What a job is, the states it passes through, and the one table that allows a change of state.

Nothing here touches a disk or a clock; the ledger carries the table out with compare-and-set writes.
"""

from __future__ import annotations

import bisect
import os
import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cesar_watch.core.errors import IllegalTransition


class State(StrEnum):
    """Where a job stands. The words are those of ledger, sidecar and command line."""

    CLAIMING = "claiming"
    """Intent is logged; the rename may or may not have happened. Never shown."""
    PENDING = "pending"
    """Claimed, waiting for a worker, perhaps not before a time."""
    PROCESSING = "processing"
    """A worker holds the lease."""
    TRANSCRIBED = "transcribed"
    """The whole transcript is durable in the job's folder. Shown as processing."""
    COMPLETED = "completed"
    """Outputs durable, source archived."""
    FAILED = "failed"
    """Given up; source in failed/ with its reason."""
    CANCELLED = "cancelled"
    """Given up by the user; source in failed/."""
    DUPLICATE = "duplicate"
    """Transcribed before, as another job's recording; source in duplicates/, outputs those of the other."""

    @property
    def shown(self) -> str:
        """The word that the world sees."""
        return State.PROCESSING.value if self is State.TRANSCRIBED else self.value


class Event(StrEnum):
    """What may happen to a job; the input of the table."""

    CLAIMED = "claimed"
    LEASED = "leased"
    TRANSCRIBED = "transcribed"
    RETRY_LATER = "retry_later"
    RELEASED = "released"
    GAVE_UP = "gave_up"
    CANCELLED = "cancelled"
    PUBLISHED = "published"
    RECOGNISED = "recognised"
    REQUEUED = "requeued"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CLAIMING, Event.CLAIMED): State.PENDING,
    (State.PENDING, Event.LEASED): State.PROCESSING,
    (State.PENDING, Event.GAVE_UP): State.FAILED,
    (State.PENDING, Event.CANCELLED): State.CANCELLED,
    (State.PROCESSING, Event.TRANSCRIBED): State.TRANSCRIBED,
    (State.PROCESSING, Event.RETRY_LATER): State.PENDING,
    (State.PROCESSING, Event.RELEASED): State.PENDING,
    (State.PROCESSING, Event.GAVE_UP): State.FAILED,
    (State.PROCESSING, Event.CANCELLED): State.CANCELLED,
    (State.PROCESSING, Event.RECOGNISED): State.DUPLICATE,
    (State.TRANSCRIBED, Event.PUBLISHED): State.COMPLETED,
    (State.TRANSCRIBED, Event.RETRY_LATER): State.PENDING,
    (State.TRANSCRIBED, Event.RELEASED): State.PENDING,
    (State.TRANSCRIBED, Event.GAVE_UP): State.FAILED,
    (State.FAILED, Event.REQUEUED): State.PENDING,
    (State.CANCELLED, Event.REQUEUED): State.PENDING,
    (State.DUPLICATE, Event.REQUEUED): State.PENDING,
}

TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.DUPLICATE})
"""States in which the recording rests outside processing/."""
UNFINISHED = frozenset({State.PENDING, State.PROCESSING, State.TRANSCRIBED})
"""States in which it lies in its job folder."""
REQUEUABLE = frozenset(state for state, event in TRANSITIONS if event is Event.REQUEUED)
"""States out of which a person may bring a job back."""

NO_DUPLICATE: Mapping[str, Any] = {"duplicate_of": None, "outputs": [], "outputs_sha256": {}}
"""The fields of a job that waited for another one, or pointed at its outputs, and does so no more."""


class Request(StrEnum):
    """What a person asked for from another process; the service carries it out."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"
    DELETE_RECORDING = "delete_recording"


def advance(state: State, event: Event) -> State:
    """Return the state that follows `event`.

    Raises:
        IllegalTransition: The table has no entry for this pair; nothing was changed.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"A job that is {state.shown} can't be {event.value}.") from None


Precedence = tuple[int, int, int]
"""Who goes first: the lower."""

LEVELS_S = (300.0, 3600.0)
"""Seconds of a recording that are done, at which it steps back behind those that have had less."""


def precedence(priority: int, done_s: float, seq: int) -> Precedence:
    """Return a job's place among others: by priority, then by what it has had already, then in the order of claims.

    A multilevel feedback queue (Corbató et al. 1962): nobody needs to know beforehand how long a recording is, and
    short ones never wait for long ones to end.
    """
    return -priority, bisect.bisect_right(LEVELS_S, done_s), seq


def new_job_id() -> str:
    """Return sixteen random hexadecimal digits: short prefixes of it stay unique for a person's queue."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class FileIdentity:
    """Which file this is and whether it changed: values of `lstat` (stat(2)).

    `ctime_ns` is not part of it, since our own rename changes it. `inode` is a signed number: some user-space
    filesystems use all 64 bits, and the ledger's integers have a sign.
    """

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileIdentity:
        """Take the identity out of a stat result."""
        return cls(stat.st_dev, signed(stat.st_ino), stat.st_size, stat.st_mtime_ns)


def signed(number: int) -> int:
    """Return an unsigned number of 64 bits as the signed one with the same bits."""
    return number - (1 << 64) if number >= 1 << 63 else number


@dataclass(frozen=True)
class Failure:
    """Why a job was given up: a stable reason code and a sentence that names the remedy."""

    reason: str
    message: str


@dataclass(frozen=True)
class Job:
    """One claimed recording and its life, as the ledger last told it. A value: changing it changes nothing.

    `name` and `subfolder` are the raw bytes that the inbox held (any byte string); `base` is the
    valid, portable name under which outputs and sidecar appear in `outbox/<subfolder>/`.
    `source` and `moving_to` are paths relative to the spool's root: where the recording lies, and
    where it was about to be moved when this was written. `outputs_sha256` has the hash of each output
    as it was published; jobs of older versions have none. `duplicate_of` is the job with the same content and the
    same settings for which this one waits, or waited and now shares its outputs: those are then paths relative
    to `outbox/<subfolder>/`, and not this job's own. `interruptions` counts the deaths of the service
    in a row, without a durable window between them, that were not held against the recording. `done_s`
    is how much of the recording its checkpoint has. All `_at` are aware UTC datetimes.
    """

    seq: int
    job_id: str
    state: State
    name: bytes
    subfolder: bytes
    base: str
    source: bytes
    moving_to: bytes | None
    identity: FileIdentity
    sha256: str | None
    options: dict[str, Any]
    attempts: int
    lease: str | None
    request: Request | None
    not_before_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    completed_at: datetime | None
    estimated_completion_at: datetime | None
    progress: float
    message: str
    duration_s: float | None
    language: str | None
    language_probability: float | None
    rtf: float | None
    quality: dict[str, Any] | None
    outputs: list[str] = field(default_factory=list)
    outputs_sha256: dict[str, str] = field(default_factory=dict)
    duplicate_of: str | None = None
    interruptions: int = 0
    done_s: float = 0.0
    error: Failure | None = None

    @property
    def display_name(self) -> str:
        """The recording's name as valid text; undecodable bytes become the replacement character."""
        return self.name.decode("utf-8", "replace")

    @property
    def priority(self) -> int:
        """Who goes first: the higher."""
        return int(self.options.get("priority", 0))

    @property
    def precedence(self) -> Precedence:
        """The job's place among those that wait or are worked on."""
        return precedence(self.priority, self.done_s, self.seq)

    @property
    def is_copied(self) -> bool:
        """Whether it was claimed by copying: its source stays in the inbox, and what lies in its folder is a copy."""
        return self.options.get("claim") == "copy"

    @property
    def has_settings_file(self) -> bool:
        """Whether a `<recording>.toml` was read for it, which then goes where the recording goes; not with a copy."""
        return not self.is_copied and any(layer["kind"] == "recording" for layer in self.options.get("overrides", []))

    @property
    def ready_marker(self) -> str:
        """The ending of the marker that announced its recording, and goes where that goes; empty without one."""
        return str(self.options.get("ready_marker", ""))

    def chosen_by(self, keys: Container[str]) -> str | None:
        """Return the override that chose one of these options, the nearest; None if the settings did."""
        layers = self.options.get("overrides", [])
        return next((layer["from"] for layer in reversed(layers) if any(key in keys for key in layer["set"])), None)

    def source_path(self, root: Path) -> Path:
        """Return where the recording lies now; one that is at rest may lie in an inbox elsewhere (`Spool.absolute`)."""
        return root / os.fsdecode(self.source)
