"""An inbox that the real service watches, for tests of what real tools drop into it (`tests/tool.py`)."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cesar_watch.service.state_file import read_state
from tests.processes import command, phase, service, sidecar, until
from tests.sounds import RATE

QUIET_S = 0.4
SETTINGS = {
    "CESAR_WATCH_SPOOL__QUIET_S": str(QUIET_S),
    "CESAR_WATCH_SPOOL__RESCAN_S": "5",
    "CESAR_WATCH_ENGINE__MODEL": "demo",
    "CESAR_WATCH_OUTPUT__FORMATS": '["txt"]',
    "CESAR_WATCH_RETRY__BACKOFF_S": "0.2",
}

_CHUNKS = 36
"""Bytes of the RIFF header, the chunk `fmt ` and the head of the chunk `data`, without the first eight."""


@cache
def hum(seed: int, seconds: float) -> bytes:
    """Return 16-bit samples in which nobody speaks; different for each seed."""
    return np.random.default_rng(seed).integers(-8, 9, int(seconds * RATE), dtype="<i2").tobytes()


def wav(seed: int, seconds: float = 2.0) -> bytes:
    """Return a WAV of its own, 32 000 bytes a second, that tells how long it is."""
    samples = hum(seed, seconds)
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", _CHUNKS + len(samples), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16
    )
    return head + struct.pack("<4sI", b"data", len(samples)) + samples


def au(seed: int, seconds: float = 0.5) -> bytes:
    """Return a Sun recording of unknown length, which proves nothing about itself."""
    return struct.pack(">4s5I", b".snd", 24, 0xFFFFFFFF, 3, RATE, 1) + hum(seed, seconds)


@dataclass
class Watched:
    """The spool of a running service, and what has been dropped into it so far: names below inbox/ and contents.

    A content of None is one that the test can't know.
    """

    spool: Path
    process: subprocess.Popen[bytes]
    dropped: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def inbox(self) -> Path:
        """Where tools drop."""
        return self.spool / "inbox"

    def claimed(self) -> list[str]:
        """Return the name of every recording that was ever claimed."""
        return sorted(fields["source"]["name"] for fields in self._sidecars().values())

    def waits(self, reason: str) -> None:
        """Wait until something in the inbox has outlived its quiet window, and is put off for this reason."""
        until(lambda: reason in self.parked(), f"the wait for {reason!r} (it waits for {self.parked()})")

    def parked(self) -> dict[str, int]:
        """Return what the service says of the recordings that wait, by reason."""
        told = read_state(self.spool / ".state")
        return told.parked if told else {}

    def passes_over(self, unfinished: Path) -> None:
        """See that an unfinished file is not taken, though it has not changed for longer than any quiet window.

        A recording that proves nothing is written after it, in place, and claimed, so its own quiet window is over.
        """
        until(lambda: self._outlives_a_look(unfinished), f"a time in which {unfinished.name} does not change")

    def _outlives_a_look(self, unfinished: Path) -> bool:
        # What its writer still held when it was stopped may come late.
        before = os.lstat(unfinished)
        self.looks()
        after = os.lstat(unfinished)
        assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
        return (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    def looks(self) -> None:
        """Wait until the service has looked through the inbox for longer than a quiet window from now on."""
        name = f"canary-{len(self.dropped)}.au"
        content = au(1000 + len(self.dropped))
        self.dropped[name] = content
        (self.inbox / name).write_bytes(content)
        until(lambda: sidecar(self.spool, Path(name).stem), "the claim of a recording that was dropped besides")

    def completes(self, recordings: Mapping[str, bytes | None]) -> None:
        """See that these recordings are transcribed, each once and at its full length, and that nothing else ever was.

        Args:
            recordings: What a tool has dropped; names relative to the inbox, which may have folders.
        """
        self.dropped.update(recordings)
        until(lambda: self._are_completed(recordings), f"the transcripts of {sorted(recordings)}")
        self.looks()
        assert self.claimed() == sorted(os.path.basename(name) for name in self.dropped)
        for name, content in recordings.items():
            assert content in (None, (self.spool / "archive" / name).read_bytes())
            assert (self.spool / "outbox" / name).with_suffix(".txt").is_file()
            assert not (self.inbox / name).exists()

    def _are_completed(self, recordings: Iterable[str]) -> bool:
        paths = {fields["source"]["path"] for fields in self._sidecars().values() if fields["status"] == "completed"}
        return paths.issuperset(f"archive/{name}" for name in recordings)

    def _sidecars(self) -> dict[str, dict[str, Any]]:
        outbox = self.spool / "outbox"
        bases = [str(path.relative_to(outbox))[: -len(".status.json")] for path in outbox.rglob("*.status.json")]
        return {base: sidecar(self.spool, base) for base in bases}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stop the service's process for the length of the block, as a laptop that is closed does."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def watching(folder: Path, *, prefix: Sequence[str] = (), **settings: str) -> Iterator[Watched]:
    """Run the service on a new spool; at the end everything in it must be in order, as `cesar-watch verify` has it.

    Args:
        prefix: A program that the service is run by, with its options.
    """
    made = command("init", "spool", cwd=folder)
    assert made.returncode == 0, made.stderr
    with service(folder, prefix=prefix, **(SETTINGS | settings)) as process:
        watched = Watched(folder / "spool", process)
        until(lambda: phase(watched.spool) == "ready", "the service")
        yield watched
        process.terminate()
        assert process.wait(50) == 0
    verified = command("verify", cwd=folder)
    assert verified.returncode == 0, verified.stdout
    assert "Traceback" not in (folder / "service.log").read_text(errors="replace")
