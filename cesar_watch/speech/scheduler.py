"""Which window is worked on next: several at once, of one recording or of several. Engine side only.

Whoever has had the least goes first (`core.job.precedence`), window by window, so that a short recording never waits
for more than the windows that are being worked on. What a death costs is bounded here: so many windows, of all
recordings together, as there are workers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cesar_watch.speech.allocator import give_back
from cesar_watch.speech.hearing import Hearing
from cesar_watch.speech.protocol import Drop, Durable, Event, Failed, Message, Transcribe
from cesar_watch.speech.recognizer import Recognizer
from cesar_watch.speech.windows import Cut

Answer = Callable[[int, Event], None]


class Scheduler:
    """Works on the windows of all recordings that are asked for. Any thread may use it.

    Args:
        workers: So many windows are worked on at once, each in a thread of its own; and so many at most are begun and
            not known to be durable.
        answer: Takes each event with the number of its recording, from any thread; the last of a recording comes last.
    """

    def __init__(self, recognizer: Recognizer, workers: int, answer: Answer) -> None:
        self._recognizer = recognizer
        self._workers = workers
        self._answer = answer
        self._changed = threading.Condition()
        self._hearings: dict[int, Hearing] = {}
        self._at_stake: set[tuple[int, int]] = set()
        """Recording and index of each window that a death would cost: begun, and wanted, and not durable."""
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"window {number}", daemon=True) for number in range(workers)
        ]
        self._threads.append(threading.Thread(target=self._tell_of_ends, name="ends", daemon=True))
        for thread in self._threads:
            thread.start()

    def take(self, number: int, message: Message) -> None:
        """Do what the service says about a recording; of one that has ended, only which windows are settled counts."""
        if isinstance(message, Transcribe):
            self._begin(number, message)
            return
        with self._changed:
            known = self._hearings.get(number)
            if isinstance(message, Durable):
                self._settle(number, message.index)
            elif isinstance(message, Drop):
                self._settle(number)
                if known is not None:
                    known.drop()
            elif known is not None:
                known.conclude()

    def _begin(self, number: int, request: Transcribe) -> None:
        hearing = Hearing(
            request,
            self._recognizer,
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
                number = self._next()
                if number is None:
                    return
                hearing = self._hearings[number]
                cut: Cut = hearing.take()
                self._at_stake.add((number, cut.index))
            if not hearing.listen(cut):
                with self._changed:
                    self._settle(number, cut.index)
            # Not held, or given away with holes, until the next one.
            del cut
            give_back()

    def _next(self) -> int | None:
        """Return whose window comes next, if one may be begun."""
        if len(self._at_stake) >= self._workers:
            return None
        ready = (number for number, hearing in self._hearings.items() if hearing.has_window)
        return min(ready, key=lambda number: self._hearings[number].precedence, default=None)

    def _settle(self, number: int, index: int | None = None) -> None:
        """Note that a window of a recording can't be lost any more, or that nobody wants it; without `index` all."""
        self._at_stake -= {window for window in self._at_stake if window[0] == number and index in (None, window[1])}
        self._changed.notify_all()

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
