"""`bench`: what this machine makes of a model, measured, and kept for estimates and for `engine.workers = 0`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import progress
from rich.table import Table

from cesar_watch.cli.common import (
    ConfigOption,
    JsonOption,
    ModelOption,
    SetOption,
    err,
    out,
    override,
    settings_or_defaults,
    tell,
)
from cesar_watch.cli.demo import RECORDINGS
from cesar_watch.core.config import Settings
from cesar_watch.core.errors import SpoolError, UsageError, folder_fault
from cesar_watch.core.humanize import count, duration, size
from cesar_watch.core.instance import is_running, make_state_dir
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.spool import read_marker
from cesar_watch.speech.measured import Figure, best, write_measured
from cesar_watch.speech.memory import memory_warning, workers_that_fit
from cesar_watch.speech.models import require_model
from cesar_watch.speech.parallel import divisions
from cesar_watch.speech.trial import measure

SECONDS_EACH = 300.0
"""Sound for each window at once: some windows one after the other, since the last ones keep not all cores at work."""
MOST_SECONDS = 36_000.0
"""A gigabyte among the temporary files."""
HOUR_S = 3600.0


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(bench)


def bench(
    model: ModelOption = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, max=MOST_SECONDS, help="Length of the recording. Left out: 300 for each window at once."),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast a model is on this machine, and with how many windows at once; it takes minutes.

    Where there is a spool its service goes by the figures from its next start on.
    """
    settings, _ = settings_or_defaults(config, [*(overrides or []), *override("engine.model", model)])
    state_dir = _state_dir(settings)
    folder = require_model(settings.engine)
    ways = _ways(settings.engine, folder)
    seconds = seconds or SECONDS_EACH * ways[-1][0]
    if state_dir is not None and is_running(state_dir):
        tell("The service runs: while it works, these figures come out too slow.")
    figures = _measured(settings.engine, folder, ways, seconds)
    fastest = best(figures, settings.engine)
    if as_json:
        typer.echo(json.dumps([figure.model_dump() | {"is_best": figure is fastest} for figure in figures], indent=2))
    else:
        out.print(_table(figures, fastest), soft_wrap=False)
        out.print(_about(figures[0], seconds), markup=False)
    if state_dir is None:
        tell("Nothing is stored: there is no spool here.")
    else:
        _store(state_dir, figures)


def _state_dir(settings: Settings) -> Path | None:
    """Return where figures are stored; None where there is no spool.

    Raises:
        SpoolError: There is one, but it can't hold them.
    """
    try:
        read_marker(settings.spool.root)
    except SpoolError as fault:
        if fault.reason == "spool_missing":
            return None
        raise
    make_state_dir(settings.state_dir)
    return settings.state_dir


def _ways(settings: EngineSettings, folder: Path) -> list[tuple[int, int]]:
    """Return the ways to measure, as windows at once and threads each, and say what is wrong with memory."""
    warning = memory_warning(settings, folder)
    if warning is not None:
        tell(warning)
    ways = divisions(settings)
    fitting = settings.workers or workers_that_fit(settings, folder, ways[-1][0])
    left_out = [str(workers) for workers, _ in ways if workers > fitting]
    if left_out:
        tell(f"Left out, for want of memory: {' and '.join(left_out)} windows at once.")
    return [way for way in ways if way[0] <= fitting]


def _measured(settings: EngineSettings, folder: Path, ways: Sequence[tuple[int, int]], seconds: float) -> list[Figure]:
    """Measure each way, with progress on standard error, if that is a terminal."""
    with (
        tempfile.TemporaryDirectory(prefix="cesar-watch-bench-") as scratch,
        progress.Progress(console=err, transient=True, redirect_stdout=False, disable=not err.is_terminal) as bars,
    ):
        recording = _recording(Path(scratch), seconds)

        def measured(workers: int, threads: int) -> Figure:
            what = f"{count(workers, 'window')} at once, {count(threads, 'thread')} each"
            bar = bars.add_task(what, total=seconds)

            def on_heard(heard_s: float) -> None:
                bars.update(bar, completed=heard_s)

            figure = measure(settings, folder, recording, workers=workers, threads=threads, on_heard=on_heard)
            # The last words that are told may come before the end of the recording.
            on_heard(seconds)
            return figure

        return [measured(*way) for way in ways]


def _recording(scratch: Path, seconds: float) -> Path:
    """Make the recording to measure with out of the bundled meeting: its speech and its pauses, over and over."""
    path = scratch / "meeting.wav"
    command = [sys.executable, "-m", "cesar_watch.speech.looped", str(RECORDINGS / "meeting.m4a"), str(seconds)]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        last_line = done.stderr.strip().rpartition("\n")[2]
        raise UsageError(f"The recording to measure with can't be made in {scratch}: {last_line}.")
    return path


def _store(state_dir: Path, figures: Sequence[Figure]) -> None:
    try:
        write_measured(state_dir, figures)
    except OSError as fault:
        raise folder_fault(fault) from None
    tell("Stored; the service goes by it from its next start on.")


def _table(figures: Sequence[Figure], fastest: Figure | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", width=1)
    for heading in ("WINDOWS AT ONCE", "THREADS EACH", "REAL-TIME FACTOR", "AN HOUR TAKES", "MEMORY"):
        table.add_column(heading, no_wrap=True, justify="right")
    for figure in figures:
        table.add_row(
            "*" if figure is fastest else "",
            str(figure.workers),
            str(figure.threads),
            f"{figure.rtf:.3f}",
            duration(figure.rtf * HOUR_S),
            size(figure.peak_bytes),
            style="bold" if figure is fastest else "",
        )
    return table


def _about(figure: Figure, seconds: float) -> str:
    return (
        f"The model {figure.model} on {figure.device} with {figure.compute_type}, {count(figure.cores, 'core')}, "
        f"{duration(seconds)} of speech. *: the fastest."
    )
