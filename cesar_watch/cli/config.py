"""`config`: check, show and describe the settings."""

from __future__ import annotations

import json

import typer

from cesar_watch.cli.common import ConfigOption, JsonOption, SetOption, out, settings_and_path, settings_for
from cesar_watch.cli.tables import facts_table
from cesar_watch.core.config import Settings
from cesar_watch.core.config_file import example_toml, render_toml
from cesar_watch.core.recording_settings import EngineSettings, ProfileSettings
from cesar_watch.core.spool import read_marker
from cesar_watch.delivery.send import check_channel
from cesar_watch.intake.ignored import IGNORED
from cesar_watch.speech.memory import memory_warning
from cesar_watch.speech.models import needs_fetching, require_model

app = typer.Typer(help="Check, show and describe the settings.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Add this module's commands."""
    main.add_typer(app, name="config")


@app.command()
def check(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """See that the settings are valid and that spool, model and channels are usable."""
    settings, path = settings_and_path(config, overrides)
    read_marker(settings.spool.root)
    engines = [settings.engine, *(_engine_of(profile, settings.engine) for profile in settings.profile)]
    warnings = dict.fromkeys(_check_model(engine) for engine in engines)
    for channel in settings.notify:
        check_channel(channel.url)
    out.print(f"{path or 'The environment'}: all well. Spool {settings.spool.root}.", markup=False)
    if needs_fetching(settings.engine):
        out.print(f"The model {settings.engine.model} is not on disk yet; `cesar-watch run` fetches it.", markup=False)
    for warning in filter(None, warnings):
        out.print(warning, markup=False)


def _engine_of(profile: ProfileSettings, engine: EngineSettings) -> EngineSettings:
    chosen = {key: value for key, value in profile.chosen().items() if key in EngineSettings.model_fields}
    return engine.model_copy(update=chosen)


def _check_model(settings: EngineSettings) -> str | None:
    """Return a warning where there is too little memory for a model that is on disk.

    Raises:
        ModelError: It is not there, and not to be had.
    """
    return None if needs_fetching(settings) else memory_warning(settings, require_model(settings))


@app.command()
def show(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Print every setting as it is in force, with its meaning."""
    settings, path = settings_and_path(config, overrides)
    if as_json:
        typer.echo(settings.model_dump_json(indent=2))
        return
    typer.echo(f"# From {path or 'the environment'}\n\n{render_toml(settings)}", nl=False)


@app.command()
def ignored(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the names that are never taken from the inbox; `spool.ignore` adds to them and takes away."""
    settings = settings_for(config)
    entries = [(glob, "spool.ignore") for glob in settings.spool.ignore]
    entries += [(glob, whose) for whose, globs in IGNORED for glob in globs]
    if as_json:
        typer.echo(json.dumps([{"glob": glob, "from": whose} for glob, whose in entries], indent=2))
        return
    out.print(facts_table([(glob, whose) for glob, whose in entries]), soft_wrap=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings, for editors."""
    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))


@app.command()
def example() -> None:
    """Print a configuration with every setting at its default."""
    typer.echo(example_toml(), nl=False)
