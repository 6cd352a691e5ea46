"""`transcribe`: recordings that lie anywhere, once, with the service's engine and without a spool."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich import progress
from rich.table import Column

from cesar_watch.cli.common import (
    ConfigOption,
    FormatsOption,
    ModelOption,
    SetOption,
    err,
    override,
    settings_or_defaults,
    tell,
    wanted_formats,
)
from cesar_watch.core.config import Settings
from cesar_watch.core.durable import make_dirs
from cesar_watch.core.errors import UsageError
from cesar_watch.core.humanize import duration, printable
from cesar_watch.core.recording_settings import Format
from cesar_watch.service.one_off import OneOff, Order, Outcome, refuse
from cesar_watch.speech.engines import division, make_engine
from cesar_watch.speech.measured import read_measured
from cesar_watch.speech.memory import memory_warning
from cesar_watch.speech.models import require_model
from cesar_watch.speech.quality import Quality
from cesar_watch.speech.transcribe import Progress

TOLD_SPANS = 5
"""Of more suspect spans than these only the number is told."""
_VERDICTS = {
    "suspect": "suspect, not all of its text should be believed unheard",
    "empty": "empty, no words were found in it",
    "partial": "partial, the recording is cut short and this is not all of it",
}


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(transcribe)


def transcribe(
    files: Annotated[
        list[Path],
        # What can't be read is refused below, as all else that is wrong with a file.
        typer.Argument(metavar="FILE", readable=False, help="Recordings or videos. They stay as they are."),
    ],
    *,
    formats: FormatsOption = ["txt"],  # noqa: B006 (typer reads it, and nobody changes it)
    beside: Annotated[
        bool, typer.Option("--beside", help="Write talk.txt beside talk.mp3. No file is ever replaced.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write into this folder, which is made if it is missing. Replaces no file."),
    ] = None,
    model: ModelOption = None,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="As in engine.language. Left out: that of the settings, or detected."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --beside or --to: print a line of JSON about each file.")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Transcribe files without a spool, one to standard output, several with --beside or --to DIR.

    Where there is a configuration, its [engine] and [output] count. 0: all went well; 1: a file failed.
    """
    orders = _orders(files, wanted_formats(formats), beside=beside, to=to, as_json=as_json)
    chosen = [*(overrides or []), *override("engine.model", model), *override("engine.language", language)]
    settings, _ = settings_or_defaults(config, chosen)
    has_failed, printed = False, b""
    with _Bars(is_shown=not as_json) as bars, _outcomes(settings, orders, bars) as outcomes:
        for outcome in outcomes:
            bars.end(outcome.order)
            has_failed |= outcome.error is not None
            if as_json:
                _print(json.dumps(_as_json(outcome)).encode() + b"\n")
                continue
            _tell_of(outcome)
            if outcome.order.folder is None:
                printed = b"".join(outcome.contents.values())
    # Only now, since it may go to the terminal on which progress was shown.
    _print(printed)
    raise typer.Exit(has_failed)


def _orders(
    files: Sequence[Path], formats: tuple[Format, ...], *, beside: bool, to: Path | None, as_json: bool
) -> list[Order]:
    """Return what is to be done.

    Raises:
        UsageError: It can't be, or it is not clear where to.
    """
    if beside and to is not None:
        raise UsageError("Choose one: --beside, or --to DIR.")
    if not beside and to is None and (as_json or len(files) * len(formats) > 1):
        raise UsageError("Only one file in one format can go to standard output: add --beside, or --to DIR.")
    orders = [Order(path, formats, path.parent if beside else to) for path in files]
    if to is not None:
        refuse([Order(path, formats) for path in files])  # before a folder is made for nothing
        _make(to)
    refuse(orders)
    return orders


def _make(folder: Path) -> None:
    try:
        make_dirs(folder.absolute())
    except OSError as fault:
        raise UsageError(f"{printable(str(folder))} can't be made: {fault.strerror}. Choose another folder.") from None


def _print(content: bytes) -> None:
    """Write to standard output.

    Raises:
        UsageError: It can't be written, as when it goes into a file on a full disk.
    """
    try:
        typer.echo(content, nl=False)
    except BrokenPipeError:
        raise
    except OSError as fault:
        raise UsageError(f"Standard output can't be written: {fault.strerror}.") from None


@contextlib.contextmanager
def _outcomes(settings: Settings, orders: Sequence[Order], bars: _Bars) -> Iterator[Iterator[Outcome]]:
    """Find the model and begin; at the end, however it comes, nothing goes on."""
    folder = require_model(settings.engine)
    if settings.engine.model == "demo":
        tell("The model demo knows only a few dozen English words: name another one with --model.")
    warning = memory_warning(settings.engine, folder)
    if warning is not None:
        tell(warning)
    measured = read_measured(settings.state_dir)
    windows, _ = division(settings.engine, folder, measured)
    with tempfile.TemporaryDirectory(prefix="cesar-watch-") as scratch:
        work = OneOff(
            settings,
            make_engine(settings.engine, folder, measured),
            # One more, so that no window waits for the beginning of a recording.
            at_once=windows + 1,
            scratch=Path(scratch),
            on_progress=bars.show,
        )
        with contextlib.closing(work.outcomes(orders)) as outcomes:
            yield outcomes


class _Bars:
    """How far each recording is and how long it will take, on standard error, if that is a terminal."""

    def __init__(self, *, is_shown: bool) -> None:
        self._bars = progress.Progress(
            progress.TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(max_width=40, no_wrap=True, overflow="ellipsis"),
            ),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeRemainingColumn(),
            console=err,
            transient=True,
            # Standard output may be piped into something.
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not (is_shown and err.is_terminal),
        )
        self._lock = threading.Lock()
        self._tasks: dict[Order, progress.TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, order: Order, seen: Progress) -> None:
        """Show how far a recording is; any thread."""
        with self._lock:
            if order not in self._tasks:
                self._tasks[order] = self._bars.add_task(printable(order.recording.name))
        self._bars.update(self._tasks[order], completed=seen.heard_s, total=seen.expected_s)

    def end(self, order: Order) -> None:
        """Take a recording's bar away."""
        with self._lock:
            if order in self._tasks:
                self._bars.remove_task(self._tasks.pop(order))


def _tell_of(outcome: Outcome) -> None:
    """Say what a person has to know of an outcome; that all is well, only on a terminal."""
    name = str(outcome.order.recording)
    if outcome.error is not None:
        told = str(outcome.error)
        # Most errors begin with the recording's own name, without its folder.
        about = told.removeprefix(f"{outcome.order.recording.name} ")
        tell(f"{name}: {told}" if about == told else f"{name} {about}")
        return
    assert outcome.duration_s is not None
    assert outcome.quality is not None
    if outcome.quality.verdict != "ok":
        tell(f"{name}: {_doubts(outcome.quality)}.")
    if outcome.order.outputs and err.is_terminal:
        made = ", ".join(map(str, outcome.order.outputs.values()))
        tell(f"{name}: {duration(outcome.duration_s)} transcribed into {made}")


def _doubts(quality: Quality) -> str:
    spans = [
        f"{_clock(span.start_s)}-{_clock(span.end_s)} {span.reason.replace('_', ' ')}"
        for span in quality.spans[:TOLD_SPANS]
    ]
    if len(quality.spans) > TOLD_SPANS:
        spans.append(f"and {len(quality.spans) - TOLD_SPANS} more")
    return _VERDICTS[quality.verdict] + (f" ({', '.join(spans)})" if spans else "")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _as_json(outcome: Outcome) -> dict[str, Any]:
    quality, error = outcome.quality, outcome.error
    made = outcome.order.outputs if error is None else {}
    return {
        "path": str(outcome.order.recording),
        "outputs": [str(path) for path in made.values()],
        "verdict": quality.verdict if quality else None,
        "spans": [span.model_dump() for span in quality.spans] if quality else [],
        "language": outcome.language,
        "duration_s": outcome.duration_s,
        "rtf": outcome.rtf,
        "error": {"reason": error.reason, "message": str(error)} if error else None,
    }
