"""Find, merge, check and write configuration.

Defaults < config.toml < environment (`CESAR_WATCH_ENGINE__MODEL`) < command line. Unknown keys are
errors; all errors are told together with their paths.
"""

from __future__ import annotations

import json
import os
import textwrap
import tomllib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined
from pydantic_settings import EnvSettingsSource, SettingsError

from cesar_watch.core.config import NotifySettings, Settings
from cesar_watch.core.errors import ConfigError

_FOLDERS = ("root", "state_dir", "inbox")
"""The keys of `spool` that are folders."""


def find_config(given: Path | None, *, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the configuration file to use, or None when there is none.

    Looked at in this order: `given`, `$CESAR_WATCH_CONFIG`, `./config.toml`, the configuration of the
    only spool directly inside `cwd`, the user's and the system's configuration folder.

    Raises:
        ConfigError: A file was named (by option or environment) and is not there.
    """
    named = given or (Path(environ["CESAR_WATCH_CONFIG"]) if environ.get("CESAR_WATCH_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(
                f"There is no configuration file at {named}: correct the path, or run `cesar-watch init`."
            )
        return named.absolute()
    spools = sorted(marker.parent / "config.toml" for marker in cwd.glob("*/.cesar-watch"))
    user = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/")) / ".config")
    candidates = [
        cwd / "config.toml",
        *(spools if len(spools) == 1 else []),
        user / "cesar-watch" / "config.toml",
        Path("/etc/cesar-watch/config.toml"),
    ]
    return next((path for path in candidates if path.is_file()), None)


def load_settings(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read, merge and check the settings.

    Relative paths in the file are relative to the file. `overrides` (from the command line, nested
    like the file) win over everything.

    Raises:
        ConfigError: Every fault found, one a line, each with its path.
    """
    data = _read(path) if path is not None else {}
    try:
        data = _merge(data, {**_unknown_tables(os.environ), **EnvSettingsSource(Settings)()})
        settings = Settings(**_merge(data, overrides or {}))
    except ValidationError as fault:
        raise ConfigError(_explain(fault, path)) from None
    except SettingsError as fault:
        raise ConfigError(f"The environment holds a setting that can't be read: {fault}.") from None
    folders = {key: getattr(settings.spool, key) for key in _FOLDERS}
    absolute = {key: folder and folder.expanduser().absolute() for key, folder in folders.items()}
    return settings.model_copy(update={"spool": settings.spool.model_copy(update=absolute)})


def origins(settings: Settings, path: Path | None) -> dict[str, str]:
    """Return where each engine and output setting came from: the file's name, "environment" or "default"."""
    environment = EnvSettingsSource(Settings)()
    found = {}
    for section in ("engine", "output"):
        values: BaseModel = getattr(settings, section)
        for key in type(values).model_fields:
            origin = path.name if path is not None and key in values.model_fields_set else "default"
            found[key] = "environment" if key in environment.get(section, {}) else origin
    return found


def parse_override(text: str) -> dict[str, Any]:
    """Turn `engine.model=small` into a nested mapping; the value is TOML, or else taken as a string.

    Raises:
        ConfigError: There is no `=` in it.
    """
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set takes KEY=VALUE, for example engine.model=small; got {text!r}.")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return dict(parsed)


def merge_overrides(texts: list[str]) -> dict[str, Any]:
    """Merge several `--set` texts, the last one winning."""
    merged: dict[str, Any] = {}
    for text in texts:
        merged = _merge(merged, parse_override(text))
    return merged


def render_toml(settings: Settings, *, example: bool = False) -> str:
    """Write settings as TOML with each key's meaning above it.

    With `example`, keys that have no value and the notification channels are shown commented out.
    """
    lines: list[str] = []
    for name in ("spool", "engine", "output", "retry"):
        lines += [f"[{name}]", *_render_section(getattr(settings, name)), ""]
    if example:
        sample = NotifySettings(url="ntfy://localhost/recordings")
        lines += ["# One table for each channel that is told; any number of them.", "# [[notify]]"]
        lines += [f"# {line}" if not line.startswith("#") else line for line in _render_section(sample)]
        lines += ["", *_PROFILE_EXAMPLE]
    for channel in settings.notify:
        lines += ["[[notify]]", *_render_section(channel), ""]
    for profile in settings.profile:
        lines += ["[[profile]]", *_render_section(profile, profile.model_fields_set), ""]
    return "\n".join(lines).rstrip() + "\n"


def example_toml() -> str:
    """Return the text of `config.toml.example`: every key with its meaning and default."""
    head = [
        "# cesar-watch: every setting with its default. Copy what you change into config.toml.",
        "# Relative paths are relative to the file they stand in. Times are in seconds.",
        "# Any key can come from the environment instead: CESAR_WATCH_ENGINE__MODEL=small",
        "",
    ]
    return "\n".join(head) + "\n" + render_toml(Settings(), example=True)


_PROFILE_EXAMPLE = [
    "# Other settings for some recordings; any number of tables, later ones win. Without its table, any key of",
    "# [engine] and [output] but download, isolation, workers, nice, io_idle, memory_limit_bytes, idle_unload_s and",
    "# md_template; and priority: the higher goes first. The files .cesar.toml in an inbox folder and <recording>.toml",
    "# beside a recording take the same keys, and win over these.",
    "# [[profile]]",
    "# The recordings it is for: a glob on the path in the inbox.",
    '# match = "interviews/*"',
    '# language = "de"',
    '# formats = ["txt"]',
]


def _render_section(section: BaseModel, keys: Container[str] | None = None) -> Iterator[str]:
    for key, info in type(section).model_fields.items():
        if keys is not None and key not in keys:
            continue
        for line in textwrap.wrap(info.description or "", 96):
            yield f"# {line}"
        value = section.model_dump(mode="json")[key]
        if value is None:
            empty = '""' if info.default is PydanticUndefined or info.default is None else json.dumps(info.default)
            yield f"# {key} = {empty}"
        elif isinstance(value, list):
            yield from _render_list(key, value)
        else:
            # A JSON string, number or boolean is a TOML one too (TOML 1.0, basic strings).
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"


def _render_list(key: str, value: list[str]) -> Iterator[str]:
    quoted = [json.dumps(item, ensure_ascii=False) for item in value]
    if len(", ".join(quoted)) < 90:
        yield f"{key} = [{', '.join(quoted)}]"
        return
    yield f"{key} = ["
    line = ""
    for item in quoted:
        if line and len(line) + len(item) > 93:
            yield f"    {line},"
            line = ""
        line = f"{line}, {item}" if line else item
    yield f"    {line}"
    yield "]"


def _read(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path} is not valid TOML: {fault}.") from None
    except OSError as fault:
        raise ConfigError(f"{path} can't be read: {fault.strerror}.") from None
    _anchor_paths(data, path.resolve().parent)
    return data


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _unknown_tables(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the tables that the environment names and the settings don't know, so that they are told of."""
    prefix = str(Settings.model_config["env_prefix"]).casefold()
    names = [name.casefold().removeprefix(prefix) for name in environ if name.casefold().startswith(prefix)]
    tables = {name.partition("__")[0] for name in names if "__" in name}
    return {table: {} for table in sorted(tables - Settings.model_fields.keys())}


def _anchor_paths(data: dict[str, Any], folder: Path) -> None:
    """Make the file's relative paths absolute, in place; the root defaults to the file's folder."""
    spool = data.setdefault("spool", {})
    if isinstance(spool, dict):
        spool.setdefault("root", ".")
        for key in _FOLDERS:
            _anchor(spool, key, folder)
    if isinstance(data.get("output"), dict):
        _anchor(data["output"], "md_template", folder)
    profiles = data.get("profile")
    for table in [data.get("engine"), *(profiles if isinstance(profiles, list) else [])]:
        if isinstance(table, dict) and isinstance(table.get("model"), str) and table["model"].startswith((".", "~")):
            _anchor(table, "model", folder)


def _anchor(table: dict[str, Any], key: str, folder: Path) -> None:
    if isinstance(table.get(key), str) and table[key]:
        table[key] = os.path.normpath(folder / os.path.expanduser(table[key]))


def _explain(fault: ValidationError, path: Path | None) -> str:
    lines = [f"The settings are wrong (from {path}, environment or command line):"]
    if path is None:
        lines = ["The settings are wrong (from environment or command line):"]
    for error in fault.errors():
        where = ".".join(str(part) for part in error["loc"])
        what = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            what = "is not a known setting"
        lines.append(f"  {where}: {what[:1].lower()}{what[1:]}")
    return "\n".join(lines)
