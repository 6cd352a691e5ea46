"""Benchmarks of commands: what an answer costs beside a bare Python, and how soon a cancel takes effect.

`make bench` runs them. Machines are shared and noisy: read the ratios, not the milliseconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cesar_watch.core.errors import AlreadyRunning
from tools.bench_service import Service
from tools.bench_speech import long_recording

COMMAND = [sys.executable, "-m", "cesar_watch"]
LOOKS = 7
LONG_S = 1800.0
CANCELLED_WITHIN_S = 2.0

Row = tuple[str, str, str, str]
"""What was measured, how long a bare Python took or what is promised, how long ours took, and ours by that."""


def main() -> None:
    """Run every benchmark and print one table."""
    table = Table("what", "plain, or at most", "cesar-watch", "ratio", title=f"Commands, on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="cesar-bench-") as folder:
        for row in commands(Path(folder)):
            table.add_row(*row)
    Console().print(table)


def commands(folder: Path) -> list[Row]:
    """Ask while nothing runs and while a recording is transcribed, start a second service beside it, and cancel."""
    root = folder / "spool"
    bare_s = _median_s([sys.executable, "-c", "pass"])
    recording = long_recording(folder / "long.mp3", LONG_S)
    service = Service(root, [recording], {"engine.model": "demo", "spool.quiet_s": 0.2})
    config = ["--config", str(root / "config.toml")]
    try:
        service.wait(lambda: any(fields["progress"] > 0 for fields in service.sidecars().values()))
        busy_s = _median_s([*COMMAND, "status", *config])
        second_s = _median_s([*COMMAND, "run", *config], exit_code=AlreadyRunning.exit_code)
        (fields,) = service.sidecars().values()
        asked_s = time.monotonic()
        subprocess.run([*COMMAND, "cancel", fields["job_id"], *config], check=True, stdout=subprocess.DEVNULL)
        cancelled_s = service.wait(lambda: [one["status"] for one in service.sidecars().values()] == ["cancelled"])
    finally:
        service.end()
    idle_s = _median_s([*COMMAND, "status", *config])
    return [
        _row("`status`, service stopped", bare_s, idle_s),
        _row("`status`, while transcribing", bare_s, busy_s),
        _row("second `run`, refused", bare_s, second_s),
        _row("`cancel`, until it is done", CANCELLED_WITHIN_S, cancelled_s - asked_s),
    ]


def _row(what: str, plain_s: float, ours_s: float) -> Row:
    return (what, f"{plain_s * 1000:.0f} ms", f"{ours_s * 1000:.0f} ms", f"{ours_s / plain_s:.2f} x")


def _median_s(command: list[str], *, exit_code: int = 0) -> float:
    looks = []
    for _ in range(LOOKS):
        began_s = time.monotonic()
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        looks.append(time.monotonic() - began_s)
        if done.returncode != exit_code:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    return sorted(looks)[LOOKS // 2]


if __name__ == "__main__":
    main()
