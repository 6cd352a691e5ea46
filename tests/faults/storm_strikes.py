"""The ways in which a real storm ends a life: SIGKILL, and what may come just before it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

ENGINE_KILL_REST = 10
"""So many kills lie between two that kill the engine first: three crashes of it in a row rightly fail a recording."""

Strike = Callable[[subprocess.Popen[bytes], Random], None]


def _send(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait; return whether the process has ended by then."""
    descriptor = os.pidfd_open(process.pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _engines(process: subprocess.Popen[bytes]) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{process.pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            children += map(int, (task / "children").read_text().split())
    return children


def _kill_engines(process: subprocess.Popen[bytes]) -> None:
    for pid in _engines(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _service(process: subprocess.Popen[bytes], _: Random) -> None:
    _send(process, signal.SIGKILL)


def _group(process: subprocess.Popen[bytes], _: Random) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _both(process: subprocess.Popen[bytes], _: Random) -> None:
    """Service and engine at the same moment, so that the service sees nothing of the engine's death."""
    _send(process, signal.SIGSTOP)
    _kill_engines(process)
    _send(process, signal.SIGKILL)


def _engine_first(process: subprocess.Popen[bytes], random: Random) -> None:
    _kill_engines(process)
    ended_within(process, random.uniform(0, 0.1))
    _send(process, signal.SIGKILL)


def _term(process: subprocess.Popen[bytes], random: Random) -> None:
    _send(process, signal.SIGTERM)
    ended_within(process, random.uniform(0, 0.3))
    _send(process, signal.SIGKILL)


def _stop_and_go(process: subprocess.Popen[bytes], random: Random) -> None:
    _send(process, signal.SIGSTOP)
    ended_within(process, random.uniform(0, 1.5))
    _send(process, signal.SIGCONT)
    ended_within(process, random.uniform(0, 0.1))
    _send(process, signal.SIGKILL)


def _frozen(process: subprocess.Popen[bytes], random: Random) -> None:
    """As a disk does that makes the service wait: its engine must not run away from it."""
    _send(process, signal.SIGSTOP)
    ended_within(process, random.uniform(0, 1.5))
    _send(process, signal.SIGKILL)


ENGINE_FIRST = "engine first"
STRIKES: dict[str, tuple[Strike, int]] = {
    "service": (_service, 50),
    "group": (_group, 10),
    "service and engine": (_both, 10),
    ENGINE_FIRST: (_engine_first, 8),
    "SIGTERM first": (_term, 10),
    "SIGSTOP and SIGCONT first": (_stop_and_go, 6),
    "SIGSTOP first": (_frozen, 6),
}
"""How a life is ended, and the weight of each way."""


class Chooser:
    """Draws the way in which the next life is ended."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._until_engine = 0

    def next(self) -> str:
        """Return the name of a strike."""
        kind = self._random.choices(list(STRIKES), [weight for _, weight in STRIKES.values()])[0]
        self._until_engine -= 1
        if kind == ENGINE_FIRST:
            if self._until_engine > 0:
                return "service"
            self._until_engine = ENGINE_KILL_REST
        return kind
