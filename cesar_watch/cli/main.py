"""The command `cesar-watch`: its sub-commands, and how errors become messages and exit codes.

0 success, 1 jobs failed, 2 usage or configuration, 3 spool or model unusable, 4 another instance runs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cesar_watch import __version__
from cesar_watch.cli import config, demo, jobs, notify, run, status
from cesar_watch.cli.common import err
from cesar_watch.core.errors import CesarError

app = typer.Typer(
    help="Drop a recording into a folder; find its transcript in another.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command()(run.init)
app.command()(run.run)
app.command()(run.drain)
app.command()(demo.demo)
app.command()(status.status)
app.command(name="jobs")(jobs.jobs)
app.command()(jobs.show)
app.command()(jobs.cancel)
app.command()(jobs.retry)
app.command()(jobs.delete)
app.add_typer(notify.app, name="notify")
app.add_typer(config.app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cesar-watch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Drop a recording into a folder; find its transcript in another."""


def main() -> None:
    """Run the command line. Errors of ours become one message on standard error and their exit code."""
    try:
        app()
    except CesarError as fault:
        err.print(f"cesar-watch: {fault}", markup=False)
        sys.exit(fault.exit_code)
    except BrokenPipeError:
        # The reader (head, a pager) has what it wanted; closing avoids a second error at exit.
        sys.stderr.close()
        sys.exit(0)
