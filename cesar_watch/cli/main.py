"""The command `cesar-watch`: its sub-commands, and how errors become messages and exit codes.

0 success, 1 jobs failed, 2 usage or configuration, 3 spool or model unusable, 4 another instance runs,
130 ended by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cesar_watch import __version__
from cesar_watch.core.errors import CesarError
from cesar_watch.core.held_signals import let_go

COMMANDS = {
    "run": ("init", "run", "drain"),
    "demo": ("demo",),
    "transcribe": ("transcribe",),
    "status": ("status",),
    "jobs": ("jobs", "show", "cancel", "retry", "delete"),
    "export": ("export",),
    "why": ("why",),
    "adopt": ("adopt",),
    "verify": ("verify",),
    "bench": ("bench",),
    "ledger": ("ledger",),
    "notify": ("notify",),
    "models": ("models",),
    "config": ("config",),
}
"""The modules beside this one, in the order of the help, and the commands that each has."""
SERVING = (["run"], ["drain"])
"""Commands that answer signals by themselves."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cesar-watch {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Drop a recording into a folder; find its transcript in another."""


def make_app(arguments: Sequence[str]) -> typer.Typer:
    """Return the command line for these arguments.

    Only the module of the command that is asked for is imported, so that `status` does not wait for what
    the service needs; for help, or a word that is no command, all are.
    """
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
    app.callback()(_options)
    asked = arguments[0] if arguments else ""
    needed = [module for module, names in COMMANDS.items() if asked in names] or list(COMMANDS)
    for module in needed:
        importlib.import_module(f"cesar_watch.cli.{module}").register(app)
    return app


def _end_tidily() -> None:
    """Let SIGTERM and a terminal that is closed end a command as Ctrl-C does, so that nothing half-made is left."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, end)


def _end_if_asked(fault: BaseException) -> None:
    """End as a signal asked for where the error is only what became of that: it came while a library tidied up."""
    before = fault.__context__
    while before is not None:
        if isinstance(before, KeyboardInterrupt):
            sys.exit(128 + signal.SIGINT)
        if isinstance(before, SystemExit):
            sys.exit(before.code)
        before = before.__context__


def main() -> None:
    """Run the command line. Errors of ours become one message on standard error and their exit code."""
    arguments = sys.argv[1:]
    try:
        app = make_app(arguments)
        if arguments[:1] not in SERVING:
            _end_tidily()
            let_go()
        app()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except CesarError as fault:
        _end_if_asked(fault)
        sys.stderr.write(f"cesar-watch: {fault}\n")
        sys.exit(fault.exit_code)
    except BrokenPipeError:
        # The reader (head, a pager) has what it wanted; closing avoids a second error at exit.
        sys.stderr.close()
        sys.exit(0)
