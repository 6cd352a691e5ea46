"""One recording in work in the engine: its decoder, and the windows that are ready or in flight.

The decoder has a thread of its own, one window ahead of the model; whoever works on windows takes them with `take`.
Engine side only.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cesar_watch.core.job import Precedence, precedence
from cesar_watch.speech.audio import AudioStream, open_audio
from cesar_watch.speech.languages import Spoken, with_language
from cesar_watch.speech.protocol import Event, Failed, Finished, Heard, Started, Transcribe, WindowDone
from cesar_watch.speech.recognizer import Recognizer
from cesar_watch.speech.vad import silero
from cesar_watch.speech.windows import Cut, cut_windows, window_length_s


class Dropped(Exception):
    """Nobody wants to know any more what is said in this window, or in those that follow."""


class _NotDetected(Exception):
    """The model failed while it was asked for the language."""

    def __init__(self, failed: Failed) -> None:
        self.failed = failed


class Hearing:
    """Made for one request; the first thing that is done with it is `start`.

    Args:
        changed: Guards everything here, and is notified of every change; shared by all hearings of an engine.
        answer: Takes the events, from any of the engine's threads, the last of them last.
    """

    def __init__(
        self,
        request: Transcribe,
        recognizer: Recognizer,
        *,
        changed: threading.Condition,
        answer: Callable[[Event], None],
    ) -> None:
        self._request = request
        self._recognizer = recognizer
        self._changed = changed
        self._answer = answer
        self._context = request.context
        language = request.options.language or (None if request.options.multilingual else request.language)
        self._spoken = Spoken(language) if language else None
        self._ready: Cut | None = None
        self._in_flight: dict[int, float] = {}
        self._heard_s = 0.0
        self._end: Finished | Failed | None = None
        self._is_given_up = False
        self._is_decoding = True
        self._telling = threading.Lock()
        """Held while something is told of how far the work is: figures must not overtake each other."""
        self._decoder = threading.Thread(target=self._decode, name="decoder", daemon=True)

    def start(self) -> None:
        """Begin to decode."""
        self._decoder.start()

    # --- what the scheduler asks, holding `changed` -----------------------------------------------

    @property
    def precedence(self) -> Precedence:
        """Who goes first: the lower."""
        request = self._request
        return precedence(request.priority, request.done_s + self._heard_s, request.seq)

    @property
    def has_window(self) -> bool:
        """Whether a window can be worked on now."""
        # What is said in one window can only be shown to the next when it has been heard.
        waits = self._request.options.condition_on_previous_text and self._in_flight
        return self._ready is not None and not waits

    def take(self) -> Cut:
        """Hand the ready window out; `listen` is called with it."""
        cut = self._ready
        assert cut is not None
        self._ready = None
        self._in_flight[cut.index] = 0.0
        self._changed.notify_all()
        return cut

    def conclude(self) -> None:
        """End the work when what is in flight is done."""
        if self._end is None or self._ready is not None:
            self._end = Failed.concluded()
            self._ready = None
            self._changed.notify_all()

    def drop(self) -> None:
        """End the work as soon as it can be ended."""
        self._fail(Failed.dropped())

    @property
    def end(self) -> Finished | Failed | None:
        """The last event, once nothing is decoded or worked on any more."""
        is_over = not (self._is_decoding or self._ready or self._in_flight)
        return self._end if is_over else None

    def _fail(self, why: Failed) -> None:
        if not self._is_given_up:
            self._end = why
        self._is_given_up = True
        self._ready = None
        self._changed.notify_all()

    # --- in a worker's thread -----------------------------------------------------------------------

    def listen(self, cut: Cut) -> bool:
        """Work on a window that was taken; return whether it was done, and answered with. Never raises."""
        try:
            window = self._recognizer.recognize(
                cut,
                self._request.options,
                spoken=self._spoken,
                context=self._context,
                told=functools.partial(self._note, cut.index),
            )
        except Exception as fault:
            with self._changed:
                self._in_flight.pop(cut.index)
                self._fail(Failed.dropped() if isinstance(fault, Dropped) else self._recognizer.explain(fault))
            return False
        self._context = window.text or self._context
        with self._telling:
            self._answer(WindowDone(window=window))
            with self._changed:
                self._in_flight.pop(cut.index)
                self._heard_s += cut.end_s - cut.start_s
                self._changed.notify_all()
        return True

    def _note(self, index: int, heard_s: float) -> None:
        """Tell how far a window has been heard.

        Raises:
            Dropped: Nobody wants to know any more.
        """
        with self._telling:
            with self._changed:
                if self._is_given_up:
                    raise Dropped
                is_news = heard_s > self._in_flight[index]
                self._in_flight[index] = max(heard_s, self._in_flight[index])
                total_s = self._heard_s + sum(self._in_flight.values())
            if is_news:
                self._answer(Heard(heard_s=total_s))

    # --- in the decoder's thread ----------------------------------------------------------------------

    def _decode(self) -> None:
        end: Finished | Failed | None = None
        try:
            options = self._request.options
            self._recognizer.check(options)
            with open_audio(
                Path(self._request.path),
                max_duration_s=options.max_duration_s,
                track=options.audio_track,
                channels=options.channels,
            ) as audio:
                self._answer(Started(declared_s=audio.declared_s, expected_s=audio.expected_s))
                if all(self._offer(cut) for cut in self._cuts(audio)):
                    end = Finished(
                        duration_s=audio.decoded_s,
                        declared_s=audio.declared_s,
                        skipped_packets=audio.skipped_packets,
                    )
        except Dropped:
            pass
        except _NotDetected as fault:
            end = fault.failed
        except Exception as fault:
            # The GPU has no part in this.
            end = Failed.from_fault(fault)
        with self._changed:
            if isinstance(end, Failed):
                self._fail(end)
            self._end = self._end or end
            self._is_decoding = False
            self._changed.notify_all()

    def _cuts(self, audio: AudioStream) -> Iterator[Cut]:
        """Yield the windows that are asked for; from the first one with speech on the language is known."""
        request = self._request
        cuts: Iterable[Cut] = cut_windows(
            audio.blocks(request.start_sample, look=self._look),
            length_s=lambda index: window_length_s(index, request.options.window_s, audio.expected_s),
            vad=functools.partial(silero, look=self._look),
            first_index=request.first_index,
            start_sample=request.start_sample,
        )
        cuts = itertools.filterfalse(lambda cut: cut.index in request.done, cuts)
        if not self._recognizer.is_multilingual:
            self._spoken = Spoken("en")
        if self._spoken or request.options.multilingual:
            return iter(cuts)
        return with_language(cuts, self._detect, self._speaks)

    def _look(self) -> None:
        """See whether further windows are wanted; called every few seconds of sound.

        Raises:
            Dropped: None is.
        """
        if self._end is not None:
            raise Dropped

    def _detect(self, cuts: Sequence[Cut]) -> Spoken:
        try:
            return self._recognizer.detect(cuts, self._request.options, look=self._look)
        except Dropped:
            raise
        except Exception as fault:
            raise _NotDetected(self._recognizer.explain(fault)) from fault

    def _speaks(self, spoken: Spoken) -> None:
        self._spoken = spoken

    def _offer(self, cut: Cut) -> bool:
        """Wait until the window is taken: a further one would only take memory. Return False if nobody wants it."""
        with self._changed:
            if self._end is not None:
                return False
            self._ready = cut
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ready is None)
            return self._end is None
