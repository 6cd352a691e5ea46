"""The engine process: requests on standard input, events on standard output, nothing else.

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
from cesar_watch.speech.protocol import (
    GO_ON,
    Event,
    Failed,
    Loaded,
    Loading,
    Setup,
    WindowDone,
    decode_request,
    encode,
)

_OOM_SCORE = "500"
"""When memory runs out the kernel takes this process, and not the service or the user's programs."""


def main() -> int:
    """Load the model, then serve requests until standard input closes."""
    # A service manager sends these to every process of the service; it is the service that decides what
    # becomes of the running window, and it ends this process by closing its input or killing it.
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    setup = Setup.model_validate_json(sys.argv[1])
    kept = confine(setup)
    if kept:
        sys.stderr.write(f"cesar-watch: The engine can't be kept from {', '.join(kept)}; it goes on.\n")
    with _messages() as out:
        lines = _listen(sys.stdin.buffer)
        _send(out, Loading())
        try:
            began_s = time.monotonic()
            # These imports take seconds; whoever waits has been told by now.
            from cesar_watch.speech.perform import perform  # noqa: PLC0415
            from cesar_watch.speech.recognizer import Recognizer  # noqa: PLC0415

            recognizer = Recognizer(setup)
        except ModelError as fault:
            _send(out, Failed.from_fault(fault))
            return 1
        load_s = time.monotonic() - began_s
        _send(out, Loaded(device=recognizer.device, compute_type=recognizer.compute_type, load_s=load_s))
        while True:
            for event in perform(decode_request(lines.get()), recognizer):
                _send(out, event)
                if isinstance(event, WindowDone):
                    assert lines.get() == GO_ON, "a window is answered before anything else is asked for"


def _messages() -> BinaryIO:
    """Take standard output for messages; what libraries print goes to standard error."""
    own = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(own, "wb")


def _send(out: BinaryIO, event: Event) -> None:
    try:
        out.write(encode(event))
        out.flush()
    except BrokenPipeError:
        _end()


def _listen(stream: BinaryIO) -> SimpleQueue[bytes]:
    """Return the lines that come from now on; at their end this process ends."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        _end()

    threading.Thread(target=read, name="requests", daemon=True).start()
    return lines


def _end() -> NoReturn:
    """Nobody is left to work for: end at once, even while the model is loading or in the middle of a window."""
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
