"""`export`: make any format of a transcript that is kept, long after its recording was transcribed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cesar_watch.cli.common import (
    ConfigOption,
    FormatsOption,
    IdArgument,
    SetOption,
    out,
    settings_for,
    tell_snapshot,
    wanted_formats,
)
from cesar_watch.core.durable import make_dirs, write_new
from cesar_watch.core.errors import NameTaken, UsageError
from cesar_watch.core.job import Job, State
from cesar_watch.delivery.formats import render
from cesar_watch.delivery.formats.about import Style
from cesar_watch.delivery.kept import Kept, read_kept
from cesar_watch.delivery.names import output_name
from cesar_watch.service.house import visit_house


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(export)


def export(
    job_id: IdArgument,
    formats: FormatsOption,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder for the files, which replace none. Left out: standard output."),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Make other formats of a transcript, by the settings of today; nothing is decoded again."""
    wanted = wanted_formats(formats)
    if to is None and len(wanted) > 1:
        raise UsageError("Only one format can go to standard output: name a folder for several with --to DIR.")
    settings = settings_for(config, overrides)
    with visit_house(settings) as house:
        job = house.ledger.find(job_id)
        tell_snapshot(house.ledger.is_snapshot)
    kept, style = _kept(settings.state_dir, job), Style.of(settings.output.shaping())
    contents = {fmt: b"".join(render(kept.transcript, fmt, kept.about, style)) for fmt in wanted}
    if to is None:
        typer.echo(contents[wanted[0]], nl=False)
    else:
        _write({to / output_name(job.base, fmt): content for fmt, content in contents.items()})


def _kept(state_dir: Path, job: Job) -> Kept:
    """Return the job's transcript; that of a duplicate is its twin's."""
    if job.state not in (State.COMPLETED, State.DUPLICATE):
        raise UsageError(f"Job {job.job_id[:8]} is {job.state.shown}: only a completed one has a transcript.")
    kept = read_kept(state_dir, job.duplicate_of or job.job_id)
    if kept is None:
        raise UsageError(
            f"No transcript of job {job.job_id[:8]} is kept, because an older version made it, it was deleted, or the "
            "state directory was lost: delete the job, and drop its recording again.",
            reason="not_kept",
        )
    return kept


def _write(contents: Mapping[Path, bytes]) -> None:
    for path, content in contents.items():
        try:
            make_dirs(path.parent.absolute())
            write_new(path, [content], staging=path.parent)
        except NameTaken:
            raise UsageError(f"{path} exists already: move it away, or choose another folder.") from None
        except OSError as fault:
            raise UsageError(f"{path} can't be written: {fault.strerror}.") from None
        out.print(str(path), markup=False)
