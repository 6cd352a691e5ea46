"""The courier: sends notices after the commit, one at a time, never in anybody's way."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from cesar_watch.core.backoff import backoff_s
from cesar_watch.core.config import NotifySettings
from cesar_watch.core.errors import CesarError
from cesar_watch.core.notice import Notice, QueuedNotice
from cesar_watch.delivery.notices import find_channel
from cesar_watch.delivery.send import send
from cesar_watch.service.house import House

log = logging.getLogger(__name__)

NOTICE_ATTEMPTS = 10
"""With the default waits, a server may be away for five hours before a notice becomes a dead letter."""
IDLE_S = 5.0

Sender = Callable[[NotifySettings, str, str, Path | None], None]


@dataclass
class _Unqueued:
    """A notice that is kept in memory, since the ledger may be what it tells of. `due_s` is monotonic."""

    notice: Notice
    tries: int = 0
    due_s: float = 0.0


class Courier:
    """Owned by the delivery thread; only `tell` may be called by others."""

    name = "courier"

    def __init__(self, house: House, *, sender: Sender = send) -> None:
        self._house = house
        self._sender = sender
        self._told: SimpleQueue[Notice] = SimpleQueue()
        self._unqueued: list[_Unqueued] = []
        self._outcome: Callable[[], None] | None = None

    def tell(self, notices: Iterable[Notice]) -> None:
        """Take notices about the service itself, to be sent without the ledger; gone with the process. Any thread."""
        for notice in notices:
            self._told.put(notice)

    def turn(self, now_s: float) -> float:
        """Send at most one notice of either kind. Returns the seconds until the next turn is wanted.

        Raises:
            CesarError: The ledger can't be used. What it shall note of a notice that was sent is kept, and no other one
                is sent before that: each further turn would send it again.
        """
        self._send_unqueued(now_s)
        self._note_outcome()
        longest_wait_s = self._house.settings.retry.backoff_max_s
        due = self._house.ledger.notices.due(self._house.clock.now(), longest_wait_s)
        if due is None:
            return IDLE_S
        self._outcome = self._send(due)
        self._note_outcome()
        return 0.0

    def _note_outcome(self) -> None:
        if self._outcome is not None:
            self._outcome()
            self._outcome = None

    def _send(self, queued: QueuedNotice) -> Callable[[], None]:
        """Send a notice; return what notes its outcome in the ledger."""
        house, notice = self._house, queued.notice
        queue, now = house.ledger.notices, house.clock.now
        channel = find_channel(house.settings.notify, notice.channel)
        if channel is None:
            return partial(queue.give_up, queued, "Its channel is no longer in the settings.")
        attach = house.spool.root / notice.attach if notice.attach else None
        try:
            self._sender(channel, notice.title, notice.body, attach if attach and os.path.exists(attach) else None)
        except CesarError as fault:
            if queued.attempts + 1 >= NOTICE_ATTEMPTS:
                log.warning("A notice became a dead letter: %s `cesar-watch notify retry` sends it again.", fault)
                return partial(queue.give_up, queued, str(fault))
            log.warning("A notice could not be sent: %s", fault)
            wait = timedelta(seconds=backoff_s(queued.attempts + 1, house.settings.retry))
            return partial(queue.later, queued, now() + wait, str(fault))
        return partial(queue.sent, queued, now())

    def _send_unqueued(self, now_s: float) -> None:
        """Send one notice that is kept in memory, if one is due; each channel gets its own in order."""
        while not self._told.empty():
            self._unqueued.append(_Unqueued(self._told.get()))
        oldest: dict[str, _Unqueued] = {}
        for kept in self._unqueued:
            oldest.setdefault(kept.notice.channel, kept)
        kept_due = next((kept for kept in oldest.values() if kept.due_s <= now_s), None)
        if kept_due is not None and self._is_settled(kept_due, now_s):
            self._unqueued.remove(kept_due)

    def _is_settled(self, kept: _Unqueued, now_s: float) -> bool:
        """Send a notice that is kept in memory; return whether it was taken, or is given up."""
        channel = find_channel(self._house.settings.notify, kept.notice.channel)
        if channel is None:
            return True
        kept.tries += 1
        try:
            self._sender(channel, kept.notice.title, kept.notice.body, None)
        except CesarError as fault:
            kept.due_s = now_s + backoff_s(kept.tries, self._house.settings.retry)
            is_last = kept.tries >= NOTICE_ATTEMPTS
            log.warning(
                "That the service %s %s: %s", kept.notice.event, "is not told" if is_last else "is told later", fault
            )
            return is_last
        return True

    def close(self) -> None:
        """What is kept in memory is lost: the next start sees for itself whether anything is wrong."""
