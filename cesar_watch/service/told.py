"""What a sidecar tells of its job, checked: anybody may write into the outbox, and files may be torn."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from cesar_watch.core.config import READY_MARKER
from cesar_watch.core.recording_settings import Format
from cesar_watch.core.spool import ROOMS
from cesar_watch.core.template import check_template
from cesar_watch.delivery.names import SIDECAR_ENDING
from cesar_watch.delivery.sidecar import read_sidecar

JOB_ID = r"^[0-9a-f]{16}$"


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


def _is_bare(name: bytes) -> bool:
    return b"/" not in name and b"\0" not in name and name not in (b"", b".", b"..")


def _bare(name: str) -> str:
    if not _is_bare(os.fsencode(name)):
        raise ValueError("not a bare file name")
    return name


class Source(_Fields):
    """Where the recording is, or will rest. `_b64` has the bytes where they are no text."""

    name: str
    name_b64: Base64Bytes | None = None
    path: str
    path_b64: Base64Bytes | None = None
    size_bytes: int = Field(ge=0)
    sha256: str | None

    @property
    def name_bytes(self) -> bytes:
        """The recording's name as the inbox held it."""
        return os.fsencode(self.name) if self.name_b64 is None else self.name_b64

    @property
    def path_bytes(self) -> bytes:
        """Where the recording is or will rest, relative to the root."""
        return os.fsencode(self.path) if self.path_b64 is None else self.path_b64

    @model_validator(mode="after")
    def _leads_nowhere_else(self) -> Source:
        """Refuse names that lead out of our rooms: what they name is moved and, when asked, deleted."""
        room, *rest = self.path_bytes.split(b"/")
        if os.fsdecode(room) not in ROOMS or not rest or not all(map(_is_bare, (*rest, self.name_bytes))):
            raise ValueError("not a recording in one of our rooms")
        return self


class _Engine(_Fields):
    model: str


class _Output(_Fields):
    formats: list[Format]
    highlight_words: bool = False
    md_template: Annotated[str, AfterValidator(check_template)] = ""


class _Layer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["profile", "folder", "recording"]
    origin: str = Field(alias="from")
    chosen: dict[str, Any] = Field(alias="set")


class _Options(_Fields):
    engine: _Engine
    output: _Output
    overrides: list[_Layer] = []
    ready_marker: str = Field("", pattern=f"^({READY_MARKER})?$")


def _usable_options(options: dict[str, Any]) -> dict[str, Any]:
    _Options.model_validate(options)
    return options


class FailureTold(_Fields):
    """Why a job failed."""

    reason: str
    message: str


class Told(_Fields):
    """The fields of a sidecar that a job is restored from."""

    job_id: str = Field(pattern=JOB_ID)
    instance: str | None = None
    status: Literal["pending", "processing", "completed", "failed", "cancelled", "duplicate"]
    progress: float
    message: str
    source: Source
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    updated_at: AwareDatetime
    completed_at: AwareDatetime | None
    attempts: int = Field(ge=0)
    language: str | None
    language_probability: float | None
    duration_s: float | None
    options: Annotated[dict[str, Any], AfterValidator(_usable_options)]
    outputs: list[str]
    outputs_sha256: dict[str, str] = {}
    duplicate_of: str | None = Field(None, pattern=JOB_ID)
    rtf: float | None
    quality: dict[str, Any] | None
    error: FailureTold | None

    @model_validator(mode="after")
    def _outputs_are_its_own(self) -> Told:
        """Refuse outputs in other folders, but those that a duplicate points at: what a job names as its own may go."""
        if self.status == "duplicate" and self.duplicate_of is None:
            raise ValueError("of which job it is a duplicate is not told")
        for output in self.outputs:
            *folders, name = output.split("/")
            _bare(name)
            if self.duplicate_of is None and folders:
                raise ValueError("an output of its own in another folder")
        return self


@dataclass(frozen=True)
class Sidecar:
    """A sidecar in the outbox, and its place there, which is that of the job's outputs."""

    told: Told
    subfolder: bytes
    base: str
    fields: dict[str, Any]
    """As they were read, to see whether they would be written differently now."""


def sidecar_place(path: Path, outbox: Path) -> tuple[bytes, str]:
    """Return the subfolder and the base that a sidecar's place stands for."""
    folder = path.parent.relative_to(outbox)
    return b"" if folder == Path() else os.fsencode(folder), path.name.removesuffix(f".{SIDECAR_ENDING}")


def read_told(path: Path, outbox: Path, instance: str | None) -> Sidecar | None:
    """Read a sidecar; None where there is none, or it is torn, made by hand, or another instance's.

    One that names no instance was written by an older version, which knew only one.

    Args:
        instance: Whose sidecars count; None: anybody's.

    Raises:
        OSError: It is there but can't be read.
    """
    fields = read_sidecar(path)
    if fields is None:
        return None
    try:
        told = Told.model_validate(fields)
    except ValidationError:
        return None
    is_wanted = instance is None or told.instance in (None, instance)
    return Sidecar(told, *sidecar_place(path, outbox), fields) if is_wanted else None
