"""Run the real service on recordings, for benchmarks: how long it took, and what its processes used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cesar_watch.speech.memory import peak_bytes

LOOK_S = 0.02
MEMORY_EVERY_S = 0.1


@dataclass(frozen=True)
class Run:
    """What a run of the service came to.

    Attributes:
        wall_s: From its start until the last recording was published; its own start and its engine's included.
        first_progress_s: From the first claim until a sidecar told of progress.
        service_cpu_s: Time that the service itself computed, its engine's not included.
        peak_bytes: The most memory that all its processes held, each at its own peak: none is missed between two looks.
        idle_bytes: What was held when the engine was unloaded; 0 where that was not waited for.
        sidecars: Those of all recordings, by the stems of their names.
    """

    wall_s: float
    first_progress_s: float
    service_cpu_s: float
    peak_bytes: int
    idle_bytes: int
    sidecars: dict[str, dict[str, Any]]


class Service:
    """A service on a new spool, with recordings in its inbox from the beginning."""

    def __init__(self, folder: Path, recordings: Sequence[Path], settings: Mapping[str, object]) -> None:
        command = [sys.executable, "-m", "cesar_watch"]
        subprocess.run([*command, "init", str(folder)], check=True, stdout=subprocess.DEVNULL)
        for recording in recordings:
            shutil.copyfile(recording, folder / "inbox" / recording.name)
        self._folder = folder
        self._log = folder / "service.log"
        overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "run", "--config", str(folder / "config.toml"), *overrides], stdout=log, stderr=log
            )
        self._peak_bytes = 0
        self._is_over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()

    def end(self) -> None:
        """Stop it."""
        self._is_over.set()
        self._sampler.join()
        self._process.terminate()
        self._process.wait()

    @property
    def peak_bytes(self) -> int:
        """The most memory so far."""
        return self._peak_bytes

    @property
    def pid(self) -> int:
        """The service's own process."""
        return self._process.pid

    def wait(self, condition: Callable[[], bool]) -> float:
        """Wait for a condition and return when it came, on the monotonic clock.

        Raises:
            RuntimeError: The service ended before; its last words are in it.
        """
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(self._log.read_text()[-2000:])
            time.sleep(LOOK_S)
        return time.monotonic()

    def sidecars(self) -> dict[str, dict[str, Any]]:
        """Return the sidecars that there are, by stem."""
        paths = (self._folder / "outbox").glob("*.status.json")
        return {path.name.removesuffix(".status.json"): json.loads(path.read_bytes()) for path in paths}

    def _sample(self) -> None:
        while not self._is_over.wait(MEMORY_EVERY_S):
            held = sum(most_resident_bytes(pid) for pid in [self.pid, *children(self.pid)])
            self._peak_bytes = max(self._peak_bytes, held)


def run(folder: Path, recordings: Sequence[Path], settings: Mapping[str, object], *, until_idle: bool = False) -> Run:
    """Let a service transcribe recordings.

    Args:
        until_idle: Wait at the end until the engine was unloaded.

    Raises:
        RuntimeError: A recording failed, or the service did; the reason is in it.
    """
    began_s = time.monotonic()
    service = Service(folder, recordings, {"spool.quiet_s": 0, "spool.on_duplicate": "transcribe", **settings})
    try:
        claimed_s = service.wait(lambda: bool(service.sidecars()))
        progress_s = service.wait(lambda: any(fields["progress"] > 0 for fields in service.sidecars().values()))
        ended = ("completed", "failed")
        ended_s = service.wait(
            lambda: [fields["status"] in ended for fields in service.sidecars().values()] == [True] * len(recordings)
        )
        sidecars = service.sidecars()
        for fields in sidecars.values():
            if fields["status"] == "failed":
                raise RuntimeError(fields["error"]["message"])
        cpu_s, peak_bytes = cpu_seconds(service.pid), service.peak_bytes
        idle_bytes = 0
        if until_idle:
            service.wait(lambda: not children(service.pid))
            idle_bytes = resident_bytes(service.pid)
    finally:
        service.end()
    return Run(ended_s - began_s, progress_s - claimed_s, cpu_s, peak_bytes, idle_bytes, sidecars)


def most_resident_bytes(pid: int) -> int:
    """Return how much memory a process held at its peak; 0 for one that has ended."""
    try:
        return peak_bytes(pid)
    # One that nobody has waited for yet is listed, without any memory.
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return 0


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds now; 0 for one that has ended (proc_pid_statm(5))."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, from whichever thread."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, listed.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """Return how long a process has computed, in all its threads (proc_pid_stat(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
