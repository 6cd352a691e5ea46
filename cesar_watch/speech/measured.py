"""What `cesar-watch bench` has measured on this machine: how fast a model is, and with how many windows at once.

Kept beside the ledger, since it is true of this host alone. It is only advice: a file that is lost or damaged is as
good as none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from cesar_watch.core.durable import write_replace
from cesar_watch.core.recording_settings import EngineSettings
from cesar_watch.core.transcript import Value

NAME = "measured.json"
"""Its name in the state directory."""


class Figure(Value):
    """One way to run a model, and what it came to.

    The `asked_` ones are as in the settings, `device` and `compute_type` what the model then ran on. `rtf` is the
    real-time factor: processing seconds per second of sound, all cores at work. `peak_bytes` is the most memory that
    the engine held. `cores` are those that it could use.
    """

    model: str
    asked_device: str
    asked_compute_type: str
    device: str
    compute_type: str
    batch_size: int
    cores: int
    workers: int
    threads: int
    rtf: float
    peak_bytes: int
    measured_at: str


class _Page(Value):
    schema_version: int = 1
    figures: tuple[Figure, ...]


def read_measured(state_dir: Path) -> tuple[Figure, ...]:
    """Return all figures; none where there is no file that can be understood."""
    try:
        return _Page.model_validate_json((state_dir / NAME).read_bytes()).figures
    except (OSError, ValidationError):
        return ()


def write_measured(state_dir: Path, figures: Sequence[Figure]) -> None:
    """Keep figures in place of older ones of the same way to run the same model; durable after return.

    Raises:
        OSError: The state directory can't be written; the older ones stay.
    """
    others = [old for old in read_measured(state_dir) if not any(_takes_place(new, old) for new in figures)]
    content = _Page(figures=(*others, *figures)).model_dump_json(indent=1)
    write_replace(state_dir / NAME, content.encode() + b"\n", staging=state_dir)


def best(figures: Iterable[Figure], settings: EngineSettings) -> Figure | None:
    """Return the fastest way of those that were measured for these settings and the cores that there are now.

    What "auto" and "default" come to is known when a model is loaded: for them those figures count that were measured
    with them, for a name that says more also those that came to it.
    """
    cores = len(os.sched_getaffinity(0))
    fitting = (
        figure
        for figure in figures
        if (figure.model, figure.batch_size, figure.cores) == (settings.model, settings.batch_size, cores)
        and settings.device in (figure.asked_device, figure.device)
        and settings.compute_type in (figure.asked_compute_type, figure.compute_type)
        and settings.workers in (0, figure.workers)
        and settings.threads in (0, figure.threads)
    )
    return min(fitting, key=lambda figure: figure.rtf, default=None)


def _takes_place(new: Figure, old: Figure) -> bool:
    """Whether a figure is of the same way as an older one, or shows that the model does not run any more as it did."""

    def is_same(*keys: str) -> bool:
        return all(getattr(new, key) == getattr(old, key) for key in keys)

    is_about_same = is_same("model", "asked_device", "asked_compute_type", "batch_size", "cores")
    return is_about_same and (is_same("workers", "threads") or not is_same("device", "compute_type"))
