"""Measure what the engine needs at its peak with models of real shapes, beside the estimate of `speech/memory.py`.

    python -m tools.bench_memory [tiny base small medium large]

The models are those of `bench_model.py`. Each measurement is an engine of its own that works on as many recordings at
once as the service would, each an hour and more of speech, until every worker has heard two whole windows. An hour or
two for the first three sizes; medium and large are measured in fewer ways, and "large" takes 10 GB.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cesar_watch.cli.demo import RECORDINGS
from cesar_watch.core.errors import AttemptError
from cesar_watch.core.humanize import size
from cesar_watch.core.recording_settings import ComputeType
from cesar_watch.service.supervisor import SPARE_PLACES
from cesar_watch.speech.engine_process import EngineProcess
from cesar_watch.speech.looped import write_looped
from cesar_watch.speech.memory import Use, needed_bytes, peak_bytes, weights_in
from cesar_watch.speech.protocol import Setup, WindowDone, request_for
from tools.bench_model import SIZES, make

RECORDING_S = 6600
"""From 6000 s on windows are as long as 300 s, whatever the recording's length."""
WINDOWS_EACH = 2
COMPUTE_TYPES: tuple[ComputeType, ...] = ("int8", "float32")
USES = [Use(*use) for use in itertools.product(COMPUTE_TYPES, (60.0, 300.0), (1, 2), (1, 4))]
FEW_USES = [Use("int8", 60.0), Use("int8", 60.0, workers=2), Use("int8", 60.0, batch_size=4), Use("float32", 60.0)]
LARGE = ("medium", "large")
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Measure the sizes of the command line."""
    out = Console()
    table = Table("model", "weights", "compute type", "window", "workers", "batch", "measured", "estimated", "ratio")
    with tempfile.TemporaryDirectory(prefix="cesar-bench-") as scratch:
        recording = Path(scratch) / "long.wav"
        write_looped(RECORDINGS / "meeting.m4a", RECORDING_S, recording)
        for name in sys.argv[1:] or ["tiny", "base", "small"]:
            folder = Path(scratch) / name
            make(SIZES[name], folder)
            for row in _rows(name, folder, recording):
                out.print(*row)
                table.add_row(*row)
    out.print(table)


def _rows(name: str, folder: Path, recording: Path) -> Iterator[tuple[str, ...]]:
    weights = weights_in(folder / "model.bin")
    for use in FEW_USES if name in LARGE else USES:
        peak, estimate = measure(folder, use, recording), needed_bytes(weights, use)
        how = (use.compute_type, f"{use.window_s:.0f} s", str(use.workers), str(use.batch_size))
        yield (name, f"{weights.number / 1e6:.0f} M", *how, size(peak), size(estimate), f"{estimate / peak:.2f}")


def measure(folder: Path, use: Use, recording: Path) -> int:
    """Return the peak of an engine's memory in bytes."""
    threads = max(1, CORES // use.workers)
    engine = EngineProcess(
        Setup(model_path=str(folder), device="cpu", compute_type=use.compute_type, workers=use.workers, threads=threads)
    )
    options = {"window_s": use.window_s, "batch_size": use.batch_size, "language": "en"}
    heard = threading.Semaphore(0)

    def hear() -> None:
        # When enough was heard, the engine is killed.
        with contextlib.suppress(AttemptError):
            for event in engine.transcribe(request_for(recording, options), poll=lambda: None):
                if isinstance(event, WindowDone) and event.window.index > 0:
                    heard.release()

    recordings = [threading.Thread(target=hear) for _ in range(use.workers + SPARE_PLACES)]
    for thread in recordings:
        thread.start()
    for _ in range(WINDOWS_EACH * use.workers):
        heard.acquire()
    assert engine.pid is not None
    peak = peak_bytes(engine.pid)
    engine.close()
    for thread in recordings:
        thread.join()
    return peak


if __name__ == "__main__":
    main()
