"""Live a scenario in a forked child under one fault, and say how it ended.

The parent imports everything once and never opens a ledger or starts a thread, so a life costs a fork.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.life import Place
from tests.faults.preload import Action, Faultline

SHOWN = 40
"""So many violations are printed; more of them tell nothing new."""
LIMIT_S = 30.0
"""A life takes some hundredths of a second; one that takes longer than this hangs."""


@dataclass(frozen=True)
class Fault:
    """One fault at one call; `mounts` lose their power with a kill."""

    at: int
    action: Action
    error: int = 0
    forever: bool = False
    mounts: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        how: `done`, `killed` (by the fault), `crashed` (a traceback, in `words`) or `hung`.
        point: The call at which the fault came, as the library tells it; "" where it never came.
    """

    how: str
    point: str
    words: str


def forked(life: Callable[[], None], place: Place | None = None, fault: Fault | None = None) -> Outcome:
    """Run `life` in a child, under a fault where one is given, and wait for its end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _live(life, place, fault, writer)
    os.close(writer)
    said = _read_to_the_end(reader)
    os.close(reader)
    if said is None:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    point, _, words = (said or "").partition("\n") if fault and fault.at else ("", "", said or "")
    if fault and not point[:1].isdigit():
        point, words = "", said or ""
    how = "hung" if said is None else {0: "done", -signal.SIGKILL: "killed"}.get(status, "crashed")
    return Outcome(how, point, words)


def _live(life: Callable[[], None], place: Place | None, fault: Fault | None, writer: int) -> None:
    """Never returns."""
    status = 1
    gc.disable()  # a life is short
    try:
        logging.disable(logging.CRITICAL)
        if fault is not None and place is not None:
            line = Faultline()
            line.watch(place.root)
            if not place.state_dir.is_relative_to(place.root):
                line.watch(place.state_dir)
            line.report_to(writer)
            for mount in fault.mounts:
                line.power(mount)
            line.arm(fault.at, fault.action, fault.error, forever=fault.forever)
        life()
        status = 0
    except BaseException:  # whatever it is, the parent is to hear of it
        with Faultline.paused():
            os.write(writer, traceback.format_exc().encode("utf-8", "replace")[-4000:])
    finally:
        os._exit(status)


def _read_to_the_end(reader: int) -> str | None:
    """Return what the child said until it ended; None where it does not end."""
    said = b""
    while True:
        if not select.select([reader], [], [], LIMIT_S)[0]:
            return None
        block = os.read(reader, 65536)
        if not block:
            return said.decode("utf-8", "replace")
        said += block


@contextlib.contextmanager
def workshop(name: str) -> Iterator[Path]:
    """Yield a folder in memory that is gone afterwards; a sweep syncs thousands of times."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix=f"cesar-{name}-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def note(sweep: str, what: str, points: int, wrong: Sequence[str], took_s: float) -> None:
    """Print what came out of a sweep; for a run of all of them, note it in the file that $CESAR_FAULTS_ROWS names."""
    for words in wrong[:SHOWN]:
        tell(words)
    tell(f"{sweep}: {points} {what}, {len(wrong)} violations, {took_s:.0f} s")
    if rows := os.environ.get("CESAR_FAULTS_ROWS"):
        row = {"sweep": sweep, "what": what, "points": points, "violations": len(wrong), "took_s": round(took_s, 1)}
        with Path(rows).open("a") as stream:
            stream.write(json.dumps(row) + "\n")


def tell(words: str) -> None:
    """Print a line at once."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()
