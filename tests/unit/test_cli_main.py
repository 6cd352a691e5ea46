"""The command line's own assembly: every command is found, alone and in the help."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_group

from cesar_watch.cli.main import COMMANDS, make_app

NAMES = [name for names in COMMANDS.values() for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_command_that_is_asked_for_is_there(name: str) -> None:
    assert name in get_group(make_app([name, "--config", "x"])).commands


@pytest.mark.parametrize("arguments", [[], ["--help"], ["nonsense"]])
def test_help_and_mistyped_words_see_every_command(arguments: list[str]) -> None:
    assert list(get_group(make_app(arguments)).commands) == NAMES


def test_status_does_not_import_what_the_service_needs() -> None:
    code = (
        "import sys; from cesar_watch.cli.main import make_app; make_app(['status']);"
        "print([name for name in sys.modules if name in ('cesar_watch.service.supervisor', 'watchdog', 'tenacity')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
