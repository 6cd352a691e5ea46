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

    `rtf` is the real-time factor: processing seconds per second of sound, all cores at work. `peak_bytes` is the most
    memory that the engine held. `cores` are those that it could use.
    """

    model: str
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
    """Keep figures in place of older ones of the same model and settings; durable after return.

    Raises:
        OSError: The state directory can't be written; the older ones stay.
    """
    others = [old for old in read_measured(state_dir) if not any(_is_about_same(old, new) for new in figures)]
    content = _Page(figures=(*others, *figures)).model_dump_json(indent=1)
    write_replace(state_dir / NAME, content.encode() + b"\n", staging=state_dir)


def best(figures: Iterable[Figure], settings: EngineSettings) -> Figure | None:
    """Return the fastest way of those that were measured for these settings and the cores that there are now."""
    cores = len(os.sched_getaffinity(0))
    fitting = (
        figure
        for figure in figures
        if (figure.model, figure.batch_size, figure.cores) == (settings.model, settings.batch_size, cores)
        and settings.device in ("auto", figure.device)
        and (settings.compute_type in ("default", "auto") or figure.compute_type.startswith(settings.compute_type))
        and settings.workers in (0, figure.workers)
        and settings.threads in (0, figure.threads)
    )
    return min(fitting, key=lambda figure: figure.rtf, default=None)


def _is_about_same(one: Figure, other: Figure) -> bool:
    keys = ("model", "device", "compute_type", "batch_size", "cores")
    return all(getattr(one, key) == getattr(other, key) for key in keys)
