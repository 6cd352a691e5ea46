"""Decode recordings as the product does, each in a child of its own, and tell how each child ended.

    python -m tests.soak.nursery     reads paths, one JSON line each, and answers with one JSON line each

A child is forked from a process that has loaded everything and has no threads, so one costs some milliseconds.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from cesar_watch.core.errors import CesarError, Kind
from cesar_watch.core.recording_settings import Channels
from cesar_watch.intake.probe import probe
from cesar_watch.speech.audio import open_audio

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0
"""A child that lives longer hangs; cores may be shared."""
MEMORY_BYTES = 4 << 30
"""More can't be had, so that a machine survives what is to be found."""


@dataclass(frozen=True)
class Request:
    """A recording to be decoded."""

    path: str
    channels: Channels = "mix"
    max_duration_s: float = 86_400.0


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Attributes:
        how: `decoded`, `refused` (an error of ours), `foreign` (another one), `crashed` (by a signal), `hung`.
        reason: The stable code of ours; what the other one says; the signal's name.
        decoded_s: What came out, however it ended.
        took_s: Processor time.
        peak_bytes: The most memory that it held at once, some 90 MB of libraries included.
    """

    how: str
    reason: str = ""
    decoded_s: float = 0.0
    took_s: float = 0.0
    peak_bytes: int = 0


class Nursery:
    """A running nursery; owned by one thread."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ending(self, request: Request) -> Ending:
        """Decode a recording and return how that ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(dataclasses.asdict(request)) + "\n")
        self._process.stdin.flush()
        return Ending(**json.loads(self._process.stdout.readline()))


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start a nursery, and end it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.soak.nursery"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Nursery(process)


def main() -> None:
    """Serve requests until standard input closes."""
    gc.freeze()
    for line in sys.stdin:
        ending = _raise_child(Request(**json.loads(line)))
        sys.stdout.write(json.dumps(dataclasses.asdict(ending)) + "\n")
        sys.stdout.flush()


def _raise_child(request: Request) -> Ending:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _live(request, writer)
    os.close(writer)
    said = _hear(reader, child)
    os.close(reader)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if said is None:
        ending = Ending("hung")
    elif code < 0:
        ending = Ending("crashed", signal.Signals(-code).name)
    else:
        ending = Ending(**json.loads(said))
    took_s = round(usage.ru_utime + usage.ru_stime, 3)
    return dataclasses.replace(ending, took_s=took_s, peak_bytes=usage.ru_maxrss * 1024)


def _hear(reader: int, child: int) -> bytes | None:
    """Return what the child said until its end; None, and no child, where it does not end."""
    said, end_s = b"", time.monotonic() + LIMIT_S
    while select.select([reader], [], [], max(0, end_s - time.monotonic()))[0]:
        block = os.read(reader, 65_536)
        if not block:
            return said
        said += block
    os.kill(child, signal.SIGKILL)
    return None


def _live(request: Request, writer: int) -> NoReturn:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    decoded: list[float] = [0.0]
    try:
        _look(Path(request.path))
        for decoded_s in _decoded(request):
            decoded[0] = decoded_s
        said = {"how": "decoded"}
    except CesarError as fault:
        how = "refused" if fault.kind is Kind.PERMANENT else "foreign"
        said = {"how": how, "reason": fault.reason}
    except BaseException as fault:  # whatever it is, it is to be heard of
        said = {"how": "foreign", "reason": f"{type(fault).__name__}: {fault}"[:200]}
    os.write(writer, json.dumps(said | {"decoded_s": decoded[0]}).encode())
    os._exit(0)


def _look(path: Path) -> None:
    """Probe it as the intake does, which has no process to spare."""
    descriptor = os.open(path, os.O_RDONLY)
    probe(descriptor, os.fstat(descriptor).st_size)
    os.close(descriptor)


def _decoded(request: Request) -> Iterator[float]:
    """Decode it as the engine does; yield the seconds so far, and fail where a block is not what was promised."""
    with open_audio(Path(request.path), max_duration_s=request.max_duration_s, channels=request.channels) as audio:
        assert audio.declared_s is None or 0 < audio.declared_s <= request.max_duration_s, audio.declared_s
        for block in audio.blocks():
            assert block.dtype == np.float32, block.dtype
            assert block.shape == (audio.channels, block.size // audio.channels), block.shape
            assert np.abs(block).max(initial=0) <= 1, "louder than 1, or not a number"
            yield audio.decoded_s
        assert 0 < audio.decoded_s <= request.max_duration_s, audio.decoded_s


if __name__ == "__main__":
    main()
