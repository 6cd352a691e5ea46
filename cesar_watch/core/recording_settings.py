"""What may be set for a recording: engine and output, in the settings, in profiles, in files dropped beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cesar_watch.core.template import TemplateFile

Format = Literal["txt", "srt", "vtt", "json", "tsv", "lrc", "md"]
Channels = Literal["mix", "split"]
ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]
Seconds = Annotated[float, Field(gt=0)]
ChannelName = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Section(BaseModel):
    """A table of the configuration file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EngineSettings(Section):
    """The model and how it is used. Everything but where and how it runs is stored with each job."""

    model: str = Field(
        "demo",
        description='A size ("tiny", "base", "small", "large-v3-turbo" ...), a hub id, or a directory with a '
        'CTranslate2 model. "demo" is bundled and knows only a few dozen English words.',
    )
    download: Literal["auto", "never"] = Field(
        "auto", description="auto: fetch an absent model once. never: the hub is not asked."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the model runs. auto: on a GPU if there is one that works, else on the CPU."
    )
    compute_type: ComputeType = Field(
        "default",
        description="The numbers that the model computes with. default: those it is stored in, or the next that this "
        "machine can; auto: the fastest that it can; or int8, int8_float32, int8_float16, int8_bfloat16, int16, "
        "float16, bfloat16, float32. Smaller ones need less memory.",
    )
    workers: Annotated[int, Field(ge=0, le=64)] = Field(
        0,
        description="Windows that are worked on at once, of one recording or of several; 0: chosen by cores, memory "
        "and what `cesar-watch bench` has measured.",
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="CPU threads for each of them; 0: the cores divided between them."
    )
    batch_size: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="Pieces of 30 s in one computation. More is faster, most of all on GPUs, and takes more memory; no "
        "text is carried from piece to piece.",
    )
    beam_size: Annotated[int, Field(ge=1, le=20)] = Field(5, description="Beam search width.")
    window_s: Annotated[float, Field(ge=5, le=3600)] = Field(
        120.0,
        description="The longest window: so many seconds of a recording are worked on, and made durable, at a time. "
        "Short recordings have shorter ones.",
    )
    audio_track: Annotated[int, Field(ge=0)] = Field(
        0, description="Which audio track of a recording that has several: 1 is the first; 0: its default one."
    )
    channels: Channels = Field(
        "mix",
        description="mix: all channels as one. split: each by itself, for calls that have a speaker on each; what is "
        "said is labelled with the channel's name. Up to 8 channels.",
    )
    channel_names: list[ChannelName] = Field(
        ["L", "R"], description='Labels of the channels, in their order. Further ones are called "3", "4" ...'
    )
    language: str | None = Field(None, description='Fixed language ("en", "cs" ...). Left out: detected on speech.')
    languages: list[str] = Field(
        [], description='The only languages that may be detected (["cs", "en"]). Left out: all that the model knows.'
    )
    multilingual: bool = Field(
        False, description="Detect the language anew in each window; not where `language` is set."
    )
    task: Literal["transcribe", "translate"] = Field("transcribe", description="translate: into English.")
    initial_prompt: str | None = Field(
        None,
        description="Text that shows the model the style and names to expect, at the beginning of each window; with "
        "batches, of each piece.",
    )
    hotwords: str | None = Field(None, description="Words that the model should prefer throughout.")
    word_timestamps: bool = Field(True, description="Time every word, not only every segment.")
    condition_on_previous_text: bool = Field(
        False,
        description="Show the model the text before what it hears, also from window to window: a recording's windows "
        "are then worked on one by one. Risks repetition loops.",
    )
    isolation: Literal["process", "thread"] = Field(
        "process",
        description="process: decoder and model live in a process that can be killed. thread: in the service itself, "
        "which their crash ends.",
    )
    nice: Annotated[int, Field(ge=0, le=19)] = Field(
        0, description="By how much the engine process stands back behind other programs that want the processor."
    )
    io_idle: bool = Field(False, description="The engine process reads from a disk only when nobody else does.")
    memory_limit_bytes: Annotated[int, Field(ge=0)] = Field(
        0,
        description="What the engine process may allocate; beyond it, it fails and not the machine. 0: no limit but "
        "the machine's.",
    )
    idle_unload_s: Annotated[float, Field(ge=0)] = Field(
        300.0, description="The engine process ends after this long without work; 0: never."
    )
    timeout_s: Annotated[float, Field(ge=0)] = Field(
        0.0, description="An attempt that takes longer is ended and counted as failed; 0: no limit."
    )
    max_duration_s: Seconds = Field(
        86400.0, description="Longer recordings are refused; counted while decoding, since headers lie."
    )


class OutputSettings(Section):
    """What appears in the outbox."""

    formats: list[Format] = Field(
        ["txt", "srt", "vtt", "json", "tsv"],
        min_length=1,
        description="Transcript formats to write: txt, srt, vtt, json, tsv, lrc, md (docs/formats.md).",
    )
    highlight_words: bool = Field(
        False, description="Mark each word in srt and vtt while it is spoken; srt gets an entry for each word."
    )
    md_template: TemplateFile | None = Field(
        None, description="A file with the text of md notes and placeholders in it. Left out: the built-in template."
    )
    sidecar_every_s: Seconds = Field(2.0, description="The status sidecar is rewritten at most this often.")

    @field_validator("md_template", mode="before")
    @classmethod
    def _left_out(cls, value: object) -> object:
        return None if value == "" else value

    def shaping(self) -> dict[str, Any]:
        """Return what shapes outputs, as plain JSON values; a template by its text."""
        return {
            "formats": list(self.formats),
            "highlight_words": self.highlight_words,
            "md_template": self.md_template.text if self.md_template else "",
        }


class RecordingSettings(EngineSettings, OutputSettings):
    """What a profile or a settings file in the inbox may say: engine and output keys, without their tables.

    Only what was set counts: `model_fields_set`.
    """

    priority: Annotated[int, Field(ge=-100, le=100)] = Field(
        0,
        description="Who goes first: the higher. Among equals the one of whose recording less is done, then the older.",
    )

    @field_validator("download", "isolation", "workers", "nice", "io_idle", "memory_limit_bytes", "idle_unload_s")
    @classmethod
    def _of_the_service(cls, value: Any) -> Any:
        raise ValueError("is the whole service's: it can only be set in [engine] of config.toml")

    @field_validator("md_template", mode="before")
    @classmethod
    def _of_its_owner(cls, value: Any) -> Any:
        # Who may write into the inbox would get any file that the service may read.
        raise ValueError("names a file of the service's: it can only be set in [output] of config.toml")

    def chosen(self) -> dict[str, Any]:
        """Return what was set, as plain JSON values."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"match"})


class ProfileSettings(RecordingSettings):
    """Settings for the recordings of some inbox paths; of several that fit, later ones win key by key."""

    match: str = Field(description='The recordings it is for: a glob on the path in the inbox, "interviews/*".')


MACHINE_KEYS = {
    *("download", "device", "compute_type", "workers", "threads", "isolation", "nice", "io_idle"),
    *("memory_limit_bytes", "idle_unload_s", "timeout_s"),
}
"""Engine settings that say where and how the model runs, not what it makes."""
