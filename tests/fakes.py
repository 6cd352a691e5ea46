"""Stand-ins for the outside world, shared by all tests. The contract tests hold the engine to the real one's ways."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from cesar_watch.core.errors import AttemptError, EngineLost, RecordingError
from cesar_watch.core.transcript import Segment, Window
from cesar_watch.speech.protocol import (
    SAMPLE_RATE,
    Event,
    Failed,
    Finished,
    Heard,
    Loaded,
    Loading,
    Started,
    Transcribe,
    WindowDone,
)

STALL = "stall"
"""A step that never ends by itself: the engine keeps polling until `poll` raises."""

Step = Window | Heard | Exception | str


def window(index: int, text: str, *, length_s: float = 10.0, language: str = "en") -> Window:
    """A window of `length_s` in its place, with one segment, or none if the text is empty."""
    start_s = index * length_s
    segment = Segment(start_s=start_s + 1, end_s=start_s + length_s - 1, text=text, avg_logprob=-0.2)
    return Window(
        index=index,
        start_s=start_s,
        end_s=start_s + length_s,
        speech_s=length_s - 2 if text else 0.0,
        language=language if text else None,
        language_probability=0.9 if text else None,
        segments=(segment,) if text else (),
    )


class FakeEngine:
    """An engine that plays scripts instead of listening; obeys `speech.protocol.Engine`.

    A script is a list of steps, for a file name: a `Window` is delivered, `Heard` told; an exception
    is a failure as the real engine tells it, but `AttemptError(reason="engine_crashed")` and `EngineLost` are raised,
    as when its process dies; `STALL` never ends. A resumed request skips windows that are durable.

    Attributes:
        requests: Every request so far, in order.
        loads: How often the model was "loaded".
        stalled: Set while a script stands at `STALL`.
    """

    def __init__(
        self,
        scripts: Mapping[str, Sequence[Step]] | None = None,
        *,
        default: Sequence[Step] = (window(0, "hello"), window(1, "world")),
        declared_s: float | None = None,
        expected_s: float | None = None,
        idle_unload_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scripts = dict(scripts or {})
        self.requests: list[Transcribe] = []
        self.loads = 0
        self.stalled = threading.Event()
        self._default = default
        self._declared_s = declared_s
        self._expected_s = declared_s if expected_s is None else expected_s
        self._idle_unload_s = idle_unload_s
        self._clock = clock
        self._idle_since_s = clock()
        self._loaded = False

    def transcribe(
        self,
        request: Transcribe,
        *,
        poll: Callable[[], None],
        poll_every_s: float = 0.5,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> Generator[Event, None, None]:
        """Play the script of the request's file."""
        self.requests.append(request)
        try:
            for event in self._events(request, poll, poll_every_s):
                poll()
                yield event
                if isinstance(event, Started | WindowDone) and is_ending():
                    yield Failed.concluded()
                    return
        finally:
            self.stalled.clear()
            self._idle_since_s = self._clock()

    def unload_if_idle(self, now_s: float) -> bool:
        """Forget the model after `idle_unload_s` without work."""
        if not self._loaded or not self._idle_unload_s or now_s - self._idle_since_s < self._idle_unload_s:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Forget the model."""
        self._loaded = False

    def _events(
        self, request: Transcribe, poll: Callable[[], None], poll_every_s: float
    ) -> Generator[Event, None, None]:
        if not self._loaded:
            yield Loading()
            self._loaded = True
            self.loads += 1
            yield Loaded(device="cpu", compute_type="float32", load_s=0.0)
        source = Path(request.path)
        refusal = _refusal(source)
        if refusal is not None:
            yield Failed.from_fault(refusal)
            return
        yield Started(declared_s=self._declared_s, expected_s=self._expected_s)
        end_s = request.start_sample / SAMPLE_RATE
        for step in self.scripts.get(source.name, self._default):
            if isinstance(step, Window):
                if step.index >= request.first_index and step.index not in request.done:
                    yield WindowDone(window=step)
                    end_s = step.end_s
            elif isinstance(step, Heard):
                yield step
            elif isinstance(step, Exception):
                if isinstance(step, AttemptError) and step.reason in ("engine_crashed", EngineLost.reason):
                    self._loaded = False
                    raise step
                yield Failed.from_fault(step)
                return
            else:
                self._stall(poll, poll_every_s)
        yield Finished(duration_s=end_s, declared_s=self._declared_s, skipped_packets=0)

    def _stall(self, poll: Callable[[], None], poll_every_s: float) -> None:
        self.stalled.set()
        never = threading.Event()
        while True:
            poll()
            never.wait(min(poll_every_s, 0.01))


def _refusal(source: Path) -> Exception | None:
    if not source.exists():
        return AttemptError(f"{source.name} can't be read.", reason="source_unreadable")
    if source.stat().st_size == 0:
        return RecordingError(f"{source.name} is empty.", reason="empty_file")
    return None
