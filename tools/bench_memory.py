"""Measure what models of real shapes need at their peak, beside the estimate of `speech/memory.py`.

    python -m tools.bench_memory [tiny base small medium large]

The models are those of `bench_model.py`. Each measurement is a process of its own: faster-whisper, with all that the
engine imports, on a minute of noise; on as much for each window of a batch. Minutes; "large" takes 10 GB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cesar_watch.core.humanize import size
from cesar_watch.speech.memory import Use, needed_bytes, weights_in
from tools.bench_model import SIZES, make

MINUTE_S = 60.0
USES = [
    Use("int8", MINUTE_S),
    Use("float32", MINUTE_S),
    Use("int8", MINUTE_S, workers=2),
    Use("int8", 4 * MINUTE_S, batch_size=4),
]


def main() -> None:
    """Measure the sizes of the command line; or, in a process made for it, one use of one model."""
    if sys.argv[1:2] == ["measure"]:
        measure(Path(sys.argv[2]), USES[int(sys.argv[3])])
        return
    table = Table("model", "weights", "compute type", "workers", "batch", "measured", "estimated", "ratio")
    with tempfile.TemporaryDirectory(prefix="cesar-bench-") as scratch:
        for name in sys.argv[1:] or ["tiny", "base", "small"]:
            folder = Path(scratch) / name
            make(SIZES[name], folder)
            for row in _rows(name, folder):
                table.add_row(*row)
    Console().print(table)


def _rows(name: str, folder: Path) -> Iterator[tuple[str, ...]]:
    weights = weights_in(folder / "model.bin")
    for number, use in enumerate(USES):
        command = [sys.executable, "-m", "tools.bench_memory", "measure", str(folder), str(number)]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        estimate = needed_bytes(weights, use)
        how = (use.compute_type, str(use.workers), str(use.batch_size))
        yield (name, f"{weights.number / 1e6:.0f} M", *how, size(peak), size(estimate), f"{estimate / peak:.2f}")


def measure(folder: Path, use: Use) -> None:
    """Transcribe, and print the peak of this process's memory in bytes."""
    # What is imported is measured too, so only a measuring process imports it.
    import av  # noqa: PLC0415, F401
    import numpy as np  # noqa: PLC0415
    from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415
    from faster_whisper.vad import get_speech_timestamps  # noqa: PLC0415

    sound = np.random.default_rng(1).normal(0, 0.1, int(use.window_s) * 16_000).astype(np.float32)
    get_speech_timestamps(sound)
    model = WhisperModel(
        str(folder), device="cpu", compute_type=use.compute_type, num_workers=use.workers, local_files_only=True
    )
    clips = [{"start": start, "end": start + 30} for start in range(0, int(use.window_s), 30)]

    def work() -> None:
        if use.batch_size > 1:
            batched = BatchedInferencePipeline(model)
            segments, _ = batched.transcribe(
                sound,
                language="en",
                word_timestamps=True,
                vad_filter=False,
                clip_timestamps=clips,
                batch_size=use.batch_size,
            )
        else:
            segments, _ = model.transcribe(sound, language="en", word_timestamps=True, condition_on_previous_text=False)
        list(segments)

    threads = [threading.Thread(target=work) for _ in range(use.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024)


if __name__ == "__main__":
    main()
