"""The recordings that an engine was asked for and has not answered to the end: who waits for which events.

Shared by the threads that ask and the one that brings the answers.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Generator

from cesar_watch.core.errors import CesarError
from cesar_watch.speech.protocol import (
    Conclude,
    Drop,
    Durable,
    Event,
    Failed,
    Finished,
    Loading,
    Message,
    Transcribe,
    WindowDone,
)


class Call:
    """One recording that was asked for; owned by the thread that asked.

    Attributes:
        is_over: Nothing follows: the last event has come, the engine is gone, or it was never asked.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_over = False
        self._answers: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()

    def answer(self, what: Event | Exception) -> None:
        """Take what comes next; any thread."""
        self._answers.put(what)

    def next(self, timeout_s: float) -> Event | None:
        """Return what comes next, or None after `timeout_s`.

        Raises:
            CesarError: The engine is gone; nothing follows.
        """
        try:
            what = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self.is_over = isinstance(what, Exception | Finished | Failed)
        if isinstance(what, Exception):
            raise what
        return what


class Calls:
    """All calls to one engine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, Call] = {}
        self._numbers = itertools.count(1)
        self._is_broken_off = False

    def __len__(self) -> int:
        """How many are not over."""
        return len(self._open)

    def begin(self) -> Call | None:
        """Open one more; None where the engine is gone."""
        with self._lock:
            if self._is_broken_off:
                return None
            call = Call(next(self._numbers))
            self._open[call.number] = call
            return call

    def end(self, call: Call) -> None:
        """Forget one; what still comes for it is passed over."""
        with self._lock:
            self._open.pop(call.number, None)

    def deliver(self, number: int, event: Event) -> None:
        """Give an event to the one that it is for; what is about the engine itself (0) to all."""
        with self._lock:
            for call in self._open.values() if number == 0 else filter(None, [self._open.get(number)]):
                call.answer(event)

    def break_off(self, fault: Callable[[int], Exception]) -> None:
        """Tell all that the engine is gone.

        Args:
            fault: Returns what to raise, for so many that were open.
        """
        with self._lock:
            for call in self._open.values():
                call.answer(fault(len(self._open)))
            self._open.clear()
            self._is_broken_off = True


def converse(
    call: Call,
    request: Transcribe,
    say: Callable[[int, Message], None],
    *,
    poll: Callable[[], None],
    poll_every_s: float,
    is_ending: Callable[[], bool],
) -> Generator[Event, None, None]:
    """Ask for a recording and yield the answers, as `protocol.Engine.transcribe` promises."""
    if is_ending():
        # Asked now, the engine might begin a window before it hears that it should not.
        call.is_over = True
        yield Failed.concluded()
        return
    is_concluding = is_loading = False
    durable: Durable | None = None
    say(call.number, request)
    while not call.is_over:
        poll()
        if is_ending():
            if is_loading:
                # It hears nothing before it has loaded the model, not even what was said already; nothing is in flight.
                yield Failed.concluded()
                return
            if not is_concluding:
                is_concluding = True
                say(call.number, Conclude())
        if durable is not None:
            # Behind the end that may just have been asked for: this lets the engine begin a further window.
            say(call.number, durable)
            durable = None
        event = call.next(poll_every_s)
        if event is None:
            continue
        is_loading = isinstance(event, Loading)
        yield event
        if isinstance(event, WindowDone):
            durable = Durable(index=event.window.index)


def drop(call: Call, say: Callable[[int, Message], None], within_s: float) -> bool:
    """Say that nobody wants a call's windows any more; return whether the engine lets go of it in time."""
    until_s = time.monotonic() + within_s
    if not call.is_over:
        say(call.number, Drop())
    while not call.is_over and (left_s := until_s - time.monotonic()) > 0:
        with contextlib.suppress(CesarError):
            call.next(left_s)
    return call.is_over
