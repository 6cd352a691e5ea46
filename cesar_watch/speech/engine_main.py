"""The engine process: orders on standard input, reports on standard output, nothing else.

Started by `engine_process.EngineProcess` as `python -m cesar_watch.speech.engine_main SETUP`. It ends by
itself when its standard input closes, which the kernel does when the service dies, however it dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, NoReturn

from cesar_watch.core.errors import ModelError
from cesar_watch.speech.confine import confine
from cesar_watch.speech.protocol import Event, Failed, Loading, Order, Report, Setup, encode

_OOM_SCORE = "500"
"""When memory runs out the kernel takes this process, and not the service or the user's programs."""


def main() -> int:
    """Load the model, then do what is asked for until standard input closes."""
    # A service manager sends these to every process of the service; it is the service that decides what
    # becomes of the running windows, and it ends this process by closing its input or killing it.
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    setup = Setup.model_validate_json(sys.argv[1])
    kept = confine(setup)
    if kept:
        sys.stderr.write(f"cesar-watch: The engine can't be kept from {', '.join(kept)}; it goes on.\n")
    with _reports() as out:
        mouth = _Mouth(out)
        lines = _listen(sys.stdin.buffer)
        mouth.say(0, Loading())
        try:
            began_s = time.monotonic()
            # These imports take seconds; whoever waits has been told by now.
            from cesar_watch.speech.recognizer import Recognizer  # noqa: PLC0415
            from cesar_watch.speech.scheduler import Scheduler  # noqa: PLC0415

            recognizer = Recognizer(setup)
        except ModelError as fault:
            mouth.say(0, Failed.from_fault(fault))
            return 1
        load_s = time.monotonic() - began_s
        mouth.say(0, recognizer.told_loaded(load_s))
        scheduler = Scheduler(recognizer, setup.workers, mouth.say)
        while True:
            order = Order.model_validate_json(lines.get())
            scheduler.take(order.number, order.message)


class _Mouth:
    """Says one thing at a time, whole, whichever thread has something to say."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def say(self, number: int, event: Event) -> None:
        line = encode(Report(number=number, event=event))
        try:
            with self._lock:
                self._out.write(line)
                self._out.flush()
        except BrokenPipeError:
            _end()


def _reports() -> BinaryIO:
    """Take standard output for reports; what libraries print goes to standard error."""
    own = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(own, "wb")


def _listen(stream: BinaryIO) -> SimpleQueue[bytes]:
    """Return the lines that come from now on; at their end this process ends."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        _end()

    threading.Thread(target=read, name="orders", daemon=True).start()
    return lines


def _end() -> NoReturn:
    """Nobody is left to work for: end at once, even while the model is loading or in the middle of a window."""
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
