"""`ledger`: make the ledger anew from the folders, where it was lost, damaged or is another's."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cesar_watch.cli.common import ConfigOption, out, settings_for, start_logging
from cesar_watch.core.errors import folder_fault
from cesar_watch.core.humanize import count, duration
from cesar_watch.service import recovery
from cesar_watch.service.house import LEDGER, open_house

app = typer.Typer(help="Make the ledger anew from the folders.", no_args_is_help=True)

LOST = "The history of changes and the notices that wait are only in the old ledger; they do not come back."


def register(main: typer.Typer) -> None:
    """Add this module's commands."""
    main.add_typer(app, name="ledger")


@app.callback()
def _group() -> None:
    """Keep `rebuild` a word of its own, though it is the only one."""


@app.command()
def rebuild(
    config: ConfigOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Set the ledger aside and make a new one from folders, checkpoints and sidecars."""
    start_logging()
    settings = settings_for(config)
    path = settings.state_dir / LEDGER
    if not yes:
        out.print(LOST)
        typer.confirm(f"Set {path} aside and make a new one from the folders?", abort=True)
    began_s = time.monotonic()
    try:
        with open_house(settings, anew=True) as house:
            recovery.recover(house)
            counts = house.ledger.counts()
    except OSError as fault:
        raise folder_fault(fault) from None
    states = ", ".join(f"{number} {state.shown}" for state, number in counts.items() if number)
    made = f"{count(sum(counts.values()), 'job')}, made in {duration(time.monotonic() - began_s)}"
    out.print(f"The new ledger has {made}{f': {states}' if states else ''}.")
    if yes:
        out.print(LOST)
