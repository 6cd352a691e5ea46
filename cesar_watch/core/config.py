"""The settings: their names, meanings, defaults and limits; those of recordings are in `core/recording_settings.py`.

The models here are the single source of `config.toml.example`, of `config schema` and of
`config show`; finding, merging and writing configuration files is `core/config_file.py`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cesar_watch.core.recording_settings import (
    MACHINE_KEYS,
    EngineSettings,
    OutputSettings,
    ProfileSettings,
    Seconds,
    Section,
)

NoticeEvent = Literal["completed", "failed", "duplicate", "paused", "resumed", "degraded"]

READY_MARKER = r"\.[^/\\\x00-\x1f]*[^/\\\x00-\x1f.]"
"""What an ending of ready markers looks like."""

MEDIA_EXTENSIONS = [
    *("3gp", "aac", "ac3", "aif", "aifc", "aiff", "amr", "au", "caf", "dts", "flac", "flv"),
    *("m4a", "m4b", "m4v", "mka", "mkv", "mov", "mp2", "mp3", "mp4", "mpeg", "mpg", "mts"),
    *("oga", "ogg", "ogv", "opus", "spx", "ts", "wav", "weba", "webm", "wma", "wmv"),
]


def _plain_glob(glob: str) -> str:
    if "/" in glob.removesuffix("/") or not glob.removeprefix("!").removesuffix("/"):
        raise ValueError('is a glob over bare names, with "/" only at its end')
    return glob


Glob = Annotated[str, AfterValidator(_plain_glob)]


class SpoolSettings(Section):
    """The folders, and how the inbox is watched."""

    root: Path = Field(Path("."), description="The spool: inbox/, outbox/ and the other rooms lie in it, on one mount.")
    state_dir: Path | None = Field(
        None, description="Ledger, lock and kept transcripts; always on a local disk. Left out: <root>/.state."
    )
    claim: Literal["move", "copy"] = Field(
        "move",
        description="move: a recording leaves the inbox for good. copy: the inbox belongs to somebody else (a synced "
        "folder, a media library) and nothing in it is ever touched; a copy is worked on, and removed at the end.",
    )
    inbox: Path | None = Field(
        None,
        description='With claim = "copy", the folder that is the inbox, on any mount, a read-only one too. Left out: '
        "<root>/inbox.",
    )
    recursive: bool = Field(False, description="Look into subfolders of the inbox too; they are mirrored in outbox/.")
    watch_mode: Literal["auto", "events", "poll"] = Field(
        "auto",
        description="auto: file events on local disks, polling on network mounts. events, poll: one of them "
        "everywhere. All rescan.",
    )
    rescan_s: Seconds = Field(30.0, description="The inbox is looked through this often though no event came.")
    poll_s: Seconds = Field(
        5.0,
        description="The same where there are no events; the longer nothing comes the less often, to once a minute.",
    )
    quiet_s: Annotated[float, Field(ge=0)] = Field(
        5.0,
        description="A recording is taken when it has not changed for this long. One that was renamed into place, or "
        "whose header proves that it is whole, is taken at once; one that is still open for writing never.",
    )
    quiet_remote_s: Annotated[float, Field(ge=0)] = Field(
        30.0, description="The same, on a network mount (NFS, SMB, FUSE), which tells of changes late."
    )
    quiet_suspect_s: Annotated[float, Field(ge=0)] = Field(
        600.0,
        description='The same, whole or not, for names that temporary files have too ("~talk.mp3", "talk.f140.m4a").',
    )
    short_grace_s: Seconds = Field(
        300.0,
        description="A recording whose own header says that a part is missing waits for it; unchanged for this long, "
        "it is taken as cut short.",
    )
    short: Literal["fail", "transcribe"] = Field(
        "fail",
        description='What becomes of one that is cut short. fail: into failed/ as "truncated". transcribe: what is '
        'there is transcribed, with the verdict "partial".',
    )
    extensions: list[str] = Field(MEDIA_EXTENSIONS, description="Endings that make a file a recording, in any case.")
    ignore: list[Glob] = Field(
        [],
        description='Names of files and folders to leave alone (globs, any case; a last "/": folders only), besides '
        'those of `cesar-watch config ignored`. "!glob" takes what would be ignored; the last that fits decides.',
    )
    ready_marker: str = Field(
        "",
        description='With ".ok", talk.mp3 is taken only when its sender has put talk.mp3.ok beside it: then at once, '
        "unless it is open for writing or cut short. The marker goes where the recording goes. Left out: no markers.",
    )
    on_duplicate: Literal["link", "transcribe"] = Field(
        "link",
        description="A recording that was transcribed before with the same engine and output settings. link: it goes "
        "to duplicates/, its sidecar names those transcripts. transcribe: once more.",
    )

    @field_validator("extensions")
    @classmethod
    def _bare_lower_case(cls, value: list[str]) -> list[str]:
        return [extension.lower().lstrip(".") for extension in value]

    @field_validator("ready_marker")
    @classmethod
    def _no_recordings_ending(cls, value: str, others: ValidationInfo) -> str:
        if value and not re.fullmatch(READY_MARKER, value):
            raise ValueError('this is no ending of a file name: begin with a dot, as in ".ok"')
        if value.rpartition(".")[2].casefold() in {"toml", *others.data.get("extensions", ())}:
            raise ValueError(f"files that end in {value!r} are recordings or settings: choose another ending")
        return value

    @field_validator("state_dir", "inbox", mode="before")
    @classmethod
    def _left_out(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _inbox_is_apart(self) -> SpoolSettings:
        """Refuse an inbox elsewhere that recordings would have to leave, and one in which our own copies lie."""
        if self.inbox is None:
            return self
        if self.claim != "copy":
            raise ValueError('inbox: another one than <root>/inbox is only for claim = "copy"')
        inbox, root = (Path(os.path.realpath(path.expanduser())) for path in (self.inbox, self.root))
        if root.is_relative_to(inbox) or (inbox.is_relative_to(root) and inbox != root / "inbox"):
            raise ValueError(f"inbox: neither may {self.inbox} lie in the spool {self.root}, nor the spool in it")
        return self


class RetrySettings(Section):
    """What happens after an attempt that failed for a passing reason. Also used for notices."""

    max_attempts: Annotated[int, Field(ge=1)] = Field(
        3, description="Attempts in a row, without a window done in them, before a recording goes to failed/."
    )
    backoff_s: Annotated[float, Field(ge=0)] = Field(
        30.0, description="Wait before the second attempt; doubled for each further one, with jitter."
    )
    backoff_max_s: Seconds = Field(3600.0, description="The longest wait between two attempts.")


class NotifySettings(Section):
    """One channel that is told about finished jobs, and about pauses and troubles of the service."""

    url: str = Field(description='An apprise URL: "ntfy://host/topic", "mailto://...", "json://host/path" ...')
    events: list[NoticeEvent] = Field(
        ["completed", "failed", "duplicate", "paused", "resumed", "degraded"],
        description="What is told: ends of a job; when the service pauses (disk full, share gone) and goes on; when "
        "the GPU failed and the CPU takes over.",
    )
    match: str = Field(
        "*",
        description='Only recordings whose inbox path matches this glob ("interviews/*"); what is told of the service '
        "itself always.",
    )
    title: str = Field("{name}: {status}", description="Placeholders: {name} {status} {job_id} {message}.")
    body: str = Field("{message}", description="The same placeholders, and {text}, the transcript's beginning.")
    attach: bool = Field(False, description="Attach the transcript as a text file, where the channel can.")

    @field_validator("title", "body")
    @classmethod
    def _known_placeholders(cls, value: str) -> str:
        try:
            value.format(name="", status="", job_id="", message="", text="")
        except (KeyError, IndexError, ValueError, AttributeError) as fault:
            raise ValueError(f"has a placeholder that is not known: {fault}") from None
        return value


class Settings(BaseSettings):
    """All settings, merged and checked."""

    model_config = SettingsConfigDict(env_prefix="CESAR_WATCH_", env_nested_delimiter="__", extra="forbid", frozen=True)

    spool: SpoolSettings = SpoolSettings()
    engine: EngineSettings = EngineSettings()
    output: OutputSettings = OutputSettings()
    retry: RetrySettings = RetrySettings()
    notify: list[NotifySettings] = []
    profile: list[ProfileSettings] = []

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values only from the caller: `config_file.load_settings` merges the sources."""
        return (init_settings,)

    @property
    def state_dir(self) -> Path:
        """Where ledger and lock live."""
        return self.spool.state_dir or self.spool.root / ".state"

    def job_options(self) -> dict[str, Any]:
        """Return the options that are stored on a job, as plain JSON values: all that shapes its outputs.

        And whether it is content with those of another job, and whose its recording is.
        """
        engine = self.engine.model_dump(mode="json", exclude=MACHINE_KEYS)
        return {
            "engine": engine,
            "output": self.output.shaping(),
            "on_duplicate": self.spool.on_duplicate,
            "claim": self.spool.claim,
        }
