"""Which options a recording gets: settings < profiles < `.cesar.toml`, outer to inner < `<recording>.toml`.

Files are read once, at the claim, and when a failed recording is tried again; what came of them is stored on the job.
No link is followed and no pipe waited for. A file that is wrong fails the recording it is for, never the service.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from cesar_watch.core.companions import FOLDER_SETTINGS, settings_path
from cesar_watch.core.config import Settings
from cesar_watch.core.errors import AttemptError, BadOverride, folder_fault
from cesar_watch.core.globs import matches
from cesar_watch.core.job import Failure
from cesar_watch.core.recording_settings import EngineSettings, RecordingSettings
from cesar_watch.intake.toml_place import place_of, syntax_fault

LARGEST_BYTES = 65_536
"""A settings file is a few lines; a larger one was put there by mistake."""

_SERVICE_TABLES = ("engine", "output")


@dataclass(frozen=True)
class Layer:
    """What one profile or file says, as it is stored among the job's options."""

    kind: Literal["profile", "folder", "recording"]
    origin: str
    chosen: dict[str, Any]

    def as_mapping(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"kind": self.kind, "from": self.origin, "set": self.chosen}


@dataclass(frozen=True)
class Resolved:
    """The options of a recording, to be stored on its job; with `fault` those that hold without the wrong file."""

    options: dict[str, Any]
    fault: Failure | None = None


def resolve(settings: Settings, inbox: Path, subfolder: bytes, name: bytes, recording: Path) -> Resolved:
    """Return the options of a recording.

    Args:
        subfolder: With `name`, where in the inbox it lies, or lay before it was claimed.
        recording: Where it lies now: its own settings are looked for beside it.

    Raises:
        AttemptError: A settings file can't be read now; nothing is known of the options.
        SpoolError: The share is gone.
    """
    layers: list[Layer] = []
    fault = None
    try:
        for layer in _layers(settings, inbox, os.path.join(subfolder, name), recording):
            layers.append(layer)
    except _WrongFile as wrong:
        layers.append(wrong.layer)
        fault = Failure(BadOverride.reason, f"{wrong} Mend the file, then retry the recording.")
    return Resolved(_applied(settings, layers), fault)


def folder_files(inbox: Path, subfolder: bytes) -> list[Path]:
    """Return where settings of the folders around a recording may lie, the outermost first."""
    folders = [inbox]
    for part in Path(os.fsdecode(subfolder)).parts:
        folders.append(folders[-1] / part)
    return [folder / FOLDER_SETTINGS for folder in folders]


def settings_files(inbox: Path, subfolder: bytes, recording: Path) -> list[Path]:
    """Return where all settings files of a recording may lie."""
    return [*folder_files(inbox, subfolder), settings_path(recording)]


def check_file(path: Path, shown: str) -> RecordingSettings | None:
    """Read and check one settings file; None where there is none.

    Raises:
        BadOverride: It is wrong; `shown`, line and column are in the message.
        AttemptError, SpoolError: It can't be read now.
    """
    content = _read(path, shown)
    return None if content is None else _parse(content, shown)


class _WrongFile(Exception):
    def __init__(self, layer: Layer, fault: BadOverride) -> None:
        super().__init__(str(fault))
        self.layer = layer


def _layers(settings: Settings, inbox: Path, inbox_path: bytes, recording: Path) -> Iterator[Layer]:
    for profile in settings.profile:
        if matches(inbox_path.decode("utf-8", "replace"), profile.match):
            yield Layer("profile", f"profile {profile.match}", profile.chosen())
    for path in folder_files(inbox, os.path.dirname(inbox_path)):
        yield from _file_layer("folder", path, _text(os.path.join("inbox", path.relative_to(inbox))))
    own = settings_path(recording)
    yield from _file_layer("recording", own, _text(own.name))


def _file_layer(kind: Literal["folder", "recording"], path: Path, shown: str) -> Iterator[Layer]:
    try:
        said = check_file(path, shown)
    except BadOverride as fault:
        raise _WrongFile(Layer(kind, shown, {}), fault) from None
    if said is not None:
        yield Layer(kind, shown, said.chosen())


def _applied(settings: Settings, layers: list[Layer]) -> dict[str, Any]:
    options = settings.job_options()
    for layer in layers:
        for key, value in layer.chosen.items():
            if key == "priority":
                options[key] = value
            else:
                options["engine" if key in EngineSettings.model_fields else "output"][key] = value
    if layers:
        options["overrides"] = [layer.as_mapping() for layer in layers]
    return options


def _read(path: Path, shown: str) -> bytes | None:
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "a symbolic link, which is never followed" if stat.S_ISLNK(mode) else "not a file"
            raise BadOverride(f"{shown} is {what}: put a copy of the file there, or take it away.")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as fault:
        raise AttemptError(
            f"{shown} can't be read ({fault.strerror}), and what it is for waits: let the service's user read it, or "
            "take it away.",
            reason="not_readable",
        ) from None
    except OSError as fault:
        raise folder_fault(fault) from None
    if len(content) > LARGEST_BYTES:
        raise BadOverride(f"{shown} has more than {LARGEST_BYTES} bytes: it is no settings file.")
    return content


def _parse(content: bytes, shown: str) -> RecordingSettings:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        column = fault.start - content.rfind(b"\n", 0, fault.start)
        raise BadOverride(f"{_at(shown, line, column)}: this is not UTF-8; save the file as UTF-8 text.") from None
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as fault:
        line, column, what = syntax_fault(fault, text)
        raise BadOverride(f"{_at(shown, line, column)}: this is not valid TOML ({what}).") from None
    try:
        said = RecordingSettings.model_validate(data)
    except ValidationError as fault:
        raise BadOverride("; ".join(_explain(fault, shown, text)) + ".") from None
    if "model" in said.model_fields_set and said.model.startswith((".", "~")):
        where = _at(shown, *place_of("model", text))
        raise BadOverride(f"{where}: model: is a relative path, and files here move: give the folder's whole path.")
    return said


def _explain(fault: ValidationError, shown: str, text: str) -> Iterator[str]:
    faults = [(place_of(str(error["loc"][0]), text), error) for error in fault.errors()]
    for (line, column), error in sorted(faults, key=lambda pair: pair[0]):
        key = str(error["loc"][0])
        if error["type"] == "extra_forbidden":
            what = "is not a known engine or output setting"
            if key in _SERVICE_TABLES:
                what = 'has no place here: keys stand without their table (language = "de")'
        else:
            what = error["msg"].removeprefix("Value error, ")
        yield f"{_at(shown, line, column)}: {_text(key)}: {what[:1].lower()}{what[1:]}"


def _at(shown: str, line: int, column: int) -> str:
    return f"{shown}, line {line}, column {column}"


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")
