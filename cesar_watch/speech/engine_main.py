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
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from cesar_watch.core.errors import ModelError
from cesar_watch.speech.protocol import (
    Event,
    Failed,
    Loaded,
    Loading,
    Setup,
    Transcribe,
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
    with _messages() as out:
        requests = _requests(sys.stdin.buffer)
        _send(out, Loading())
        try:
            began_s = time.monotonic()
            # These imports take seconds; whoever waits has been told by now.
            from cesar_watch.speech.perform import perform  # noqa: PLC0415
            from cesar_watch.speech.recognizer import Recognizer  # noqa: PLC0415

            recognizer = Recognizer(Setup.model_validate_json(sys.argv[1]))
        except ModelError as fault:
            _send(out, Failed.from_fault(fault))
            return 1
        load_s = time.monotonic() - began_s
        _send(out, Loaded(device=recognizer.device, compute_type=recognizer.compute_type, load_s=load_s))
        for request in requests:
            for event in perform(request, recognizer):
                _send(out, event)
    return 0


def _messages() -> BinaryIO:
    """Take standard output for messages; what libraries print goes to standard error."""
    own = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(own, "wb")


def _send(out: BinaryIO, event: Event) -> None:
    out.write(encode(event))
    out.flush()


def _requests(stream: BinaryIO) -> Iterator[Transcribe]:
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        # Nobody is left to work for, even in the middle of a window.
        os._exit(0)

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        yield decode_request(lines.get())


if __name__ == "__main__":
    raise SystemExit(main())
