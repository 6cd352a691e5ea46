"""Recordings that lie anywhere, transcribed side by side on one engine: no inbox, no ledger, nothing left behind.

A recording never leaves its place. What is made of it appears whole, and replaces nothing.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cesar_watch.core.config import Settings
from cesar_watch.core.durable import write_new
from cesar_watch.core.errors import AttemptError, CesarError, Kind, NameTaken, UsageError
from cesar_watch.core.humanize import printable
from cesar_watch.core.recording_settings import Format
from cesar_watch.core.transcript import Transcript
from cesar_watch.delivery.formats import render
from cesar_watch.delivery.formats.about import About, Style
from cesar_watch.intake.probe import Short, probe
from cesar_watch.service.pace import Pace
from cesar_watch.speech.checkpoint import Checkpoint
from cesar_watch.speech.protocol import Engine
from cesar_watch.speech.quality import Quality, judge
from cesar_watch.speech.transcribe import Progress, transcribe

LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""Disks hold times that no calendar has."""


@dataclass(frozen=True)
class Order:
    """What is to be made of a recording, into which folder; without one, the contents are only returned."""

    recording: Path
    formats: tuple[Format, ...]
    folder: Path | None = None

    @property
    def outputs(self) -> dict[Format, Path]:
        """Where each format goes."""
        if self.folder is None:
            return {}
        return {fmt: self.folder / f"{self.recording.stem}.{fmt}" for fmt in self.formats}


@dataclass(frozen=True)
class Outcome:
    """What became of an order: all of it is there, or an error. `rtf` is the real-time factor, as in a sidecar."""

    order: Order
    duration_s: float | None = None
    language: str | None = None
    quality: Quality | None = None
    rtf: float | None = None
    contents: Mapping[Format, bytes] = field(default_factory=dict)
    error: CesarError | None = None


class OneOff:
    """Works on recordings with one engine, which is closed at the end. Used once.

    Args:
        at_once: How many recordings are in work at a time.
        scratch: An empty folder, in which finished windows wait for the rest.
        on_progress: Told how far a recording is, from several threads.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        *,
        at_once: int,
        scratch: Path,
        on_progress: Callable[[Order, Progress], None] = lambda *_: None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._at_once = at_once
        self._scratch = scratch
        self._on_progress = on_progress
        self._is_over = threading.Event()

    def outcomes(self, orders: Sequence[Order]) -> Generator[Outcome, None, None]:
        """Yield what becomes of each order, in this order; outputs are there as soon as they are made.

        What may succeed another time, as when the engine died over a recording beside it, is tried once more, alone,
        behind all the others. However this is ended, nothing works on anything any more.

        Raises:
            ModelError: The model can't be loaded: that holds for all that is left.
        """
        with ThreadPoolExecutor(self._at_once) as pool:
            try:
                futures = [pool.submit(self._carry_out, number, order) for number, order in enumerate(orders)]
                again: list[int] = []
                for number, future in enumerate(futures):
                    outcome = future.result()
                    if outcome.error is not None and outcome.error.kind is Kind.TRANSIENT:
                        again.append(number)
                    else:
                        yield outcome
                for number in again:
                    yield pool.submit(self._carry_out, number, orders[number]).result()
            finally:
                self._is_over.set()
                pool.shutdown(wait=False, cancel_futures=True)
                self._engine.close()
        # A thread that was about to ask for something may have started the engine anew.
        self._engine.close()

    def _carry_out(self, number: int, order: Order) -> Outcome:
        """Carry an order out, or go on with it, in one of the pool's threads.

        Raises:
            ModelError: The model can't be loaded.
        """
        try:
            outcome = self._transcribed(number, order)
            for fmt, path in order.outputs.items():
                _write(path, outcome.contents[fmt])
        except CesarError as fault:
            if fault.kind is Kind.SYSTEMIC:
                raise
            return Outcome(order, error=fault)
        return outcome

    def _transcribed(self, number: int, order: Order) -> Outcome:
        began_s = time.monotonic()
        pace = Pace(began_s, sidecar_every_s=math.inf)

        def on_progress(progress: Progress) -> None:
            pace.seen(progress.heard_s, time.monotonic())
            self._on_progress(order, progress)

        # The engine follows no links, which anybody could lay into an inbox.
        source = order.recording.resolve()
        cut_short = _is_cut_short(source)
        try:
            transcript = transcribe(
                self._engine,
                source,
                self._checkpoint(number),
                self._settings.job_options()["engine"],
                accept_short=True,
                seq=number,
                on_progress=on_progress,
                poll=self._poll,
            )
        except OSError as fault:
            raise _unwritable(self._scratch, fault) from None
        return Outcome(
            order,
            transcript.duration_s,
            transcript.language,
            judge(transcript, cut_short=cut_short),
            pace.rtf(time.monotonic() - began_s, transcript.duration_s),
            self._rendered(order, transcript),
        )

    def _checkpoint(self, number: int) -> Checkpoint:
        folder = self._scratch / str(number)
        folder.mkdir(exist_ok=True)
        return Checkpoint.open(folder, fingerprint="")

    def _rendered(self, order: Order, transcript: Transcript) -> dict[Format, bytes]:
        about = About(
            job_id="",
            name=printable(order.recording.name),
            recorded_at=_changed_at(order.recording),
            model=self._settings.engine.model,
        )
        style = Style.of(self._settings.output.shaping())
        return {fmt: b"".join(render(transcript, fmt, about, style)) for fmt in order.formats}

    def _poll(self) -> None:
        if self._is_over.is_set():
            raise CancelledError


def refuse(orders: Sequence[Order]) -> None:
    """Refuse what can be seen to fail before anything is begun.

    Raises:
        UsageError: A recording can't be read, or an output can't be written, is there already, or would be made twice.
    """
    makers: dict[Path, Path] = {}
    for order in orders:
        _refuse_recording(order.recording)
        for path in order.outputs.values():
            _refuse_output(path)
            if path in makers:
                both = f"{_shown(makers[path])} and {_shown(order.recording)}"
                raise UsageError(f"{both} would both become {_shown(path)}: transcribe them into different folders.")
            makers[path] = order.recording


def _refuse_recording(path: Path) -> None:
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        raise UsageError(f"{_shown(path)} does not exist: correct its name.") from None
    except OSError as fault:
        raise _unreadable(path, fault) from None
    if not is_file:
        raise UsageError(f"{_shown(path)} is no file: name recordings.")
    if not os.access(path, os.R_OK):
        raise _unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _refuse_output(path: Path) -> None:
    try:
        os.lstat(path)
    except FileNotFoundError:
        if os.access(path.parent, os.W_OK | os.X_OK):
            return
        raise UsageError(f"{_shown(path.parent)} is no folder that you may write into: choose another.") from None
    except OSError as fault:
        raise _unwritable(path, fault) from None
    raise _taken(path)


def _write(path: Path, content: bytes) -> None:
    try:
        write_new(path, [content], staging=path.parent)
    except NameTaken:
        raise _taken(path) from None
    except OSError as fault:
        raise _unwritable(path, fault) from None


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"{_shown(path)} exists already, and no file is replaced: move it away, or choose another folder."
    )


def _unwritable(path: Path, fault: OSError) -> UsageError:
    return UsageError(f"{_shown(path)} can't be written: {fault.strerror or fault}.")


def _unreadable(path: Path, fault: OSError) -> UsageError:
    return UsageError(f"{_shown(path)} can't be read: {fault.strerror or fault}.")


def _is_cut_short(source: Path) -> bool:
    """Whether the recording's own structure says that a part is missing."""
    try:
        with source.open("rb") as stream:
            return isinstance(probe(stream.fileno(), source.stat().st_size), Short)
    except OSError as fault:
        raise AttemptError(
            f"{_shown(source)} can't be read ({fault.strerror or fault}).", reason="source_unreadable"
        ) from None


def _changed_at(recording: Path) -> datetime:
    return datetime.fromtimestamp(min(int(recording.stat().st_mtime), LATEST), UTC).astimezone()


def _shown(path: Path) -> str:
    return printable(str(path))
