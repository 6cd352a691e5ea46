"""`demo`: the main job, shown on bundled recordings with the bundled model: drop, watch, read."""

from __future__ import annotations

import contextlib
import difflib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.json import JSON
from rich.live import Live
from rich.text import Text

from cesar_watch.cli.common import out
from cesar_watch.cli.run import make_spool
from cesar_watch.cli.status import render, take_snapshot
from cesar_watch.cli.tables import jobs_table, plain, utc_now
from cesar_watch.core.config import Settings
from cesar_watch.core.config_file import load_settings
from cesar_watch.core.errors import AttemptError, UsageError
from cesar_watch.core.job import TERMINAL, Job, State
from cesar_watch.service.house import visit_house
from cesar_watch.service.state_file import read_state

RECORDINGS = Path(__file__).resolve().parent.parent / "assets" / "demo" / "recordings"
START_LIMIT_S = 60.0
WORK_LIMIT_S = 600.0
EXCERPT_WORDS = 40


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(demo)


def demo(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A new folder for the spool; left out: a temporary one.")
    ] = None,
) -> None:
    """Show the main job: make a spool, drop bundled recordings in, watch, print the transcripts."""
    root = _new_folder(folder)
    out.rule("A spool is made")
    make_spool(root, "demo")
    _print_tree(root)
    settings = load_settings(root / "config.toml")
    out.rule("The service starts")
    with _service(root):
        _await_ready(settings)
        names = _drop(settings)
        out.print(f"Dropped into {settings.spool.root / 'inbox'}: {', '.join(names)}")
        out.rule("At work")
        jobs = _watch(settings, len(names))
    for job in jobs:
        _print_transcript(settings, job)
    _print_sidecar(settings, jobs[0])
    out.rule("Where everything lies")
    _print_tree(root)
    if any(job.state is not State.COMPLETED for job in jobs):
        raise typer.Exit(1)


def _new_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="cesar-watch-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: name a new folder for the demo.")
    return folder.absolute()


@contextlib.contextmanager
def _service(root: Path) -> Iterator[None]:
    """Run the service as a person would start it, its log in the spool; stopped at the end."""
    command = [sys.executable, "-m", "cesar_watch", "run", "--config", str(root / "config.toml")]
    with (root / "service.log").open("wb") as log:
        # quiet_s is short because the demo drops finished files by renaming them into place.
        service = subprocess.Popen([*command, "--set", "spool.quiet_s=1"], stdout=log, stderr=log)
        try:
            yield
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(timeout=40)


def _await_ready(settings: Settings) -> None:
    until_s = time.monotonic() + START_LIMIT_S
    while True:
        state = read_state(settings.state_dir)
        if state is not None and state.phase == "ready":
            out.print(f"Ready (process {state.pid}); its log is {settings.spool.root / 'service.log'}")
            return
        if time.monotonic() > until_s:
            raise AttemptError(f"The service did not start: see {settings.spool.root / 'service.log'}.")
        time.sleep(0.1)


def _drop(settings: Settings) -> list[str]:
    """Copy the bundled recordings into the inbox as a careful sender does: hidden name first, then renamed."""
    inbox = settings.spool.root / "inbox"
    recordings = sorted(path for path in RECORDINGS.iterdir() if not path.name.endswith(".txt"))
    for recording in recordings:
        arriving = inbox / f".{recording.name}.arriving"
        shutil.copyfile(recording, arriving)
        os.rename(arriving, inbox / recording.name)
    return [recording.name for recording in recordings]


def _watch(settings: Settings, expected: int) -> list[Job]:
    """Show live progress until every recording has ended; return the jobs in order."""
    until_s = time.monotonic() + WORK_LIMIT_S
    with Live(console=out, auto_refresh=False, transient=False) as live:
        while True:
            snapshot = take_snapshot(settings)
            with visit_house(settings) as house:
                jobs = house.ledger.jobs()
            live.update(Group(render(snapshot, with_jobs=False), Text(), jobs_table(jobs, utc_now())), refresh=True)
            if len(jobs) == expected and all(job.state in TERMINAL for job in jobs):
                return jobs
            if time.monotonic() > until_s:
                raise AttemptError(f"The demo took too long: see {settings.spool.root / 'service.log'}.")
            time.sleep(0.25)


def _print_transcript(settings: Settings, job: Job) -> None:
    out.rule(f"{job.display_name}: {job.state.shown}")
    path = settings.spool.root / "outbox" / f"{job.base}.txt"
    if not path.exists():
        out.print(plain(job.message))
        return
    heard = path.read_text(encoding="utf-8").split()
    spoken = (RECORDINGS / job.display_name).with_suffix(".expected.txt").read_text(encoding="utf-8").split()
    match = difflib.SequenceMatcher(None, _bare(spoken), _bare(heard), autojunk=False)
    right = sum(block.size for block in match.get_matching_blocks())
    for label, words in (("heard ", heard), ("spoken", spoken)):
        more = " ..." if len(words) > EXCERPT_WORDS else ""
        out.print(Text(f"{label}  ", style="bold") + plain(" ".join(words[:EXCERPT_WORDS]) + more), soft_wrap=False)
    out.print(f"{right} of {len(spoken)} words right; {job.message} {path}", markup=False)


def _bare(words: list[str]) -> list[str]:
    """Return words without case and punctuation."""
    return [word.strip(".,;:!?").casefold() for word in words]


def _print_sidecar(settings: Settings, job: Job) -> None:
    path = settings.spool.root / "outbox" / f"{job.base}.status.json"
    out.rule(f"The sidecar outbox/{path.name}")
    out.print(JSON(path.read_text(encoding="utf-8")))


def _print_tree(root: Path) -> None:
    out.print(str(root), markup=False)
    for room in ("inbox", "processing", "outbox", "archive", "failed"):
        names = sorted(path.name for path in (root / room).rglob("*") if path.is_file())
        shown = textwrap.fill(", ".join(names) or "(empty)", 64, initial_indent="", subsequent_indent=" " * 15)
        out.print(Text(f"  {room + '/':12} {shown}"))
