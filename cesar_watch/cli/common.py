"""What every command needs: its options, the settings, the terminal."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.text import Text

from cesar_watch.core.config import Settings
from cesar_watch.core.config_file import find_config, load_settings, merge_overrides
from cesar_watch.core.errors import ConfigError, UsageError
from cesar_watch.core.humanize import printable
from cesar_watch.core.recording_settings import Format

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, stderr=True)

SNAPSHOT = "Its newest entries can't be read here: this is how things stood at its last checkpoint."

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="Configuration file. Left out: $CESAR_WATCH_CONFIG, ./config.toml, that of the only spool in this "
        "folder, ~/.config/cesar-watch/config.toml, /etc/cesar-watch/config.toml.",
    ),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or a beginning of it that is unique.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: --set engine.model=small")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
FORMATS: tuple[Format, ...] = get_args(Format)
FormatsOption = Annotated[
    list[str],
    typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}; may be given several times."),
]


def _whole_path(model: str | None) -> str | None:
    """Return a model with its folder's whole path, as settings that were read from a file have it."""
    return os.path.abspath(os.path.expanduser(model)) if model and model.startswith((".", "~")) else model


ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        callback=_whole_path,
        help="As in engine.model: a size, a hub id, a folder. Left out: that of the settings.",
    ),
]


def settings_for(config: Path | None, overrides: list[str] | None = None) -> Settings:
    """Find, read and check the settings.

    Raises:
        ConfigError: There is no configuration anywhere, or it is wrong.
    """
    return settings_and_path(config, overrides)[0]


def settings_and_path(config: Path | None, overrides: list[str] | None = None) -> tuple[Settings, Path | None]:
    """Return the settings and the file they came from, if there was one."""
    path = find_config(config, environ=os.environ, cwd=Path.cwd())
    given: dict[str, Any] = merge_overrides(overrides or [])
    if path is None and not os.environ.get("CESAR_WATCH_SPOOL__ROOT") and "root" not in given.get("spool", {}):
        raise ConfigError(
            "There is no configuration: make a spool with `cesar-watch init DIR`, or name its file with --config."
        )
    return load_settings(path, given), path


def settings_or_defaults(config: Path | None, overrides: list[str] | None = None) -> tuple[Settings, Path | None]:
    """Return the settings for what needs no spool, and the file they came from, if there was one.

    Raises:
        ConfigError: They are wrong, or the file that was named is not there.
    """
    path = find_config(config, environ=os.environ, cwd=Path.cwd())
    return load_settings(path, merge_overrides(overrides or [])), path


def override(key: str, value: str | None) -> list[str]:
    """Return what an option of its own says, as `--set` would; nothing where it was left out."""
    return [] if value is None else [f"{key}={json.dumps(value, ensure_ascii=False)}"]


def wanted_formats(formats: list[str]) -> tuple[Format, ...]:
    """Return the formats that were asked for, each once.

    Raises:
        UsageError: There is no such format.
    """
    for unknown in set(formats) - set(FORMATS):
        raise UsageError(f"There is no format {unknown!r}: use one of {', '.join(FORMATS)}.")
    return tuple(fmt for fmt in FORMATS if fmt in formats)


def tell(message: str) -> None:
    """Say something on standard error, in one line; above what shows progress there."""
    err.print(Text(f"cesar-watch: {printable(message)}"), soft_wrap=True)


def tell_snapshot(is_snapshot: bool) -> None:
    """Say on standard error, for answers that do not say it themselves, whether they may be old."""
    if is_snapshot:
        tell(SNAPSHOT)


def wait_until(is_done: Callable[[], bool], limit_s: float) -> bool:
    """Wait for something that another process does; return whether it came within the limit."""
    until_s = time.monotonic() + limit_s
    while not is_done():
        if time.monotonic() >= until_s:
            return False
        time.sleep(0.1)
    return True


class Lines(logging.Formatter):
    """Keeps messages from each other and from the terminal's controls: names of recordings may hold anything."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (its name is logging's)
        """Return the message; lines that are not its first are indented, so that none looks like another message."""
        return "\n  ".join(printable(line) for line in super().formatMessage(record).split("\n"))


def start_logging() -> None:
    """Send log lines to standard error; without the time where that is the journal, which adds its own."""
    journal = bool(os.environ.get("JOURNAL_STREAM"))
    lines = logging.StreamHandler()
    lines.setFormatter(Lines("%(message)s" if journal else "%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    for chatty in ("watchdog", "asyncio", "peewee"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
