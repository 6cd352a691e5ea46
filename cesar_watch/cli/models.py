"""`models`: which there are, fetch one, where one lies. A spool is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cesar_watch.cli.common import ConfigOption, JsonOption, out, settings_or_defaults
from cesar_watch.cli.tables import plain
from cesar_watch.core.errors import ModelError, UsageError
from cesar_watch.core.humanize import size
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.speech.catalogue import Listed, list_models
from cesar_watch.speech.memory import Use
from cesar_watch.speech.models import fetch_model, find_model

app = typer.Typer(help="See which models there are, fetch one, find where one lies.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As in engine.model: a size, a hub id, a folder.")]


def register(main: typer.Typer) -> None:
    """Add this module's commands."""
    main.add_typer(app, name="models")


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the models: on disk or not, their size, the memory that they need about, their languages."""
    chosen = _settings(config)
    settings = chosen or EngineSettings()
    use = Use.of(settings)
    models = list_models(use, chosen.model if chosen else None)
    if as_json:
        typer.echo(json.dumps([_as_json(model) for model in models], indent=2))
        return
    out.print(_table(models), soft_wrap=False)
    out.print(f"Memory: an estimate, with engine.compute_type = {settings.compute_type}. *: in the settings.")


@app.command()
def pull(name: NameArgument, as_json: JsonOption = False) -> None:
    """Fetch a model, with progress; what an earlier try fetched is kept. One that is on disk is left as it is."""
    folder = find_model(name)
    if folder is None:
        folder, told = fetch_model(name), "is fetched"
    else:
        told = "is on disk already"
    if as_json:
        typer.echo(json.dumps({"model": name, "folder": str(folder)}))
        return
    out.print(f"The model {name} {told}: {folder}", markup=False)


@app.command()
def path(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="As in engine.model; left out: that of the settings.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the folder in which a model lies, for copying it to another machine."""
    if name is None:
        chosen = _settings(config)
        if chosen is None:
            raise UsageError("Name a model: there is no configuration here that does.")
        name = chosen.model
    folder = find_model(name)
    if folder is None:
        raise ModelError(
            f'The model "{name}" is not on disk; `cesar-watch models pull {name}` fetches it.', reason="model_missing"
        )
    typer.echo(json.dumps({"model": name, "folder": str(folder)}) if as_json else str(folder))


def _settings(config: Path | None) -> EngineSettings | None:
    """Return the engine's settings, or None where neither a file nor the environment names a model."""
    settings, found = settings_or_defaults(config)
    return settings.engine if found is not None or "model" in settings.engine.model_fields_set else None


def _as_json(model: Listed) -> dict[str, object]:
    return {
        "model": model.name,
        "folder": str(model.folder) if model.folder else None,
        "size_bytes": model.size_bytes,
        "memory_bytes": model.memory_bytes,
        "languages": model.languages,
        "in_settings": model.is_chosen,
    }


def _table(models: list[Listed]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", width=1)
    table.add_column("MODEL", overflow="fold")
    table.add_column("ON DISK", no_wrap=True)
    for heading in ("SIZE", "MEMORY"):
        table.add_column(heading, no_wrap=True, justify="right")
    table.add_column("LANGUAGES", no_wrap=True)
    for model in models:
        table.add_row(
            "*" if model.is_chosen else "",
            plain(model.name),
            "yes" if model.folder else "",
            size(model.size_bytes) if model.size_bytes else "",
            f"{model.memory_bytes / 1e9:.1f} GB" if model.memory_bytes else "",
            model.languages or "",
            style="bold" if model.is_chosen else "",
        )
    return table
