"""The engine in a process of its own, which can be killed: the service's side of it.

Killing is what makes cancelling immediate, a timeout enforceable and unloading complete, and a crash
inside a codec a failed attempt instead of the service's end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence

from pydantic import ValidationError

from cesar_watch.core.errors import AttemptError, CesarError, EngineLost, Kind, ModelError
from cesar_watch.speech.allocator import environment
from cesar_watch.speech.calls import Call, Calls, converse, drop
from cesar_watch.speech.protocol import (
    Event,
    Failed,
    Loaded,
    Message,
    Order,
    Report,
    Setup,
    Transcribe,
    encode,
)

_REAP_S = 5.0
DROP_S = 0.8
"""A recording that the engine does not let go of in this time is hanging, or in a computation that takes long: then
the process is killed."""


class EngineProcess:
    """An engine process, started with the first request and kept, model loaded, for the next ones.

    Several threads may use it at once; their windows are worked on side by side. However a request ends, nothing is
    left working on it.

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
        self._setup = setup
        self._command = command
        self._idle_unload_s = idle_unload_s
        self._clock = clock
        self._idle_since_s = clock()
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._fallback: str | None = None

    @property
    def pid(self) -> int | None:
        """The process's id while there is one, for tests that kill it."""
        child = self._child
        return child.process.pid if child is not None and child.process.poll() is None else None

    def transcribe(
        self,
        request: Transcribe,
        *,
        poll: Callable[[], None],
        poll_every_s: float = 0.5,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> Generator[Event, None, None]:
        """Yield the request's events, the last of which is `Finished` or `Failed`.

        `poll` is called before each event and at least every `poll_every_s`. When it raises, or the
        generator is closed early, nothing works on the recording any more before the exception goes on: the engine has
        let go of it, or is dead.

        Raises:
            AttemptError: `engine_crashed`, the process died or spoke gibberish. The next request gets a new one.
            EngineLost: The same, or memory ran out, while it worked on other recordings too (`engine_lost`); or it had
                to be killed for the sake of another one (`engine_replaced`).
            ModelError: `engine_not_started`, there is none, or it died before it had loaded the model.
        """
        child, call = self._call()
        try:
            talk = converse(call, request, child.say, poll=poll, poll_every_s=poll_every_s, is_ending=is_ending)
            for event in talk:
                yield self._seen(child, event)
        finally:
            if not drop(call, child.say, DROP_S):
                self._replace(child)
            child.calls.end(call)
            self._idle_since_s = self._clock()

    def unload_if_idle(self, now_s: float) -> bool:
        """End the process if it has been idle for long enough; return whether it did. Never raises."""
        with self._lock:
            child = self._child
            if child is None or child.calls or not self._idle_unload_s:
                return False
            if now_s - self._idle_since_s < self._idle_unload_s:
                return False
            # Before anybody can ask it for something.
            self._child = None
        child.kill()
        return True

    def close(self) -> None:
        """Kill and reap the process, whatever it is doing. Harmless when repeated; never raises."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _call(self) -> tuple[_Child, Call]:
        """Return the process that is to be asked, a new one where there is none alive, and a call to it."""
        with self._lock:
            if self._child is not None and self._child.process.poll() is None:
                call = self._child.calls.begin()
                if call is not None:
                    return self._child, call
            if self._child is not None:
                self._child.kill()
            self._child = _Child(self._setup, self._command or _engine_command(self._setup))
            call = self._child.calls.begin()
            assert call is not None, "nothing is read of a process before there is somebody to hear it"
            self._child.listen()
        return self._child, call

    def _replace(self, child: _Child) -> None:
        """End a process for the sake of one recording; the others' work on theirs is handed back."""
        child.calls.break_off(lambda _: EngineLost("The engine was started anew.", reason="engine_replaced"))
        child.kill()
        with self._lock:
            if self._child is child:
                self._child = None

    def _seen(self, child: _Child, event: Event) -> Event:
        """Return the event as it is passed on; after a failure of model or GPU the next request gets another process.

        Raises:
            EngineLost: The work goes on without the GPU; or it was too much for the memory beside that on others.
        """
        if isinstance(event, Loaded) and self._fallback is not None:
            return event.model_copy(update={"fallback": self._fallback})
        if isinstance(event, Failed):
            self._failed(child, event)
        return event

    def _failed(self, child: _Child, failed: Failed) -> None:
        if failed.reason == "out_of_memory" and len(child.calls) > 1:
            raise EngineLost(f"{failed.message} It worked on {len(child.calls)} recordings; this one is tried alone.")
        # By what the process was told: another recording may have met the same failure, and the setup be changed.
        if failed.reason == "cuda_failed" and child.setup.device == "auto":
            self._fallback = failed.message
            self._setup = child.setup.model_copy(update={"device": "cpu"})
            self._replace(child)
            raise EngineLost(f"{failed.message} The CPU takes over.", reason="engine_replaced")
        if failed.reason == "cuda_failed" or failed.kind is Kind.SYSTEMIC:
            self._replace(child)


def _engine_command(setup: Setup) -> list[str]:
    # -P: a numpy.py in the current folder must not become ours.
    module = "cesar_watch.speech.engine_main"
    return [sys.executable, "-P", "-X", "faulthandler", "-m", module, setup.model_dump_json()]


class _Child:
    """One engine process, the calls to it, and the thread that hands its reports out."""

    def __init__(self, setup: Setup, command: Sequence[str]) -> None:
        self.setup = setup
        given = environment() | {
            # The child finds what this process finds, wherever the package is installed.
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "HF_HUB_OFFLINE": "1",
        }
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=given,
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
        self.calls = Calls()
        self._saying = threading.Lock()
        self._has_loaded = False
        self._reader = threading.Thread(target=self._read, name="engine reports", daemon=True)

    def listen(self) -> None:
        self._reader.start()

    def say(self, number: int, message: Message) -> None:
        assert self.process.stdin is not None
        # If it died in between, the end of its output tells so, and how.
        with self._saying, contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(encode(Order(number=number, message=message)))
            self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        # A process stuck in the kernel on a dead share can't be reaped; it dies when the share answers.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_REAP_S)
            self._reader.join()
        with self._saying, contextlib.suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as reports:
            for line in reports:
                try:
                    report = Report.model_validate_json(line)
                except ValidationError:
                    self.process.kill()
                    self._how_it_ended()
                    self._break_off(f"The engine process said something that isn't a report: {line[:80]!r}.")
                    break
                self._has_loaded |= isinstance(report.event, Loaded)
                self.calls.deliver(report.number, report.event)
        self._break_off(self._how_it_ended())

    def _break_off(self, message: str) -> None:
        self.calls.break_off(lambda number: self._fault(message, number))

    def _fault(self, message: str, number: int) -> CesarError:
        """Return the recording's error, or the machine's or the model's while no recording was looked at."""
        if not self._has_loaded:
            return ModelError(f"{message} It had not loaded the model yet.", reason="engine_not_started")
        if number > 1:
            return EngineLost(f"{message} It worked on {number} recordings; each is tried again, alone.")
        return AttemptError(message, reason="engine_crashed")

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_REAP_S)
        status = self.process.returncode
        if status is None:
            how = "it closed its output"
        elif status >= 0:
            how = f"exit status {status}"
        else:
            how = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        # Libraries may crash where they are refused memory.
        hint = " or a higher engine.memory_limit_bytes" if self.setup.memory_limit_bytes else ""
        if hint or status == -signal.SIGKILL:
            hint = f" If memory ran out, use a smaller model, a shorter engine.window_s{hint}."
        return f"The engine process died ({how}).{hint}"
