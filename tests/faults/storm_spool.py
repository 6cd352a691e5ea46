"""A spool of a real storm: services are started on it, recordings dropped, and its log tells what engines did."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.processes import command, environment

WORKERS = 2
"""So many windows are in work at once, whatever the machine: each may be lost with a kill."""
SETTINGS = {
    "engine.window_s": "5",
    "engine.workers": str(WORKERS),
    "spool.quiet_s": "0.2",
    "retry.backoff_s": "0.05",
    "retry.backoff_max_s": "0.2",
    "output.sidecar_every_s": "0.2",
}
OVERRIDES = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]


class Told(NamedTuple):
    """A line of the log that `tests.faults.launch` writes."""

    life: int
    event: str
    job: str
    window: int
    at_s: float


@dataclass
class Spool:
    """A spool and the log of what engines did on it."""

    root: Path
    log: Path

    def told(self) -> list[Told]:
        """Return every window that began or was done."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        parts = (line.split() for line in lines)
        return [Told(int(life), event, job, int(window), float(at)) for life, event, job, window, at in parts]

    def start(self, verb: str, life: int) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own."""
        arguments = [sys.executable, "-m", "tests.faults.launch", verb, "--config", str(self.root / "config.toml")]
        settings = environment(STORM_LOG=str(self.log), STORM_LIFE=str(life), PYTHONDONTWRITEBYTECODE="1")
        with (self.root.parent / "service.log").open("ab") as log:
            return subprocess.Popen(
                [*arguments, *OVERRIDES],
                cwd=self.root.parent,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def drop(self, recording: Path) -> None:
        """Drop a recording as a careful sender does."""
        arriving = self.root / "inbox" / f".{recording.name}.arriving"
        shutil.copyfile(recording, arriving)
        arriving.rename(arriving.with_name(recording.name))

    def phase(self, pid: int) -> str:
        """Return what the service of this process id says of itself; empty when it has not spoken yet."""
        with contextlib.suppress(OSError, ValueError):
            state = json.loads((self.root / ".state" / "service.json").read_bytes())
            return str(state["phase"]) if state["pid"] == pid else ""
        return ""

    def strangers(self) -> list[int]:
        """Return the living processes, of whatever life, that work on this spool."""
        mark = f"STORM_LOG={self.log}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def kill_all(self) -> None:
        """Leave nothing running."""
        for pid in self.strangers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def new_spool(folder: Path) -> Spool:
    """Make a spool as a person does."""
    folder.mkdir()
    done = command("init", "spool", cwd=folder)
    assert done.returncode == 0, done.stderr
    return Spool(folder / "spool", folder / "windows.log")
