"""Make a spool; run the service on it; work off what is there."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated

import typer

from cesar_watch.cli.common import ConfigOption, SetOption, out, settings_and_path, settings_for, start_logging
from cesar_watch.cli.tables import by_reason
from cesar_watch.core.durable import write_new
from cesar_watch.core.errors import NameTaken, folder_fault
from cesar_watch.core.spool import create_spool
from cesar_watch.service.house import open_house
from cesar_watch.service.signals import Signals
from cesar_watch.service.supervisor import Supervisor

_CONFIG = """\
# cesar-watch. Every setting with its meaning and value: cesar-watch config show
# Paths are relative to this file.

[spool]
root = "."

[engine]
# "demo" is bundled and knows only a few dozen English words: enough to try it out.
# For real recordings: "small", "large-v3-turbo" ... (fetched once) or a folder with a CTranslate2 model.
model = {model}

# [[notify]]
# url = "ntfy://ntfy.sh/my-topic"
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (init, run, drain):
        app.command()(command)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the spool shall be.")],
    model: Annotated[str, typer.Option(help="The model to write into the configuration.")] = "demo",
) -> None:
    """Make a spool: its rooms, its marker and its config.toml."""
    root = folder.expanduser().absolute()
    if make_spool(root, model):
        out.print(f"Made the spool {root} with its config.toml.", markup=False)
    else:
        out.print(f"The spool {root} is ready; its config.toml was there and is as it was.", markup=False)
    out.print(f"Start the service: cesar-watch run --config {root / 'config.toml'}", markup=False)
    out.print(f"Then drop recordings into {root / 'inbox'}", markup=False)


def make_spool(root: Path, model: str) -> bool:
    """Make a spool with its configuration; return False when it had one, which is left as it is.

    Raises:
        SpoolError: It can't be made there. Running again goes on.
    """
    create_spool(root)
    try:
        write_new(root / "config.toml", [_CONFIG.format(model=json.dumps(model)).encode()], staging=root)
    except NameTaken:
        return False
    except OSError as fault:
        raise folder_fault(fault) from None
    return True


def run(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Run the service: watch the inbox and transcribe what comes, until stopped."""
    raise typer.Exit(_serve(config, overrides, drain=False))


def drain(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Transcribe what is in the inbox, then exit: 0, or 1 if something failed."""
    raise typer.Exit(_serve(config, overrides, drain=True))


def _serve(config: Path | None, overrides: list[str] | None, *, drain: bool) -> int:
    signals = Signals()
    signals.install()
    start_logging()
    settings, path = settings_and_path(config, overrides)
    with open_house(settings) as house:
        reload = functools.partial(settings_for, config, overrides)
        supervisor = Supervisor(house, reload=reload, drain=drain, signals=signals)
        supervisor.announce(path)
        code = supervisor.run()
    if drain:
        done = f"{supervisor.completed} completed, {supervisor.failed} failed"
        parked = supervisor.intake.parked
        left = f", {sum(parked.values())} left in the inbox ({by_reason(parked)})" if parked else ""
        out.print(f"Drained: {done}{left}.")
    return code
