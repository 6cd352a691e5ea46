"""Which window is worked on next: several at once, of one recording or of several. Engine side only.

Whoever has had the least goes first (`core.job.precedence`), window by window, so that a short recording never waits
for more than the windows that are being worked on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cesar_watch.speech.allocator import give_back
from cesar_watch.speech.hearing import Hearing
from cesar_watch.speech.protocol import Conclude, Durable, Event, Failed, Message, Transcribe
from cesar_watch.speech.recognizer import Recognizer
from cesar_watch.speech.windows import Cut

Answer = Callable[[int, Event], None]


class Scheduler:
    """Works on the windows of all recordings that are asked for. Any thread may use it.

    Args:
        workers: So many windows are worked on at once, each in a thread of its own.
        answer: Takes each event with the number of its recording, from any thread; the last of a recording comes last.
    """

    def __init__(self, recognizer: Recognizer, workers: int, answer: Answer) -> None:
        self._recognizer = recognizer
        self._workers = workers
        self._answer = answer
        self._changed = threading.Condition()
        self._hearings: dict[int, Hearing] = {}
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"window {number}", daemon=True) for number in range(workers)
        ]
        self._threads.append(threading.Thread(target=self._tell_of_ends, name="ends", daemon=True))
        for thread in self._threads:
            thread.start()

    def take(self, number: int, message: Message) -> None:
        """Do what the service says about a recording; what it says of one that has ended is passed over."""
        if isinstance(message, Transcribe):
            self._begin(number, message)
            return
        with self._changed:
            known = self._hearings.get(number)
            if known is None:
                return
            if isinstance(message, Durable):
                known.durable(message.index)
            elif isinstance(message, Conclude):
                known.conclude()
            else:
                known.drop()

    def _begin(self, number: int, request: Transcribe) -> None:
        hearing = Hearing(
            request,
            self._recognizer,
            at_once=self._workers,
            changed=self._changed,
            answer=lambda event: self._answer(number, event),
        )
        with self._changed:
            is_closed = self._is_closed
            if not is_closed:
                self._hearings[number] = hearing
        if is_closed:
            self._answer(number, Failed.dropped())
        else:
            hearing.start()

    def close(self) -> None:
        """Drop everything; returns when no thread works any more."""
        with self._changed:
            self._is_closed = True
            for hearing in self._hearings.values():
                hearing.drop()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._next() is not None)
                hearing = self._next()
                if hearing is None:
                    return
                cut: Cut = hearing.take()
            hearing.listen(cut)
            # Not held, or given away with holes, until the next one.
            del cut
            give_back()

    def _next(self) -> Hearing | None:
        """Return whose window comes next."""
        ready = (hearing for hearing in self._hearings.values() if hearing.has_window)
        return min(ready, key=lambda hearing: hearing.precedence, default=None)

    def _tell_of_ends(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended() is not None or (self._is_closed and not self._hearings))
                number = self._ended()
                if number is None:
                    return
                end = self._hearings.pop(number).end
                assert end is not None
            self._answer(number, end)

    def _ended(self) -> int | None:
        return next((number for number, hearing in self._hearings.items() if hearing.end is not None), None)
