"""Estimate the memory that a model needs, and compare it with what there is, before anything is loaded.

The figures are those of `tools/bench_memory.py`; docs/architecture.md has its table. They are for the CPU: on a GPU it
is the GPU's own memory that counts, of which nothing is known here. Nothing here is heavy.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from cesar_watch.core.humanize import size
from cesar_watch.core.recording_settings import ComputeType, EngineSettings

MB = 1_000_000

_BASE_BYTES: Final = 210 * MB
"""Python, the libraries, the decoder, the tokenizer, and the speech detector at work."""
_BYTES_A_WINDOW_S: Final = 0.19 * MB
"""A second of a window in each recording in work: its sound and spectrum, and the sound of the next window."""
_RECORDINGS_BESIDE: Final = 2
"""So many recordings more than workers are in work."""
_WORKING_BYTES: Final = 10.5 * MB
"""For each 30 s that the model works on, times the root of the million weights: layers grow with the width of a model,
its weights with the square of that."""
_CHUNK_S: Final = 30.0
UNTOUCHED_BYTES: Final = 48 * MB
"""So much of a memory limit goes to what is asked for and never touched, as for stacks (RLIMIT_DATA, getrlimit(2))."""

_STORED_TYPES: Final = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
"""CTranslate2's own numbers for what is in a model.bin."""
_BYTES: Final = {"float32": 4, "int32": 4, "int16": 2, "float16": 2, "bfloat16": 2, "int8": 1}
_EMBEDDINGS: Final = b"decoder/embeddings/weight\0"

MILLION_WEIGHTS: Final = {
    "tiny": 39,
    "base": 74,
    "small": 244,
    "medium": 769,
    "large-v1": 1550,
    "large-v2": 1550,
    "large-v3": 1550,
    "large-v3-turbo": 809,
    "distil-small.en": 166,
    "distil-medium.en": 394,
    "distil-large-v2": 756,
    "distil-large-v3": 756,
    "distil-large-v3.5": 756,
}
"""Of the known sizes, as their authors tell; the others, for English alone (".en"), have as many as their twins."""
_SMALLER: Final = ("large-v3-turbo", "medium", "small", "base", "tiny")
"""What is suggested, the best first; each but the first has its twin for English alone."""


class Weights(NamedTuple):
    """What a model consists of: how many numbers, stored in which type."""

    number: int
    stored: str = "float16"

    @property
    def stored_bytes(self) -> int:
        """How large its model.bin is."""
        return self.number * _BYTES[self.stored]


class Use(NamedTuple):
    """How a model is used: `workers` windows of `window_s` seconds at once, `batch_size` times 30 s of each at once."""

    compute_type: ComputeType = "default"
    window_s: float = 120.0
    workers: int = 1
    batch_size: int = 1

    @classmethod
    def of(cls, settings: EngineSettings) -> Use:
        """Return the use that settings ask for; one window at a time where they leave that open."""
        return cls(settings.compute_type, settings.window_s, max(1, settings.workers), settings.batch_size)


def needed_bytes(weights: Weights, use: Use) -> int:
    """Return about how much memory the engine takes at its peak, to a tenth or so."""
    chunks = min(use.batch_size, math.ceil(use.window_s / _CHUNK_S))
    working = use.workers * chunks * _WORKING_BYTES * math.sqrt(weights.number / 1e6)
    sound = (use.workers + _RECORDINGS_BESIDE) * use.window_s * _BYTES_A_WINDOW_S
    return round(_BASE_BYTES + weights.number * _bytes_each(use.compute_type, weights.stored) + working + sound)


def _bytes_each(compute_type: str, stored: str) -> int:
    if compute_type == "auto":
        return _BYTES["int8"]
    if compute_type == "default":
        # A CPU computes halves as singles.
        return _BYTES["float32" if "float" in stored else stored]
    return _BYTES[compute_type.partition("_")[0]]


def known_weights(name: str) -> Weights | None:
    """Return what a model of a known size consists of, be it on disk or not."""
    millions = MILLION_WEIGHTS.get(name) or MILLION_WEIGHTS.get(name.removesuffix(".en"))
    return Weights(millions * 1_000_000) if millions else None


def weights_in(model_bin: Path) -> Weights:
    """Return what a model.bin holds, by its size and the type of its embeddings; float16 where that isn't found.

    Raises:
        OSError: It can't be read.
    """
    stored = "float16"
    with model_bin.open("rb") as stream, contextlib.suppress(struct.error, IndexError):
        stored = next((kind for name, kind in _variables(stream) if name == _EMBEDDINGS), stored)
    return Weights(model_bin.stat().st_size // _BYTES[stored], stored)


def _variables(stream: BinaryIO) -> Iterator[tuple[bytes, str]]:
    """Yield name and type of each variable, as CTranslate2's converter writes them (specs/model_spec.py)."""

    def number(layout: str) -> int:
        (value,) = struct.unpack(layout, stream.read(struct.calcsize(layout)))
        return int(value)

    number("<I")
    stream.seek(number("<H"), os.SEEK_CUR)
    number("<I")
    for _ in range(number("<I")):
        name = stream.read(number("<H"))
        stream.seek(4 * number("<B"), os.SEEK_CUR)
        yield name, _STORED_TYPES[number("<B")]
        stream.seek(number("<I"), os.SEEK_CUR)


def available_bytes(root: Path = Path("/")) -> int:
    """Return how much memory can be had without swapping: from the machine, and from this process's groups (cgroup v2).

    Where /proc/meminfo is hidden, as by the systemd unit, the machine counts with all that it has.

    Args:
        root: Where /proc and /sys lie.
    """
    try:
        lines = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines())
        machine = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what each group around this process leaves it, of those that have a limit."""
    top = root / "sys/fs/cgroup"
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for own in (line.removeprefix("0::/") for line in groups if line.startswith("0::/")):
        for group in (top / own, *(top / own).parents):
            # Few have a limit: of the others the file is absent, or says "max".
            with contextlib.suppress(OSError, ValueError):
                limit, current = (int((group / f"memory.{key}").read_text()) for key in ("max", "current"))
                kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                # The memory that files left there goes when it is needed.
                yield max(0, limit - current + int(kept["inactive_file"]))


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held so far (`VmHWM`).

    Raises:
        OSError: There is no such process, or it is somebody else's.
    """
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def memory_warning(settings: EngineSettings, folder: Path) -> str | None:
    """Return `shortage` for the model in a folder, used as the settings say on this machine; never raises.

    None also for a GPU, and for a model that can't be read: of that, loading it will tell.
    """
    if settings.device == "cuda":
        return None
    try:
        weights = weights_in(folder / "model.bin")
    except OSError:
        return None
    return shortage(settings.model, weights, Use.of(settings), _available_for(settings))


def workers_that_fit(settings: EngineSettings, folder: Path, workers: int) -> int:
    """Return how many windows at once the memory is enough for: at most `workers`, and always one; never raises."""
    if settings.device == "cuda":
        return workers
    try:
        weights = weights_in(folder / "model.bin")
    except OSError:
        return workers
    available, use = _available_for(settings), Use.of(settings)
    needed = {number: needed_bytes(weights, use._replace(workers=number)) for number in range(1, workers + 1)}
    return max((number for number, each in needed.items() if each <= available), default=1)


def _available_for(settings: EngineSettings) -> int:
    available = available_bytes()
    is_limited = settings.memory_limit_bytes and settings.isolation == "process"
    return max(0, min(available, settings.memory_limit_bytes - UNTOUCHED_BYTES)) if is_limited else available


def shortage(model: str, weights: Weights, use: Use, available: int) -> str | None:
    """Return a warning with the figures and what would fit, or None where the model fits into what is available."""
    needed = needed_bytes(weights, use)
    if needed <= available:
        return None
    fitting = [f"engine.{change} (about {size(fits)})" for change, fits in _lighter(model, weights, use, available)]
    remedy = f"Set {' or '.join(fitting)}." if fitting else "Close other programs, or use another machine."
    return (
        f"The model {model} needs about {size(needed)} of memory on the CPU, and there are {size(available)}: the "
        f"engine may run out of it. {remedy}"
    )


def _lighter(model: str, weights: Weights, use: Use, available: int) -> Iterator[tuple[str, int]]:
    """Yield what would fit: the same model with other numbers, and the best of the smaller ones."""
    small_numbers = needed_bytes(weights, use._replace(compute_type="int8"))
    if small_numbers <= available:
        yield 'compute_type = "int8"', small_numbers
    names = [f"{name}.en" for name in _SMALLER[1:]] if model.endswith(".en") else _SMALLER
    for name in names:
        smaller = known_weights(name)
        assert smaller is not None
        if smaller.number < weights.number and needed_bytes(smaller, use) <= available:
            yield f'model = "{name}"', needed_bytes(smaller, use)
            return
