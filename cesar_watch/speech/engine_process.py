"""The engine in a process of its own, which can be killed: the service's side of it.

Killing is what makes cancelling immediate, a timeout enforceable and unloading complete, and a crash
inside a codec one failed attempt instead of the service's end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence

from pydantic import ValidationError

from cesar_watch.core.errors import AttemptError, CesarError, Kind, ModelError
from cesar_watch.speech.protocol import (
    GO_ON,
    Event,
    Failed,
    Finished,
    Loading,
    Setup,
    Transcribe,
    WindowDone,
    decode_event,
    encode,
)

_REAP_S = 5.0
_CHUNK_BYTES = 65_536


class EngineProcess:
    """An engine process, started with the first request and kept, model loaded, for the next ones.

    Owned by one worker thread. However a request ends, the process is either waiting for the next one
    or gone; it is never left working.

    Args:
        idle_unload_s: `unload_if_idle` ends the process after this long without work; 0: never.
        command: Replaces the program that is started; it must speak the same protocol.
        clock: Monotonic seconds, the same clock that `unload_if_idle` is asked with.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        idle_unload_s: float = 0.0,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = list(command or _engine_command(setup))
        self._idle_unload_s = idle_unload_s
        self._clock = clock
        self._idle_since_s = clock()
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """The process's id while there is one, for `doctor` and for tests that kill it."""
        return self._child.process.pid if self._child else None

    def transcribe(
        self, request: Transcribe, *, poll: Callable[[], None], poll_every_s: float = 0.5
    ) -> Generator[Event, None, None]:
        """Yield the request's events, the last of which is `Finished` or `Failed`.

        `poll` is called before each event and at least every `poll_every_s`. When it raises, or the
        generator is closed early, the process has been killed and reaped before the exception goes on.

        Raises:
            AttemptError: `engine_crashed`, the process died or spoke gibberish. The next request gets a
                new one.
            ModelError: `engine_not_started`, there is none, or it died before it had loaded the model.
        """
        answered = False
        try:
            child = self._ready_child()
            child.send(encode(request))
            while not answered:
                poll()
                event = child.receive(poll_every_s)
                if event is None:
                    continue
                # An engine that can't load its model has ended, or is about to.
                answered = isinstance(event, Finished) or (isinstance(event, Failed) and event.kind != Kind.SYSTEMIC)
                yield event
                if isinstance(event, WindowDone):
                    child.send(GO_ON)
                if isinstance(event, Failed):
                    return
        finally:
            self._idle_since_s = self._clock()
            if not answered:
                self.close()

    def unload_if_idle(self, now_s: float) -> bool:
        """End the process if it has been idle for long enough; return whether it did. Never raises."""
        if self._child is None or not self._idle_unload_s or now_s - self._idle_since_s < self._idle_unload_s:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Kill and reap the process, whatever it is doing. Harmless when repeated; never raises."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ready_child(self) -> _Child:
        if self._child is not None and self._child.process.poll() is not None:
            self.close()
        if self._child is None:
            self._child = _Child(self._command)
        return self._child


def _engine_command(setup: Setup) -> list[str]:
    # -P: a numpy.py in the current folder must not become ours.
    module = "cesar_watch.speech.engine_main"
    return [sys.executable, "-P", "-X", "faulthandler", "-m", module, setup.model_dump_json()]


class _Child:
    """One engine process and the line that is being read from it."""

    def __init__(self, command: list[str]) -> None:
        environment = os.environ | {
            # The child finds what this process finds, wherever the package is installed.
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "HF_HUB_OFFLINE": "1",
        }
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                bufsize=0,
                # Ctrl-C in a terminal is for the service, which then decides what becomes of the work.
                start_new_session=True,
            )
        except OSError as fault:
            # No recording was looked at, so none is to blame.
            raise ModelError(
                f"The engine process can't be started ({fault.strerror or fault}): see how much memory is free, and "
                "how many files and processes are open.",
                reason="engine_not_started",
            ) from fault
        self._received = b""
        self._has_loaded = False

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        # If it died in between, reading its output tells so, and how.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line)

    def receive(self, timeout_s: float) -> Event | None:
        """Return the next event, or None after `timeout_s`."""
        assert self.process.stdout is not None
        if b"\n" not in self._received:
            if not select.select([self.process.stdout], [], [], timeout_s)[0]:
                return None
            chunk = os.read(self.process.stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                raise self._crashed()
            self._received += chunk
            if b"\n" not in chunk:
                return None
        line, _, self._received = self._received.partition(b"\n")
        try:
            event = decode_event(line)
        except ValidationError as fault:
            raise self._fault(f"The engine process said something that isn't a message: {line[:80]!r}.") from fault
        self._has_loaded |= not isinstance(event, Loading)
        return event

    def kill(self) -> None:
        self.process.kill()
        # A process stuck in the kernel on a dead share can't be reaped; it dies when the share answers.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_REAP_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _fault(self, message: str) -> CesarError:
        """Return the recording's error, or the machine's or the model's while the recording wasn't looked at."""
        if self._has_loaded:
            return AttemptError(message, reason="engine_crashed")
        return ModelError(f"{message} It had not loaded the model yet.", reason="engine_not_started")

    def _crashed(self) -> CesarError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_REAP_S)
        status = self.process.returncode
        if status is None:
            how = "it closed its output"
        elif status >= 0:
            how = f"exit status {status}"
        else:
            how = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        hint = (
            " If memory ran out, use a smaller model or a shorter engine.window_s." if status == -signal.SIGKILL else ""
        )
        return self._fault(f"The engine process died ({how}).{hint}")
